package daemon

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// reservedDescriptors is ample for one repair: a program with three pipes, and what starting it takes, is ten; reading the history, the kernel's
// sets and the running connections is another five.
const reservedDescriptors = 32

// reserve holds descriptors open that nothing uses, so that a repair has some when clients, or a lower limit, have left none. They are
// eventfds, each a file of its own, so that they help against the system's limit as well as against the process's.
type reserve struct {
	mu   sync.Mutex
	held []int
	lent atomic.Bool // a repair is using them
}

func newReserve() *reserve {
	r := &reserve{}
	r.fill()
	return r
}

// fill takes what is missing, as far as it can be had.
func (r *reserve) fill() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.held) < reservedDescriptors {
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
		if err != nil {
			return // the next repair tries again
		}
		r.held = append(r.held, fd)
	}
}

// exhausted reports whether no descriptor can be had.
func (r *reserve) exhausted() bool {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err == nil {
		_ = unix.Close(fd)
	}
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE)
}

// lend frees the descriptors until giveBack is called.
func (r *reserve) lend() (giveBack func()) {
	r.lent.Store(true)
	r.empty()
	return func() {
		r.fill()
		r.lent.Store(false)
	}
}

func (r *reserve) empty() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, fd := range r.held {
		_ = unix.Close(fd)
	}
	r.held = nil
}

// guard keeps clients from taking what is lent: who connects then is turned away.
func (r *reserve) guard(l net.Listener) net.Listener { return guarded{l, r} }

type guarded struct {
	net.Listener
	reserve *reserve
}

// Accept implements net.Listener.
func (g guarded) Accept() (net.Conn, error) {
	for {
		c, err := g.Listener.Accept()
		if err != nil || !g.reserve.lent.Load() {
			return c, err
		}
		_ = c.Close()
	}
}
