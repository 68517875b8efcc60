package watch

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/portgrave/portgrave/firewall/netlink"
	"golang.org/x/sys/unix"
)

// listener reads the socket, on a thread of its own. Go's network poller is left out: it would wake
// another thread first, and the author may be gone by then.
type listener struct {
	ledger
	group  *netlink.Conn // receives the notifications
	asking *netlink.Conn // in no group: answers what the generation is

	paused  bool
	stopped bool
	failed  error // so that nothing is heard any more
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
			current: transaction{mine: ours.Tables},
			ignored: map[uint32]int{},
			author:  newAuthors().of,
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

// run listens until a request stops it. The thread is its own because then the kernel wakes exactly
// the one that will read /proc, with nothing to hand over in between. It ends with the listener:
// none of its urgency is left to others.
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

// drain takes in everything that has arrived.
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
				// Only an empty queue ends the kernel's dropping: ask again for what was lost until now.
				l.lose(l.ask())
				l.current.seen = look(l.asking)
				l.current.reset()
			}
			return nil
		case errors.Is(err, unix.ENOBUFS), errors.Is(err, netlink.ErrMalformed):
			overflowed = true
			l.lose(l.ask())
		default:
			return err
		}
	}
}

// ask is the generation, 0 if the kernel won't tell.
func (l *listener) ask() uint32 {
	generation, err := l.asking.Ruleset(context.Background()).Generation()
	if err != nil {
		return 0
	}
	return generation
}

// pause stops listening. What is left to be read must be: a listener that has left and failed is
// deaf, which is the end of it.
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
	l.current.reset() // a commit of which only the beginning came
	return nil
}

// resume listens again. Had it not, a daemon would believe that nobody changes anything, so failing
// to is the end.
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
		l.lose(generation)
	}
	l.restart(generation)
	return nil
}
