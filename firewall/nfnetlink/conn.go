package nfnetlink

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// ErrInterrupted: the object changed during a dump (NLM_F_DUMP_INTR); what was read may be torn.
var ErrInterrupted = errors.New("the kernel's objects changed while they were read")

// receiveBuffer: see the package comment.
const receiveBuffer = 32 << 10

// Conn is a socket to the netfilter subsystems of the network namespace that the calling thread was
// in when it dialled.
//
// It serves one request at a time and isn't safe for concurrent use.
type Conn struct {
	conn     *netlink.Conn
	raw      syscall.RawConn
	sequence uint32
	buffer   []byte
}

// Dial opens a socket. It wraps EPROTONOSUPPORT where the kernel has no nfnetlink at all.
func Dial() (*Conn, error) {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("opening a netfilter netlink socket: %w", err)
	}
	raw, err := c.SyscallConn()
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("opening a netfilter netlink socket: %w", err)
	}
	return &Conn{conn: c, raw: raw, buffer: make([]byte, receiveBuffer)}, nil
}

// Redial leaves an unfinished dump behind: the kernel begins no other on the same socket. The caller's
// thread must be in the network namespace that it was in when it dialled.
func (c *Conn) Redial() error {
	fresh, err := Dial()
	if err != nil {
		return err
	}
	old := c.conn
	c.conn, c.raw = fresh.conn, fresh.raw
	return old.Close()
}

// Close closes the socket.
func (c *Conn) Close() error { return c.conn.Close() }

// Request asks for one object, or with Dump for all.
type Request struct {
	Subsystem  uint8 // NFNL_SUBSYS_NFTABLES, …
	Kind       uint8 // NFT_MSG_GETTABLE, …
	Family     uint8
	Attributes []byte
	Dump       bool
}

// Ask sends a request and hands every answer to each; its attributes are only valid during the
// call. It returns each's error; a unix.Errno wrapped if the kernel refuses; ErrInterrupted, after
// all answers, if the dump was torn; the context's error when that ends.
func (c *Conn) Ask(ctx context.Context, r Request, each func(Message) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := c.conn.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()

	c.sequence++
	sequence := c.sequence
	if err := c.send(encode(r, sequence)); err != nil {
		return err
	}
	interrupted := false
	for {
		n, err := c.receive()
		if err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				return err
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			// The end of an earlier request's context reached the socket late.
			if err := c.conn.SetReadDeadline(time.Time{}); err != nil {
				return err
			}
			continue
		}
		done, err := eachMessage(c.buffer[:n], func(h header, data []byte) (bool, error) {
			if h.sequence != sequence {
				return false, nil // a late answer to a request that was given up
			}
			interrupted = interrupted || h.flag&unix.NLM_F_DUMP_INTR != 0
			switch h.kind {
			case unix.NLMSG_DONE, unix.NLMSG_ERROR:
				return true, errorOf(data)
			case unix.NLMSG_NOOP:
				return false, nil
			}
			m, err := messageOf(h.kind, data)
			if err == nil {
				err = each(m)
			}
			return !r.Dump, err
		})
		if err != nil {
			return err
		}
		if done {
			break
		}
	}
	if interrupted {
		return ErrInterrupted
	}
	return nil
}

// encode writes struct nlmsghdr, struct nfgenmsg and the attributes.
func encode(r Request, sequence uint32) []byte {
	flags := uint16(unix.NLM_F_REQUEST)
	if r.Dump {
		flags |= unix.NLM_F_DUMP
	}
	b := binary.NativeEndian.AppendUint32(
		nil,
		uint32(unix.NLMSG_HDRLEN+headerLength+len(r.Attributes)),
	)
	b = binary.NativeEndian.AppendUint16(b, uint16(r.Subsystem)<<8|uint16(r.Kind))
	b = binary.NativeEndian.AppendUint16(b, flags)
	b = binary.NativeEndian.AppendUint32(b, sequence)
	b = binary.NativeEndian.AppendUint32(b, 0)
	b = append(b, r.Family, unix.NFNETLINK_V0, 0, 0)
	return append(b, r.Attributes...)
}

func (c *Conn) send(b []byte) error {
	var err error
	if cerr := c.raw.Write(func(fd uintptr) bool {
		err = unix.Sendto(int(fd), b, unix.MSG_DONTWAIT, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		return !errors.Is(err, unix.EAGAIN)
	}); cerr != nil {
		return cerr
	}
	return err
}

// receive reads one datagram into the buffer.
func (c *Conn) receive() (int, error) {
	var n int
	var err error
	if rerr := c.raw.Read(func(fd uintptr) bool {
		// With MSG_TRUNC the kernel tells the datagram's whole length, so that one that didn't fit is
		// noticed.
		n, _, err = unix.Recvfrom(int(fd), c.buffer, unix.MSG_DONTWAIT|unix.MSG_TRUNC)
		return !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR)
	}); rerr != nil {
		return 0, rerr
	}
	if n > len(c.buffer) {
		return 0, fmt.Errorf("netlink: a datagram of %d bytes", n)
	}
	return n, err
}
