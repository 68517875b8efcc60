package netlink

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// Message is one message that the kernel sent. Its slices are only valid until the next datagram is
// received.
type Message struct {
	Kind  uint16 // RTM_NEWROUTE, …; in netfilter the subsystem is the upper byte
	Flags uint16
	// Port is the port of the socket whose request caused the message; 0 is the kernel itself.
	Port uint32
	// Header is the fixed part, such as struct nfgenmsg or struct rtmsg.
	Header     []byte
	Attributes []byte
}

// NetfilterHeader is the size of struct nfgenmsg (include/uapi/linux/netfilter/nfnetlink.h):
// family, version, resource.
const NetfilterHeader = 4

// Family is the family of a message of netfilter: NFPROTO_….
func (m Message) Family() uint8 { return m.Header[0] }

// header is struct nlmsghdr (include/uapi/linux/netlink.h).
type header struct {
	kind, flags    uint16
	sequence, port uint32
}

// ends reports whether a message ends an answer of several.
func (h header) ends() bool { return h.kind == unix.NLMSG_DONE || h.kind == unix.NLMSG_ERROR }

// messages walks the messages of a datagram until f says done or fails.
func messages(b []byte, f func(h header, data []byte) (done bool, err error)) (bool, error) {
	for len(b) > 0 {
		if len(b) < unix.NLMSG_HDRLEN {
			return false, ErrMalformed
		}
		h := header{
			kind:     binary.NativeEndian.Uint16(b[4:]),
			flags:    binary.NativeEndian.Uint16(b[6:]),
			sequence: binary.NativeEndian.Uint32(b[8:]),
			port:     binary.NativeEndian.Uint32(b[12:]),
		}
		n := binary.NativeEndian.Uint32(b)
		if n < unix.NLMSG_HDRLEN || uint64(n) > uint64(len(b)) {
			return false, ErrMalformed
		}
		if done, err := f(h, b[unix.NLMSG_HDRLEN:n]); done || err != nil {
			return done, err
		}
		b = b[min(len(b), aligned(int(n))):]
	}
	return false, nil
}

// message splits what follows struct nlmsghdr behind a fixed header of a size.
func (h header) message(data []byte, size int) (Message, error) {
	if len(data) < size {
		return Message{}, ErrMalformed
	}
	return Message{h.kind, h.flags, h.port, data[:size], data[size:]}, nil
}

// Notifications walks the messages of a datagram that answer no question: those of a subsystem of
// netfilter. It ends with f's error, or with ErrMalformed.
func Notifications(datagram []byte, subsystem uint8, f func(Message) error) error {
	_, err := messages(datagram, func(h header, data []byte) (bool, error) {
		if h.kind>>8 != uint16(subsystem) {
			return false, nil
		}
		m, err := h.message(data, NetfilterHeader)
		if err == nil {
			err = f(m)
		}
		return false, err
	})
	return err
}

// errorOf reads an NLMSG_ERROR or NLMSG_DONE: an errno, or nil for 0, with the kernel's own words
// if it had any.
func errorOf(h header, data []byte) error {
	if len(data) < 4 {
		if h.kind == unix.NLMSG_DONE {
			return nil // old kernels end a dump without a number
		}
		return ErrMalformed
	}
	code := -int32(binary.NativeEndian.Uint32(data))
	if code == 0 {
		return nil
	}
	err := Explain(unix.Errno(code))
	if h.flags&unix.NLM_F_ACK_TLVS == 0 {
		return err
	}
	at := 4
	if h.kind == unix.NLMSG_ERROR {
		at += unix.NLMSG_HDRLEN // with NETLINK_CAP_ACK, the header of our message and no more
	}
	if a, aerr := Parse(data[min(at, len(data)):]); aerr == nil && a.Has(unix.NLMSGERR_ATTR_MSG) {
		return fmt.Errorf("%w (%s)", err, a.String(unix.NLMSGERR_ATTR_MSG))
	}
	return err
}
