package watch

import (
	"encoding/binary"
	"errors"
	"iter"

	"golang.org/x/sys/unix"
)

// Messages are read in place, without copying: a commit may send a million of them.

// message is one nf_tables notification.
type message struct {
	kind   uint8  // NFT_MSG_*
	port   uint32 // the netlink port of the socket that sent the transaction; 0: the kernel itself
	family uint8  // NFPROTO_*
	attrs  []byte
}

// Sizes of struct nlmsghdr with struct nfgenmsg, and of struct nlattr.
const (
	messageHeader   = unix.NLMSG_HDRLEN + 4
	attributeHeader = 4
)

// attributeTypeMask removes NLA_F_NESTED and NLA_F_NET_BYTEORDER from an attribute's type.
const attributeTypeMask = 0x3fff

var errMalformed = errors.New("netlink: a message that does not fit its datagram")

// messages walks the nf_tables messages of a datagram; an error is the last thing it yields.
func messages(datagram []byte) iter.Seq2[message, error] {
	return func(yield func(message, error) bool) {
		for b := datagram; len(b) > 0; {
			if len(b) < unix.NLMSG_HDRLEN {
				yield(message{}, errMalformed)
				return
			}
			length := int(binary.NativeEndian.Uint32(b))
			kind := binary.NativeEndian.Uint16(b[4:])
			ours := kind>>8 == unix.NFNL_SUBSYS_NFTABLES
			if length > len(b) || length < unix.NLMSG_HDRLEN || ours && length < messageHeader {
				yield(message{}, errMalformed)
				return
			}
			if ours && !yield(message{
				kind:   uint8(kind),
				port:   binary.NativeEndian.Uint32(b[12:]),
				family: b[unix.NLMSG_HDRLEN],
				attrs:  b[messageHeader:length],
			}, nil) {
				return
			}
			b = b[min(len(b), aligned(length)):]
		}
	}
}

// attributes walks netlink attributes by type and content. It ends at what is no attribute.
func attributes(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= attributeHeader {
			length := int(binary.NativeEndian.Uint16(b))
			if length < attributeHeader || length > len(b) {
				return
			}
			if !yield(binary.NativeEndian.Uint16(b[2:])&attributeTypeMask, b[attributeHeader:length]) {
				return
			}
			b = b[min(len(b), aligned(length)):]
		}
	}
}

// attribute is the content of the first attribute of a type; nil without one.
func attribute(b []byte, kind uint16) []byte {
	for k, data := range attributes(b) {
		if k == kind {
			return data
		}
	}
	return nil
}

// aligned rounds up to netlink's four bytes.
func aligned(n int) int { return (n + 3) &^ 3 }

// number reads an integer; nf_tables sends them in network byte order.
func number(b []byte) uint32 {
	if len(b) != 4 {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

// text cuts the final NUL off a C string.
func text(b []byte) []byte {
	for i, c := range b {
		if c == 0 {
			return b[:i]
		}
	}
	return b
}
