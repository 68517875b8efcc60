package nfnetlink

import (
	"bytes"
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"
)

// ErrMalformed is what every decoder returns for bytes that don't fit netlink's own framing.
var ErrMalformed = errors.New("netlink: malformed message")

// typeMask removes NLA_F_NESTED and NLA_F_NET_BYTEORDER (include/uapi/linux/netlink.h) from an attribute's type; senders
// set them as they like.
const typeMask = 0x3fff

// Each walks attributes in order. It ends with f's error, or ErrMalformed for an attribute longer than what is left.
func Each(b []byte, f func(kind uint16, data []byte) error) error {
	for len(b) >= unix.NLA_HDRLEN {
		n := int(binary.NativeEndian.Uint16(b))
		if n < unix.NLA_HDRLEN || n > len(b) {
			return ErrMalformed
		}
		if err := f(binary.NativeEndian.Uint16(b[2:])&typeMask, b[unix.NLA_HDRLEN:n]); err != nil {
			return err
		}
		b = b[min(len(b), (n+unix.NLA_ALIGNTO-1)&^(unix.NLA_ALIGNTO-1)):]
	}
	return nil
}

// Attributes are a message's attributes by their type. One that isn't there is nil, one without data is empty. Types beyond the
// table, which no object of nf_tables has, are dropped.
//
// It holds places and not slices, a fifth of the size: readers make millions of them.
type Attributes struct {
	all []byte
	of  [32]struct{ at, n uint16 } // at is 0 for what isn't there: before every attribute's data stands its header
}

// Parse reads attributes; of several with one type the last counts, as in the kernel (lib/nlattr.c, nla_parse). More than 64 KiB, which fit neither
// an attribute nor a message of a dump, are ErrMalformed.
func Parse(b []byte) (Attributes, error) {
	a := Attributes{all: b}
	if len(b) > 1<<16-1 {
		return a, ErrMalformed
	}
	for at := 0; len(b)-at >= unix.NLA_HDRLEN; {
		n := int(binary.NativeEndian.Uint16(b[at:]))
		if n < unix.NLA_HDRLEN || n > len(b)-at {
			return a, ErrMalformed
		}
		if kind := binary.NativeEndian.Uint16(b[at+2:]) & typeMask; int(kind) < len(a.of) {
			a.of[kind].at, a.of[kind].n = uint16(at+unix.NLA_HDRLEN), uint16(n-unix.NLA_HDRLEN)
		}
		at += (n + unix.NLA_ALIGNTO - 1) &^ (unix.NLA_ALIGNTO - 1)
	}
	return a, nil
}

// Has reports whether the attribute is there.
func (a *Attributes) Has(kind int) bool { return a.of[kind].at != 0 }

// Bytes is the attribute's data; nil if it isn't there.
func (a *Attributes) Bytes(kind int) []byte {
	p := a.of[kind]
	if p.at == 0 {
		return nil
	}
	return a.all[p.at : p.at+p.n : p.at+p.n]
}

// Number is the attribute as a number in network byte order, which is what all of netfilter uses; 0 if it isn't there.
func (a *Attributes) Number(kind int) uint64 { return Number(a.Bytes(kind)) }

// String is the attribute as a C string; "" if it isn't there.
func (a *Attributes) String(kind int) string { return String(a.Bytes(kind)) }

// Number reads up to eight bytes, most significant first; more are cut off at the front.
func Number(b []byte) uint64 {
	var n uint64
	for _, x := range b {
		n = n<<8 | uint64(x)
	}
	return n
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

// AppendString writes a string attribute. Strings longer than an attribute can be (64 KiB) are the caller's error: names in the kernel have at
// most 256 bytes.
func AppendString(b []byte, kind uint16, s string) []byte {
	return AppendBytes(b, kind, append([]byte(s), 0))
}

// AppendBytes writes an attribute and pads it.
func AppendBytes(b []byte, kind uint16, data []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.NLA_HDRLEN+len(data)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, data...)
	for len(b)%unix.NLA_ALIGNTO != 0 {
		b = append(b, 0)
	}
	return b
}
