package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/netdump"
	"github.com/portgrave/portgrave/firewall/nfnetlink"
	"golang.org/x/sys/unix"
)

// socket is one lasting netlink connection to nf_tables, opened by the library and used for raw
// messages: transactions of any size in one piece, table attributes that the library does not know,
// and dumps with a buffer of our choice.
type socket struct {
	conn *nftables.Conn
	raw  syscall.RawConn
	seq  uint32
	buf  []byte // what is received, one datagram at a time
}

// socketBuffer is asked for in both directions. The send buffer must hold a whole transaction (a
// million prefixes take about 100 MB); the receive buffer the errors of one.
const socketBuffer = 512 << 20

// dumpBuffer is what the kernel fills per read: it caps its dump messages at 32 KiB
// (net/netlink/af_netlink.c, netlink_dump) and walks the set anew for each of them.
const dumpBuffer = 32 << 10

func openSocket() (*socket, error) {
	s := &socket{seq: 1, buf: make([]byte, dumpBuffer)}
	conn, err := nftables.New(
		nftables.AsLasting(),
		nftables.WithSockOptions(func(c *netlink.Conn) error {
			// Errors then carry the kernel's own words, and not a copy of our message.
			_ = c.SetOption(netlink.ExtendedAcknowledge, true)
			_ = c.SetOption(netlink.CapAcknowledge, true)
			raw, err := c.SyscallConn()
			s.raw = raw
			return err
		}),
	)
	if err != nil {
		return nil, fmt.Errorf("opening a netfilter netlink socket: %w", mapErrno(err))
	}
	s.conn = conn
	return s, s.control(func(fd int) error {
		for _, option := range [][2]int{{unix.SO_SNDBUFFORCE, unix.SO_SNDBUF}, {unix.SO_RCVBUFFORCE, unix.SO_RCVBUF}} {
			if unix.SetsockoptInt(fd, unix.SOL_SOCKET, option[0], socketBuffer) != nil {
				// Without CAP_NET_ADMIN on the machine itself (a user namespace) the system's
				// limit holds; a transaction that does not fit is refused whole, with EMSGSIZE.
				if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, option[1], socketBuffer); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// another opens a socket more, in the same network namespace whatever thread asks, or none.
func (s *socket) another() (*socket, error) {
	here, err := netdump.NamespaceOf(s.raw)
	if err != nil {
		return nil, err
	}
	more, err := openSocket()
	if err != nil {
		return nil, err
	}
	there, err := netdump.NamespaceOf(more.raw)
	if err == nil && there != here {
		err = errors.New("this thread is in another network namespace than the socket")
	}
	if err != nil {
		return nil, errors.Join(err, more.close())
	}
	return more, nil
}

func (s *socket) close() error { return s.conn.CloseLasting() }

func (s *socket) control(f func(fd int) error) error {
	var err error
	if cerr := s.raw.Control(func(fd uintptr) { err = f(int(fd)) }); cerr != nil {
		return cerr
	}
	return err
}

// portID is the socket's netlink address, which the kernel gave it.
func (s *socket) portID() (uint32, error) {
	var id uint32
	err := s.control(func(fd int) error {
		address, err := unix.Getsockname(fd)
		if nl, ok := address.(*unix.SockaddrNetlink); ok && err == nil {
			id = nl.Pid
		}
		return err
	})
	return id, err
}

func (s *socket) send(b []byte) error {
	return s.control(func(fd int) error {
		return unix.Sendto(fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	})
}

// receive reads one datagram. With wait it blocks until there is one, else it returns EAGAIN.
func (s *socket) receive(b []byte, wait bool) (int, error) {
	if !wait {
		var n int
		err := s.control(func(fd int) (err error) {
			n, _, err = unix.Recvfrom(fd, b, unix.MSG_DONTWAIT)
			return err
		})
		return n, err
	}
	var n int
	var err error
	rerr := s.raw.Read(func(fd uintptr) bool {
		n, _, err = unix.Recvfrom(int(fd), b, unix.MSG_DONTWAIT)
		return !errors.Is(err, unix.EAGAIN)
	})
	if rerr != nil {
		return 0, rerr
	}
	return n, err
}

// request sends one message and hands every answer to each: its attributes, after struct nfgenmsg,
// in memory that is used again.
func (s *socket) request(
	kind int,
	flags uint16,
	attrs func(*encoder),
	each func(attrs []byte) error,
) error {
	e := &encoder{seq: s.seq, first: s.seq}
	at := e.message(kind, flags, nil)
	seq := s.seq
	s.seq++
	if attrs != nil {
		attrs(e)
	}
	e.end(at)
	if err := s.send(e.buf); err != nil {
		return mapErrno(err)
	}
	answer := answer{seq: seq, more: flags&(unix.NLM_F_DUMP|unix.NLM_F_ACK) != 0, each: each}
	for done := false; !done; {
		n, err := s.receive(s.buf, true)
		if err != nil {
			return mapErrno(err)
		}
		if done, err = eachMessage(s.buf[:n], answer.message); err != nil {
			return err
		}
	}
	if answer.interrupted {
		return nfnetlink.ErrInterrupted
	}
	return nil
}

// answer takes in what the kernel answers to one request.
type answer struct {
	seq         uint32
	more        bool // a message of its own says that this was all
	each        func(attrs []byte) error
	interrupted bool // the ruleset changed during a dump; what was read may be torn
}

// message takes one message in. It reports whether it was the last one.
func (a *answer) message(h unix.NlMsghdr, data []byte) (bool, error) {
	if h.Seq != a.seq {
		return false, nil // a late answer to an earlier request
	}
	a.interrupted = a.interrupted || h.Flags&unix.NLM_F_DUMP_INTR != 0
	switch h.Type {
	case unix.NLMSG_DONE:
		// A dump that fails midway ends with the error; old kernels end without any number.
		if len(data) < 4 {
			return true, nil
		}
		return true, errorOf(h, data)
	case unix.NLMSG_ERROR:
		return true, errorOf(h, data)
	}
	if len(data) < nfgenmsgLen {
		return true, errors.New("netlink: a message shorter than its header")
	}
	if err := a.each(data[nfgenmsgLen:]); err != nil {
		return true, err
	}
	return !a.more, nil
}

// nfgenmsgLen is the size of struct nfgenmsg (include/uapi/linux/netfilter/nfnetlink.h).
const nfgenmsgLen = 4

// eachMessage walks the messages of a datagram until f says done or fails.
func eachMessage(
	b []byte,
	f func(h unix.NlMsghdr, data []byte) (done bool, err error),
) (bool, error) {
	for len(b) >= unix.NLMSG_HDRLEN {
		h := unix.NlMsghdr{
			Len:   binary.NativeEndian.Uint32(b),
			Type:  binary.NativeEndian.Uint16(b[4:]),
			Flags: binary.NativeEndian.Uint16(b[6:]),
			Seq:   binary.NativeEndian.Uint32(b[8:]),
		}
		if h.Len < unix.NLMSG_HDRLEN || int(h.Len) > len(b) {
			return true, errors.New("netlink: a message longer than its datagram")
		}
		done, err := f(h, b[unix.NLMSG_HDRLEN:h.Len])
		if done || err != nil {
			return true, err
		}
		b = b[min(len(b), int(h.Len+3)&^3):]
	}
	return false, nil
}

// errorOf decodes an NLMSG_ERROR or NLMSG_DONE: an errno, 0 for an acknowledgement, and the
// kernel's words if it had any.
func errorOf(h unix.NlMsghdr, data []byte) error {
	if len(data) < 4 {
		return errors.New("netlink: a truncated error message")
	}
	code := -int32(binary.NativeEndian.Uint32(data))
	if code == 0 {
		return nil
	}
	err := mapErrno(unix.Errno(code))
	copied := 4
	if h.Type == unix.NLMSG_ERROR {
		copied += unix.NLMSG_HDRLEN // with NETLINK_CAP_ACK, the header of our message and no more
	}
	if h.Flags&unix.NLM_F_ACK_TLVS != 0 && len(data) > copied {
		if attrs, aerr := netlink.UnmarshalAttributes(data[copied:]); aerr == nil {
			for _, a := range attrs {
				if a.Type == unix.NLMSGERR_ATTR_MSG {
					return fmt.Errorf("%w (%s)", err, nfnetlink.String(a.Data))
				}
			}
		}
	}
	return err
}

// mapErrno wraps what an administrator can act on.
func mapErrno(err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w (%w)", firewall.ErrPermission, err)
	case errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EAFNOSUPPORT):
		return fmt.Errorf("%w: it has no nf_tables (%w)", firewall.ErrUnsupported, err)
	case errors.Is(err, unix.ERESTART):
		return fmt.Errorf("%w (%w)", firewall.ErrConflict, err)
	case errors.Is(err, unix.EMSGSIZE):
		return fmt.Errorf(
			"the change does not fit the netlink socket: this needs CAP_NET_ADMIN outside any user namespace, or a higher net.core.wmem_max (%w)",
			err,
		)
	}
	return err
}
