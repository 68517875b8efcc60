// Package netlinktest stands in for the kernel in tests of those who talk netlink, and injects the
// faults that a real one rarely has.
//
// A Kernel answers requests as a function says; a Pipe delivers datagrams that a test writes. Both
// give a netlink.Conn, so all defences of package netlink are in between.
package netlinktest

import (
	"cmp"
	"encoding/binary"
	"errors"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/portgrave/portgrave/firewall/netlink"
	"golang.org/x/sys/unix"
)

// Question is a request as the kernel gets it.
type Question struct {
	Family      int // of the socket: NETLINK_ROUTE, …
	Kind, Flags uint16
	Sequence    uint32
	Data        []byte // fixed header and attributes
}

// Dumps reports whether the request is for all objects.
func (q Question) Dumps() bool { return q.Flags&unix.NLM_F_DUMP == unix.NLM_F_DUMP }

// Kernel answers a question. It need not end dumps nor acknowledge anything, but may: with a
// message NLMSG_DONE. A unix.Errno is the kernel's refusal; ENOBUFS and other errors fail the
// reading.
type Kernel func(Question) ([]netlink.Message, error)

// Dial is a netlink.Dialer.
func (k Kernel) Dial(family int) (*netlink.Conn, error) {
	p := NewPipe()
	p.OnSend = func(datagram []byte) {
		q := Question{
			Family:   family,
			Kind:     binary.NativeEndian.Uint16(datagram[4:]),
			Flags:    binary.NativeEndian.Uint16(datagram[6:]),
			Sequence: binary.NativeEndian.Uint32(datagram[8:]),
			Data:     slices.Clone(datagram[unix.NLMSG_HDRLEN:]),
		}
		answers, err := k(q)
		var refusal unix.Errno
		switch {
		case errors.Is(err, unix.ENOBUFS), err != nil && !errors.As(err, &refusal):
			p.Deliver(nil, 0, err)
			return
		case err != nil, len(answers) == 0 && !q.Dumps():
			answers = []netlink.Message{{Kind: unix.NLMSG_ERROR, Header: Errno(refusal),
				Attributes: make([]byte, unix.NLMSG_HDRLEN)}}
		case q.Dumps() && (len(answers) == 0 || answers[len(answers)-1].Kind != unix.NLMSG_DONE):
			end := netlink.Message{Kind: unix.NLMSG_DONE, Header: Errno(0)}
			answers = append(slices.Clip(answers), end)
		}
		for _, m := range answers {
			p.Deliver(Datagram(q.Sequence, m), 0, nil)
		}
	}
	return netlink.New(p), nil
}

// Errno is how a message says that something failed; 0 that it didn't.
func Errno(e unix.Errno) []byte {
	return binary.NativeEndian.AppendUint32(nil, uint32(-int32(e)))
}

// Datagram encodes messages. A message without a kind gets the lowest that is none of netlink's
// own.
func Datagram(sequence uint32, list ...netlink.Message) (b []byte) {
	for _, m := range list {
		at := len(b)
		b = append(b, 0, 0, 0, 0)
		b = binary.NativeEndian.AppendUint16(b, cmp.Or(m.Kind, unix.NLMSG_MIN_TYPE))
		b = binary.NativeEndian.AppendUint16(b, m.Flags)
		b = binary.NativeEndian.AppendUint32(b, sequence)
		b = binary.NativeEndian.AppendUint32(b, m.Port)
		b = append(append(b, m.Header...), m.Attributes...)
		binary.NativeEndian.PutUint32(b[at:], uint32(len(b)-at))
		for len(b)%unix.NLMSG_ALIGNTO != 0 {
			b = append(b, 0)
		}
	}
	return b
}

// Pipe is a netlink.Transport that delivers what a test says.
type Pipe struct {
	mu       sync.Mutex
	changed  *sync.Cond
	queue    []delivery
	deadline time.Time
	closed   bool
	// OnSend, unless nil, is called with what is sent.
	OnSend func(datagram []byte)
	// SendError, unless nil, is what sending fails with.
	SendError error
}

type delivery struct {
	datagram []byte
	port     uint32
	err      error
}

// NewPipe returns a Pipe with nothing in it.
func NewPipe() *Pipe {
	p := &Pipe{}
	p.changed = sync.NewCond(&p.mu)
	return p
}

// Deliver queues a datagram from a port (0: the kernel), or an error.
func (p *Pipe) Deliver(datagram []byte, port uint32, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queue = append(p.queue, delivery{datagram, port, err})
	p.changed.Broadcast()
}

// Send implements netlink.Transport.
func (p *Pipe) Send(datagram []byte) error {
	if p.SendError != nil {
		return p.SendError
	}
	if p.OnSend != nil {
		p.OnSend(datagram)
	}
	return nil
}

// Receive implements netlink.Transport.
func (p *Pipe) Receive(buffer []byte, wait bool) (n int, port uint32, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.queue) == 0 {
		switch {
		case p.closed:
			return 0, 0, os.ErrClosed
		case !wait:
			return 0, 0, unix.EAGAIN
		case !p.deadline.IsZero() && !p.deadline.After(time.Now()):
			return 0, 0, os.ErrDeadlineExceeded
		}
		p.changed.Wait()
	}
	d := p.queue[0]
	p.queue = p.queue[1:]
	copy(buffer, d.datagram)
	return len(d.datagram), d.port, d.err
}

// SetReadDeadline implements netlink.Transport.
func (p *Pipe) SetReadDeadline(t time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deadline = t
	p.changed.Broadcast()
	if !t.IsZero() {
		time.AfterFunc(time.Until(t), func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.changed.Broadcast()
		})
	}
	return nil
}

// Control implements netlink.Transport: there is no descriptor, so it does nothing.
func (p *Pipe) Control(func(int) error) error { return nil }

// Close implements netlink.Transport.
func (p *Pipe) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.changed.Broadcast()
	return nil
}
