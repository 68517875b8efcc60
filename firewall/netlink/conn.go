package netlink

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// receiveBuffer is the most that the kernel puts into one message of a dump
// (net/netlink/af_netlink.c, netlink_recvmsg: 32 KiB less its own overhead), and it walks the
// dumped object anew for each message. So a smaller buffer makes big sets several times slower. No
// notification is larger.
const receiveBuffer = 32 << 10

// Conn is a netlink socket that stays in the network namespace in which it was dialled.
//
// It serves one request at a time and isn't safe for concurrent use, except that Close and
// SetReadDeadline end a wait.
type Conn struct {
	transport Transport
	family    int
	unpolled  bool
	sequence  uint32 // of the last message
	buffer    []byte // what was received, one datagram at a time
	request   []byte // memory of the last request
	// givenUp is the sequence number of a dump whose rest nobody wants; 0 if there is none.
	givenUp uint32
}

// New returns a Conn over a Transport.
func New(t Transport) *Conn { return &Conn{transport: t, buffer: make([]byte, receiveBuffer)} }

// Request asks for one object, or for all of a kind, or for a change.
type Request struct {
	Kind uint16 // RTM_GETROUTE, SOCK_DIAG_BY_FAMILY, …
	// Flags beside NLM_F_REQUEST. NLM_F_DUMP and NLM_F_ACK say how the answer ends; without either
	// it is one message.
	Flags uint16
	// Header is the fixed part of the message, such as struct rtmsg.
	Header []byte
	// AnswerHeader is the size of the fixed part of answers; 0: as large as the request's.
	AnswerHeader int
	Attributes   func(*Encoder) // nil: none
}

// Netfilter is a request to a subsystem of netfilter, such as NFNL_SUBSYS_NFTABLES.
func Netfilter(subsystem, kind, family uint8, flags uint16, attributes func(*Encoder)) Request {
	return Request{
		Kind:       uint16(subsystem)<<8 | uint16(kind),
		Flags:      flags,
		Header:     []byte{family, unix.NFNETLINK_V0, 0, 0},
		Attributes: attributes,
	}
}

func (r Request) dumps() bool { return r.Flags&unix.NLM_F_DUMP == unix.NLM_F_DUMP }

// Ask sends a request and hands every answer to each, which may be nil. It returns each's error;
// the kernel's refusal, which wraps a unix.Errno; ErrInterrupted, after all answers, if the dump
// was torn; the context's error when that ends.
func (c *Conn) Ask(ctx context.Context, r Request, each func(Message) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if ctx.Done() != nil && !c.unpolled {
		stop := context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) })
		defer stop()
	}
	if err := c.passGivenUp(ctx); err != nil {
		return err
	}
	e := c.Encoder(c.request)
	at := e.Begin(r.Kind, r.Flags, r.Header...)
	if r.Attributes != nil {
		r.Attributes(e)
	}
	e.End(at)
	c.request = e.Buf
	if err := c.Send(e); err != nil {
		return err
	}
	a := answer{
		sequence: c.sequence,
		header:   cmp.Or(r.AnswerHeader, len(r.Header)),
		single:   r.Flags&unix.NLM_F_ACK == 0 && !r.dumps(),
		each:     each,
	}
	for {
		datagram, err := c.wait(ctx)
		if err == nil {
			_, err = messages(datagram, a.take)
		}
		switch {
		case a.ended && a.err == nil && a.interrupted:
			return ErrInterrupted
		case a.ended:
			return a.err
		case err == nil:
			err = a.err
		}
		if err != nil {
			if r.dumps() {
				c.givenUp = a.sequence
			}
			return err
		}
	}
}

// answer takes in what the kernel answers to one request.
type answer struct {
	sequence    uint32
	header      int
	single      bool // the answer is one message; else one of its own says that it was the last
	each        func(Message) error
	err         error // the first one, after which answers are passed over until the end
	interrupted bool
	ended       bool
}

