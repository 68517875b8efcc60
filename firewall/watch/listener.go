package watch

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/portgrave/portgrave/firewall/netlink"
	"golang.org/x/sys/unix"
)

// listener reads the socket on its own thread. It does not use Go's network poller, which would
// wake another thread first; the author may be gone by then.
type listener struct {
	ledger
	group  *netlink.Conn // receives the notifications
	asking *netlink.Conn // in no group: asks for the generation and the objects

	paused  bool
	stopped bool
	failed  error // set if the listener can't hear notifications any more
}

func newListener(receiveBuffer int, ours Rules, emit func(Event)) (*listener, error) {
	asking, err := netlink.DialUnpolled(unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, err
	}
	group, err := netlink.DialUnpolled(unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, errors.Join(err, asking.Close())
	}
	l := &listener{
		group: group, asking: asking,
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
		if err := group.SetBuffers(0, receiveBuffer); err != nil {
			return err
		}
		if err := l.join(); err != nil {
			return err
		}
		l.current.seen = look(asking)
		l.known, err = asking.Ruleset(context.Background()).Generation()
		return err
	}
	if err := start(); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// join enters the group of nf_tables' notifications.
func (l *listener) join() error { return l.group.Join(unix.NFNLGRP_NFTABLES) }

func (l *listener) close() {
	_ = l.group.Close()
	_ = l.asking.Close()
}

// run listens until a request stops it. It uses its own thread so that the kernel wakes the thread
// that reads /proc, without a hand-over. The thread ends with the listener, so its raised priority
// does not leak to other goroutines.
func (l *listener) run(wake int, requests <-chan func()) error {
	Urgent()
	return l.group.Control(func(group int) error { return l.poll(group, wake, requests) })
}

// poll waits for notifications and requests.
func (l *listener) poll(group, wake int, requests <-chan func()) error {
	fds := []unix.PollFd{
		{Fd: int32(group), Events: unix.POLLIN},
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
		datagram, err := l.group.Receive(false)
		if err == nil {
			err = l.datagram(datagram)
		}
		switch {
		case err == nil:
		case errors.Is(err, unix.EAGAIN):
			if overflowed {
				// The kernel stops dropping once the queue is empty, so ask what was lost until
				// now.
				l.reportLoss(l.ask())
				l.current.seen = look(l.asking)
				l.current.reset()
			}
			return nil
		case errors.Is(err, unix.ENOBUFS), errors.Is(err, netlink.ErrMalformed):
			overflowed = true
			l.reportLoss(l.ask())
		default:
			return err
		}
	}
}

// ask returns the generation; 0 if the kernel returns an error.
func (l *listener) ask() uint32 {
	generation, err := l.asking.Ruleset(context.Background()).Generation()
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
	if err := l.group.Leave(unix.NFNLGRP_NFTABLES); err != nil {
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
	if l.failed = l.join(); l.failed != nil {
		return l.failed
	}
	l.paused = false
	l.current.seen = look(l.asking)
	generation := l.ask()
	if generation != own || generation == 0 {
		l.reportLoss(generation)
	}
	l.skipTo(generation)
	return nil
}
