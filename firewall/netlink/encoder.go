package netlink

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// maxAttribute is the longest attribute, header included: its length is a uint16 (struct nlattr,
// include/uapi/linux/netlink.h).
const maxAttribute = 1<<16 - 1

// Encoder writes messages with their attributes into one buffer. Numbers are in network byte order,
// which is what all of netfilter uses.
//
// An attribute that is too long makes the whole buffer unusable: sending it fails.
type Encoder struct {
	Buf      []byte
	Sequence uint32 // of the next message
	messages uint32 // begun so far
	tooLong  bool
}

// Begin begins a message with a fixed header and returns its place for End. It adds NLM_F_REQUEST.
func (e *Encoder) Begin(kind, flags uint16, header ...byte) int {
	at := len(e.Buf)
	e.Buf = binary.NativeEndian.AppendUint32(e.Buf, 0) // length, which End writes
	e.Buf = binary.NativeEndian.AppendUint16(e.Buf, kind)
	e.Buf = binary.NativeEndian.AppendUint16(e.Buf, flags|unix.NLM_F_REQUEST)
	e.Buf = binary.NativeEndian.AppendUint32(e.Buf, e.Sequence)
	e.Buf = binary.NativeEndian.AppendUint32(e.Buf, 0)
	e.Buf = append(e.Buf, header...)
	e.Sequence++
	e.messages++
	return at
}

// End ends the message that began at a place.
func (e *Encoder) End(at int) { binary.NativeEndian.PutUint32(e.Buf[at:], uint32(len(e.Buf)-at)) }

// Nest begins an attribute that holds attributes and returns its place for EndNest.
func (e *Encoder) Nest(kind uint16) int {
	at := len(e.Buf)
	e.header(kind|unix.NLA_F_NESTED, 0)
	return at
}

// EndNest ends the attribute that began at a place.
func (e *Encoder) EndNest(at int) {
	n := len(e.Buf) - at
	e.tooLong = e.tooLong || n > maxAttribute
	binary.NativeEndian.PutUint16(e.Buf[at:], uint16(n))
}

// Bytes writes an attribute.
func (e *Encoder) Bytes(kind uint16, data []byte) {
	e.header(kind, len(data))
	e.Buf = append(e.Buf, data...)
	e.pad()
}

// String writes an attribute that is a C string.
func (e *Encoder) String(kind uint16, s string) {
	e.header(kind, len(s)+1)
	e.Buf = append(append(e.Buf, s...), 0)
	e.pad()
}

// Uint8 writes a number.
func (e *Encoder) Uint8(kind uint16, n uint8) {
	e.header(kind, 1)
	e.Buf = append(e.Buf, n, 0, 0, 0)
}

// Uint16 writes a number.
func (e *Encoder) Uint16(kind, n uint16) {
	e.header(kind, 2)
	e.Buf = append(binary.BigEndian.AppendUint16(e.Buf, n), 0, 0)
}

// Uint32 writes a number.
func (e *Encoder) Uint32(kind uint16, n uint32) {
	e.header(kind, 4)
	e.Buf = binary.BigEndian.AppendUint32(e.Buf, n)
}

// Uint64 writes a number.
func (e *Encoder) Uint64(kind uint16, n uint64) {
	e.header(kind, 8)
	e.Buf = binary.BigEndian.AppendUint64(e.Buf, n)
}

func (e *Encoder) header(kind uint16, length int) {
	length += unix.NLA_HDRLEN
	e.tooLong = e.tooLong || length > maxAttribute
	e.Buf = binary.NativeEndian.AppendUint16(e.Buf, uint16(length))
	e.Buf = binary.NativeEndian.AppendUint16(e.Buf, kind)
}

func (e *Encoder) pad() {
	for len(e.Buf)%unix.NLA_ALIGNTO != 0 {
		e.Buf = append(e.Buf, 0)
	}
}

// AppendBytes appends an attribute.
func AppendBytes(b []byte, kind uint16, data []byte) []byte {
	e := Encoder{Buf: b}
	e.Bytes(kind, data)
	return e.Buf
}

// AppendString appends an attribute that is a C string.
func AppendString(b []byte, kind uint16, s string) []byte {
	e := Encoder{Buf: b}
	e.String(kind, s)
	return e.Buf
}
