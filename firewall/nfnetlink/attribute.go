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
// table, which no object of nf_tables has, are dropped, and Beyond says so.
type Attributes struct {
	of     [32][]byte
	Beyond bool
}

// Parse reads attributes; of several with one type the last counts, as in the kernel (lib/nlattr.c, nla_parse).
func Parse(b []byte) (Attributes, error) {
	var a Attributes
	err := Each(b, func(kind uint16, data []byte) error {
		if int(kind) >= len(a.of) {
			a.Beyond = true
			return nil
		}
		if data == nil {
			data = []byte{}
		}
		a.of[kind] = data
		return nil
	})
	return a, err
}

// Has reports whether the attribute is there.
func (a *Attributes) Has(kind int) bool { return a.of[kind] != nil }

// Bytes is the attribute's data; nil if it isn't there.
func (a *Attributes) Bytes(kind int) []byte { return a.of[kind] }

// Number is the attribute as a number in network byte order, which is what all of netfilter uses; 0 if it isn't there.
func (a *Attributes) Number(kind int) uint64 { return Number(a.of[kind]) }

// String is the attribute as a C string; "" if it isn't there.
func (a *Attributes) String(kind int) string { return String(a.of[kind]) }

// Number reads up to eight bytes, most significant first; more are cut off at the front.
func Number(b []byte) uint64 {
	var n uint64
	for _, x := range b {
		n = n<<8 | uint64(x)
	}
	return n
}

// String reads a C string: up to the first zero byte, or all of it.
func String(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
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
