package exposure

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"net/netip"
	"strings"
)

// Value is whatever a rule can compare or set, as an unsigned number of up to 128 bits: a port, a
// mark, an address, an interface name. All fields are numbers of their own width (Field.Width), so
// that ranges, masks and shifts are exact for each of them and a Value is comparable and holds no
// pointer.
//
//	number     as it is, whatever byte order it had in the kernel
//	IPv4       its 32 bits as a number, most significant byte first
//	IPv6       its 128 bits as a number
//	MAC        its 48 bits as a number
//	name       its bytes from the top down, then zeros: 16 bytes, IFNAMSIZ, as nf_tables has them
type Value struct{ hi, lo uint64 }

// Number is a number.
func Number(n uint64) Value { return Value{lo: n} }

// Address is an IPv4 or IPv6 address. IPv4-mapped IPv6 addresses stay IPv6; a zone is dropped.
func Address(a netip.Addr) Value {
	if a.Is4() {
		b := a.As4()
		return Value{lo: uint64(binary.BigEndian.Uint32(b[:]))}
	}
	b := a.As16()
	return Value{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

// Name is an interface name. Bytes after the 16th are dropped: the kernel has none.
func Name(s string) Value {
	var b [16]byte
	copy(b[:], s)
	return Value{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

// Bytes is a number written in bytes, most significant first; false if there are more than 16.
func Bytes(b []byte) (Value, bool) {
	if len(b) > 16 {
		return Value{}, false
	}
	var full [16]byte
	copy(full[16-len(b):], b)
	return Value{binary.BigEndian.Uint64(full[:8]), binary.BigEndian.Uint64(full[8:])}, true
}

// Ones is the highest value of a width: its mask.
func Ones(width int) Value {
	switch {
	case width <= 0:
		return Value{}
	case width >= 128:
		return Value{math.MaxUint64, math.MaxUint64}
	case width > 64:
		return Value{1<<(width-64) - 1, math.MaxUint64}
	case width == 64:
		return Value{0, math.MaxUint64}
	}
	return Value{0, 1<<width - 1}
}

// Uint64 is the number; false if it needs more bits.
func (v Value) Uint64() (uint64, bool) { return v.lo, v.hi == 0 }

// IPv4 is the address; the number's upper bits are ignored.
func (v Value) IPv4() netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], uint32(v.lo))
	return netip.AddrFrom4(b)
}

// IPv6 is the address.
func (v Value) IPv6() netip.Addr { return netip.AddrFrom16(v.bytes()) }

// Text is the interface name.
func (v Value) Text() string {
	b := v.bytes()
	return strings.TrimRight(string(b[:]), "\x00")
}

func (v Value) bytes() (b [16]byte) {
	binary.BigEndian.PutUint64(b[:8], v.hi)
	binary.BigEndian.PutUint64(b[8:], v.lo)
	return b
}

// Compare orders values as numbers.
func (v Value) Compare(
	o Value,
) int {
	return cmp.Or(cmp.Compare(v.hi, o.hi), cmp.Compare(v.lo, o.lo))
}

func (v Value) And(o Value) Value    { return Value{v.hi & o.hi, v.lo & o.lo} }
func (v Value) AndNot(o Value) Value { return Value{v.hi &^ o.hi, v.lo &^ o.lo} }
func (v Value) Or(o Value) Value     { return Value{v.hi | o.hi, v.lo | o.lo} }
func (v Value) Xor(o Value) Value    { return Value{v.hi ^ o.hi, v.lo ^ o.lo} }
func (v Value) IsZero() bool         { return v == Value{} }

// Shift moves the bits up (n > 0, towards the more significant) or down.
func (v Value) Shift(n int) Value {
	switch {
	case n >= 128 || n <= -128:
		return Value{}
	case n >= 64:
		return Value{hi: v.lo << (n - 64)}
	case n >= 0:
		return Value{v.hi<<n | v.lo>>(64-n), v.lo << n}
	case n > -64:
		return Value{v.hi >> -n, v.lo>>-n | v.hi<<(64+n)}
	}
	return Value{lo: v.hi >> (-n - 64)}
}

func (v Value) bit(i int) uint64 {
	if i >= 64 {
		return v.hi >> (i - 64) & 1
	}
	return v.lo >> i & 1
}

// next is v+1, and false if there is none.
func (v Value) next() (Value, bool) {
	lo, carry := bits.Add64(v.lo, 1, 0)
	hi, carry := bits.Add64(v.hi, 0, carry)
	return Value{hi, lo}, carry == 0
}

// prev is v−1, and false if there is none.
func (v Value) prev() (Value, bool) {
	lo, borrow := bits.Sub64(v.lo, 1, 0)
	hi, borrow := bits.Sub64(v.hi, 0, borrow)
	return Value{hi, lo}, borrow == 0
}

func (v Value) String() string {
	if v.hi == 0 {
		return fmt.Sprintf("%#x", v.lo)
	}
	return fmt.Sprintf("%#x%016x", v.hi, v.lo)
}

// Range is From to To, both included. From ≤ To: a range is never empty.
type Range struct{ From, To Value }

// One is the range of one value.
func One(v Value) Range { return Range{v, v} }

// Numbers is a range of numbers, both included.
func Numbers(from, to uint64) Range { return Range{Number(from), Number(to)} }

// Prefix is the range of an IPv4 or IPv6 prefix.
func Prefix(p netip.Prefix) Range {
	width := p.Addr().BitLen()
	from := Address(p.Masked().Addr())
	return Range{from, from.Or(Ones(width - p.Bits()))}
}

// NamePrefix is every interface name that begins with s: "eth" for eth* and eth+. "" is every name,
// that of no interface included, which is what "-i +" matches.
func NamePrefix(s string) Range {
	from := Name(s)
	return Range{from, from.Or(Ones(128 - 8*min(len(s), 16)))}
}

// Full is every value of a width.
func Full(width int) Range { return Range{Value{}, Ones(width)} }

// Size is how many values are in the range, less one.
func (r Range) Size() Value {
	lo, borrow := bits.Sub64(r.To.lo, r.From.lo, 0)
	hi, _ := bits.Sub64(r.To.hi, r.From.hi, borrow)
	return Value{hi, lo}
}

// Contains reports whether a value is in the range.
func (r Range) Contains(v Value) bool { return r.From.Compare(v) <= 0 && v.Compare(r.To) <= 0 }
