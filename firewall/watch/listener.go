package watch

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// listener reads the socket on its own thread.
type listener struct {
	ledger
	group  socket // receives the notifications
	asking socket // asks for the generation and the objects
	buffer []byte

	paused  bool
	stopped bool
	failed  error // set if the listener can't hear notifications any more
}

// datagramBuffer is the size of the buffer for one datagram. The kernel packs notifications into
// datagrams of at most NLMSG_GOODSIZE (8 KiB), and a single notification is not larger.
const datagramBuffer = 64 << 10

func newListener(receiveBuffer int, ours Rules, emit func(Event)) (*listener, error) {
	asking, err := openSocket()
	if err != nil {
		return nil, err
	}
	group, err := openSocket()
	if err != nil {
		_ = asking.close()
		return nil, err
	}
	l := &listener{
		group: group, asking: asking, buffer: make([]byte, datagramBuffer),
		ledger: ledger{
			current: transaction{ownTables: ours.Tables},
			ignored: map[uint32]int{},
			author:  newAuthorFinder().find,
			emit:    emit,
			now:     time.Now,
		},
	}
	if ours.ByPrograms {
		l.self = os.Getpid()
	}
	start := func() error {
		if err := group.setBuffer(receiveBuffer); err != nil {
			return err
		}
		if err := group.join(); err != nil {
			return err
		}
		l.current.seen = asking.look()
		l.known, err = asking.generation()
		return err
	}
	if err := start(); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (l *listener) close() {
	_ = l.group.close()
	_ = l.asking.close()
}

// run listens until a request stops it. It uses its own thread so that the kernel wakes the thread
// that reads /proc, without a hand-over. The thread ends with the listener, so its raised priority
// does not leak to other goroutines.
func (l *listener) run(wake int, requests <-chan func()) error {
	Urgent()
	fds := []unix.PollFd{
		{Fd: int32(l.group.fd), Events: unix.POLLIN},
		{Fd: int32(wake), Events: unix.POLLIN},
	}
	for !l.stopped {
		if _, err := unix.Poll(fds, -1); err != nil {
			if errors.Is(err, unix.EINTR) {
				continue
			}
			return err
		}
		if fds[0].Revents != 0 {
			if err := l.drain(); err != nil {
				return err
			}
		}
		if fds[1].Revents != 0 {
			var count [8]byte
			if _, err := unix.Read(wake, count[:]); err != nil && !errors.Is(err, unix.EAGAIN) {
				return err
			}
			(<-requests)()
			if l.failed != nil {
				return l.failed
			}
		}
	}
	return nil
}

// drain processes everything that has arrived.
func (l *listener) drain() error {
	overflowed := false
	for {
		datagram, err := l.group.receive(l.buffer)
		if err == nil {
			err = l.datagram(datagram)
		}
		switch {
		case err == nil, errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			if overflowed {
				// The kernel stops dropping once the queue is empty, so ask what was lost until
				// now.
				l.reportLoss(l.ask())
				l.current.seen = l.asking.look()
				l.current.reset()
			}
			return nil
		case errors.Is(err, unix.ENOBUFS), errors.Is(err, errTruncated), errors.Is(err, errMalformed):
			overflowed = true
			l.reportLoss(l.ask())
		default:
			return err
		}
	}
}

// ask returns the generation; 0 if the kernel returns an error.
func (l *listener) ask() uint32 {
	generation, err := l.asking.generation()
	if err != nil {
		return 0
	}
	return generation
}

// pause stops listening and processes what has arrived. If that fails the watch ends, because the
// listener has left the group.
func (l *listener) pause() error {
	if l.paused {
		return nil
	}
	if err := l.group.leave(); err != nil {
		return err
	}
	l.paused = true
	if l.failed = l.drain(); l.failed != nil {
		return l.failed
	}
	l.current.reset() // drop the beginning of an incomplete commit
	return nil
}

// resume listens again. If that fails the watch ends, because the daemon would otherwise believe
// that nothing changes.
func (l *listener) resume(own uint32) error {
	if !l.paused {
		return nil
	}
	if l.failed = l.group.join(); l.failed != nil {
		return l.failed
	}
	l.paused = false
	l.current.seen = l.asking.look()
	generation := l.ask()
	if generation != own || generation == 0 {
		l.reportLoss(generation)
	}
	l.skipTo(generation)
	return nil
}
