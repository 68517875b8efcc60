package netlink

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// typeMask removes NLA_F_NESTED and NLA_F_NET_BYTEORDER (include/uapi/linux/netlink.h) from an
// attribute's type; senders set them as they like.
const typeMask = 0x3fff

// Each walks attributes in order. It ends with f's error, or with ErrMalformed.
func Each(b []byte, f func(kind uint16, data []byte) error) error {
	for len(b) > 0 {
		n, err := attributeLength(b)
		if err != nil {
			return err
		}
		kind := binary.NativeEndian.Uint16(b[2:]) & typeMask
		if err := f(kind, b[unix.NLA_HDRLEN:n:n]); err != nil {
			return err
		}
		b = b[min(len(b), aligned(n)):]
	}
	return nil
}

// attributeLength is the length of the attribute that b begins with, header included.
func attributeLength(b []byte) (int, error) {
	if len(b) < unix.NLA_HDRLEN {
		return 0, ErrMalformed
	}
	n := int(binary.NativeEndian.Uint16(b))
	if n < unix.NLA_HDRLEN || n > len(b) {
		return 0, ErrMalformed
	}
	return n, nil
}

// aligned rounds up to the four bytes at which messages and attributes begin.
func aligned(n int) int { return (n + unix.NLA_ALIGNTO - 1) &^ (unix.NLA_ALIGNTO - 1) }

// Attributes are a message's attributes by their type. One that is absent is nil, one without data
// is empty. Types beyond the table are dropped; no object of nf_tables has any.
//
// It holds offsets and not slices, a fifth of the size: readers make millions of them.
type Attributes struct {
	all []byte
	// of is where the data stands. at is 0 for an absent attribute: a header stands before any
	// data.
	of [32]struct{ at, n uint16 }
}

// Parse reads attributes; of several with one type the last counts, as in the kernel (lib/nlattr.c,
// nla_parse). More than 64 KiB, which fit neither an attribute nor a message of a dump, are
// ErrMalformed.
func Parse(b []byte) (Attributes, error) {
	a := Attributes{all: b}
	if len(b) > maxAttribute {
		return a, ErrMalformed
	}
	for at := 0; at < len(b); {
		n, err := attributeLength(b[at:])
		if err != nil {
			return a, err
		}
		if kind := binary.NativeEndian.Uint16(b[at+2:]) & typeMask; int(kind) < len(a.of) {
			a.of[kind].at, a.of[kind].n = uint16(at+unix.NLA_HDRLEN), uint16(n-unix.NLA_HDRLEN)
		}
		at += aligned(n)
	}
	return a, nil
}

// Has reports whether the attribute is there.
func (a *Attributes) Has(kind int) bool { return a.of[kind].at != 0 }

// Bytes is the attribute's data; nil if it is absent.
func (a *Attributes) Bytes(kind int) []byte {
	p := a.of[kind]
	if p.at == 0 {
		return nil
	}
	return a.all[p.at : p.at+p.n : p.at+p.n]
}

// Number is the attribute as a number in network byte order, which is what all of netfilter uses; 0
// if it is absent.
func (a *Attributes) Number(kind int) uint64 { return Number(a.Bytes(kind)) }

// String is the attribute as a C string; "" if it is absent.
func (a *Attributes) String(kind int) string { return String(a.Bytes(kind)) }

// Number reads up to eight bytes, most significant first; of more, the last eight count.
func Number(b []byte) uint64 {
	var n uint64
	for _, x := range b {
		n = n<<8 | uint64(x)
	}
	return n
}

// Native reads a number of one, two, four or eight bytes in the machine's byte order, which is what
// routing and sock_diag use; 0 for other sizes.
func Native(b []byte) uint64 {
	switch len(b) {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(binary.NativeEndian.Uint16(b))
	case 4:
		return uint64(binary.NativeEndian.Uint32(b))
	case 8:
		return binary.NativeEndian.Uint64(b)
	}
	return 0
}

// String reads a C string: up to the first zero byte, or all of it.
func String(b []byte) string { return string(CString(b)) }

// CString is the bytes of String.
func CString(b []byte) []byte {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		return b[:i]
	}
	return b
}
