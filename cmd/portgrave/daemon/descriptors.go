package daemon

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"

	"github.com/portgrave/portgrave/cmd/portgrave/api"
	"golang.org/x/sys/unix"
)

const (
	// repairDescriptors is ample for one repair: a program with three pipes, and what starting it
	// takes, is ten; reading the history, the kernel's sets and the running connections is another
	// five.
	repairDescriptors = 16
	// reservedDescriptors is for a repair and two audits, one of the daemon's own and one that a
	// client asked for: each takes as many, and they can't be kept from what is lent.
	reservedDescriptors = 3 * repairDescriptors
)

// reserve holds descriptors open that nothing uses, so that a repair has some when clients, or a
// lower limit, have left too few. They are eventfds, each a file of its own, so that they help
// against the system's limit as well as against the process's.
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
		fd, err := newDescriptor()
		if err != nil {
			return // the next repair tries again
		}
		r.held = append(r.held, fd)
	}
}

func newDescriptor() (int, error) { return unix.Eventfd(0, unix.EFD_CLOEXEC) }

// short reports whether there are fewer descriptors to be had than a repair may need. That one can
// be had doesn't tell: a repair that gets only some of its descriptors fails, and so does the next.
func (r *reserve) short() bool {
	var had []int
	defer func() {
		for _, fd := range had {
			_ = unix.Close(fd)
		}
	}()
	for range repairDescriptors {
		fd, err := newDescriptor()
		if err != nil {
			return outOfDescriptors(err)
		}
		had = append(had, fd)
	}
	return false
}

// outOfDescriptors reports whether something failed because the process or the system had none
// left.
func outOfDescriptors(err error) bool {
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

// empty gives up what is held.
func (r *reserve) empty() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, fd := range r.held {
		_ = unix.Close(fd)
	}
	r.held = nil
}

// guard keeps clients from taking what is lent: a client that connects meanwhile is told to try
// again.
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
		api.SendAway(c)
	}
}