// take takes one message in. It reports whether it was the last one.
func (a *answer) take(h header, data []byte) (bool, error) {
	if h.sequence != a.sequence {
		return false, nil // a late answer to a request that was given up
	}
	a.interrupted = a.interrupted || h.flags&unix.NLM_F_DUMP_INTR != 0
	switch {
	case h.kind == unix.NLMSG_NOOP:
		return false, nil
	case h.ends():
		a.ended = true
		if a.err == nil {
			a.err = errorOf(h, data)
		}
		return true, nil
	}
	if a.err == nil {
		var m Message
		if m, a.err = h.message(data, a.header); a.err == nil && a.each != nil {
			a.err = a.each(m)
		}
	}
	a.ended = a.single
	return a.single, nil
}

// passGivenUp reads the rest of a dump that its reader gave up: until its end the kernel begins no
// other on the same socket (EBUSY). Each part is there as soon as the one before was received.
func (c *Conn) passGivenUp(ctx context.Context) error {
	for c.givenUp != 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		datagram, err := c.Receive(false)
		if errors.Is(err, unix.EAGAIN) {
			c.givenUp = 0
			break
		}
		if err != nil && !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, ErrMalformed) {
			return err
		}
		_, _ = messages(datagram, func(h header, _ []byte) (bool, error) {
			if h.sequence == c.givenUp && h.ends() {
				c.givenUp = 0
			}
			return false, nil
		})
	}
	return nil
}

// Encoder encodes for this Conn, in the given memory; Send or Batch must follow before any other
// request.
func (c *Conn) Encoder(memory []byte) *Encoder {
	return &Encoder{Buf: memory[:0], Sequence: c.NextSequence()}
}

// NextSequence is the sequence number of the next message, for who makes an Encoder himself.
func (c *Conn) NextSequence() uint32 { return c.sequence + 1 }

// Send sends all messages of an Encoder in one datagram.
func (c *Conn) Send(e *Encoder) error {
	if e.tooLong {
		return errTooLong
	}
	c.sequence = e.Sequence - 1
	err := c.transport.Send(e.Buf)
	if errors.Is(err, unix.EMSGSIZE) {
		const advice = "the change does not fit the netlink socket: this needs CAP_NET_ADMIN " +
			"outside any user namespace, or a higher net.core.wmem_max"
		return fmt.Errorf("%s (%w)", advice, err)
	}
	return Explain(err)
}

// Batch sends a transaction of netfilter and collects all that the kernel says of it. It returns
// the first Refusal of one of its messages, or ErrNoAnswer.
//
// One message at least must ask for an acknowledgement. The answers all stand in the receive queue
// when the sending has returned (nfnetlink works synchronously), so an empty queue means that there
// are no more.
func (c *Conn) Batch(e *Encoder) error {
	first := e.Sequence - e.messages
	if err := c.Send(e); err != nil {
		return err
	}
	var refused error
	acknowledged := false
	for {
		datagram, err := c.Receive(false)
		switch {
		case errors.Is(err, unix.EAGAIN) && refused == nil && !acknowledged:
			return ErrNoAnswer
		case errors.Is(err, unix.EAGAIN):
			return refused
		case errors.Is(err, unix.ENOBUFS):
			refused = errors.Join(refused, ErrNoAnswer)
			continue
		case err != nil:
			return errors.Join(refused, err)
		}
		_, err = messages(datagram, func(h header, data []byte) (bool, error) {
			if h.kind != unix.NLMSG_ERROR || h.sequence-first >= e.messages {
				return false, nil
			}
			if err := errorOf(h, data); err == nil {
				acknowledged = true
			} else if refused == nil {
				refused = &Refusal{h.sequence, err}
			}
			return false, nil
		})
		if err != nil {
			return errors.Join(refused, err)
		}
	}
}

