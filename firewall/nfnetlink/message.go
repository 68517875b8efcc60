package nfnetlink

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// headerLength is the size of struct nfgenmsg (include/uapi/linux/netfilter/nfnetlink.h): family, version, resource.
const headerLength = 4

// Message is one object of an answer.
type Message struct {
	Kind   uint8 // NFT_MSG_NEWTABLE, …
	Family uint8
	// Resource is nfgenmsg's res_id. In nf_tables' answers it holds the lower half of the ruleset's generation.
	Resource   uint16
	Attributes []byte
}

// header is struct nlmsghdr (include/uapi/linux/netlink.h).
type header struct {
	length     uint32
	kind, flag uint16
	sequence   uint32
}

// eachMessage walks the messages of a datagram until f says done or fails.
func eachMessage(b []byte, f func(h header, data []byte) (done bool, err error)) (done bool, err error) {
	for len(b) >= unix.NLMSG_HDRLEN {
		h := header{
			length:   binary.NativeEndian.Uint32(b),
			kind:     binary.NativeEndian.Uint16(b[4:]),
			flag:     binary.NativeEndian.Uint16(b[6:]),
			sequence: binary.NativeEndian.Uint32(b[8:]),
		}
		if h.length < unix.NLMSG_HDRLEN || uint64(h.length) > uint64(len(b)) {
			return true, ErrMalformed
		}
		if done, err := f(h, b[unix.NLMSG_HDRLEN:h.length]); done || err != nil {
			return true, err
		}
		b = b[min(len(b), int(h.length+3)&^3):]
	}
	return false, nil
}

// messageOf reads the part behind struct nlmsghdr.
func messageOf(kind uint16, data []byte) (Message, error) {
	if len(data) < headerLength {
		return Message{}, ErrMalformed
	}
	return Message{
		Kind: uint8(kind), Family: data[0], Resource: binary.BigEndian.Uint16(data[2:]), Attributes: data[headerLength:],
	}, nil
}

// errorOf decodes an NLMSG_ERROR or NLMSG_DONE: an errno, or nil for 0. It wraps a unix.Errno.
func errorOf(data []byte) error {
	if len(data) < 4 {
		return nil // NLMSG_DONE of old kernels
	}
	if code := -int32(binary.NativeEndian.Uint32(data)); code != 0 {
		return unix.Errno(code)
	}
	return nil
}