// Receive reads one datagram that the kernel sent. Those of other programs are skipped: who has
// CAP_NET_ADMIN may send to us. Without wait it fails with EAGAIN if there is none.
//
// ENOBUFS means that messages were lost since the last one. os.ErrDeadlineExceeded is that of
// SetReadDeadline.
func (c *Conn) Receive(wait bool) ([]byte, error) {
	for {
		n, port, err := c.transport.Receive(c.buffer, wait && !c.unpolled)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return nil, Explain(err)
		case port != 0:
		case n > len(c.buffer):
			return nil, fmt.Errorf("%w: a datagram of %d bytes", ErrMalformed, n)
		default:
			return c.buffer[:n], nil
		}
	}
}

// wait is Receive until a context ends.
func (c *Conn) wait(ctx context.Context) ([]byte, error) {
	for {
		datagram, err := c.Receive(true)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return datagram, err
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		// The end of an earlier request's context reached the socket late.
		if err := c.SetReadDeadline(time.Time{}); err != nil {
			return nil, err
		}
	}
}

// SetReadDeadline ends Receive at a time; the zero time never does.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.transport.SetReadDeadline(t) }

// Control runs f with the socket's descriptor, which is valid during the call.
func (c *Conn) Control(f func(fd int) error) error { return c.transport.Control(f) }

// Close closes the socket.
func (c *Conn) Close() error { return c.transport.Close() }

// Join enters a multicast group, and Leave leaves it.
func (c *Conn) Join(group int) error { return c.setOption(unix.NETLINK_ADD_MEMBERSHIP, group) }

// Leave leaves a multicast group.
func (c *Conn) Leave(group int) error { return c.setOption(unix.NETLINK_DROP_MEMBERSHIP, group) }

// IgnoreOverruns: a full receive buffer is no error of the next read. Without the error the kernel
// goes on with the first free byte, instead of waiting until the buffer is empty (netlink_overrun,
// net/netlink/af_netlink.c). It is for messages that are numbered.
func (c *Conn) IgnoreOverruns() error { return c.setOption(unix.NETLINK_NO_ENOBUFS, 1) }

func (c *Conn) setOption(option, value int) error {
	return c.Control(func(fd int) error {
		return Explain(unix.SetsockoptInt(fd, unix.SOL_NETLINK, option, value))
	})
}

// SetBuffers asks for buffers of a size, which the kernel doubles; 0 leaves one as it is. The
// system's limits hold without CAP_NET_ADMIN on the machine itself (in a user namespace): then a
// transaction that does not fit is refused whole, and more notifications are lost.
func (c *Conn) SetBuffers(send, receive int) error {
	return c.Control(func(fd int) error {
		for _, b := range []struct{ force, option, size int }{
			{unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, send},
			{unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, receive},
		} {
			if b.size == 0 || unix.SetsockoptInt(fd, unix.SOL_SOCKET, b.force, b.size) == nil {
				continue
			}
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, b.option, b.size); err != nil {
				return err
			}
		}
		return nil
	})
}

// Port is the socket's netlink port, which the kernel gave it.
func (c *Conn) Port() (port uint32, err error) {
	err = c.Control(func(fd int) error {
		address, err := unix.Getsockname(fd)
		if nl, ok := address.(*unix.SockaddrNetlink); ok {
			port = nl.Pid
		}
		return err
	})
	return port, err
}

// Another opens one more socket of the same family, in the same network namespace whatever thread
// asks, or none.
func (c *Conn) Another() (*Conn, error) {
	here, err := c.namespace()
	if err != nil {
		return nil, err
	}
	more, err := Dial(c.family)
	if err != nil {
		return nil, err
	}
	if err := more.requireNamespace(here); err != nil {
		return nil, err
	}
	return more, nil
}

// Redial leaves an unfinished dump behind with its socket, and goes on with another: to read the
// rest could take long.
func (c *Conn) Redial() error {
	fresh, err := c.Another()
	if err != nil {
		return err
	}
	old := c.transport
	c.transport, c.givenUp = fresh.transport, 0
	return old.Close()
}
