package address

import (
	"cmp"
	"encoding/binary"
	"math/bits"
	"net/netip"
	"unsafe"
)

// V4 is an IPv4 address as a number.
type V4 uint32

// V6 is an IPv6 address as a number of 128 bits.
type V6 struct{ Hi, Lo uint64 }

// Number is an address as a number: what the algorithms of this package need of it. They are
// written once for both families.
type Number[N any] interface {
	V4 | V6
	// Compare is −1, 0 or 1.
	Compare(N) int
	// IP is the address in the form that the rest of Go uses.
	IP() netip.Addr

	// next and prev are the neighbours. At the ends of the number space they wrap around.
	next() N
	prev() N
	// block is the largest prefix that starts here and ends no later than last: its last address
	// and its length.
	block(last N) (end N, length int)
	// blocks is how many prefixes it takes to reach last.
	blocks(last N) int
	// hostMask has a one for each bit behind a prefix of the given length.
	hostMask(length int) N
	andNot(N) N
	or(N) N
	// words is how many words of 64 bits the number has, and word is one of them; the last is the
	// most significant.
	words() int
	word(i int) uint64
}

// less reports whether a comes before b. The compiler inlines this function, which it does not do
// with a method of a type parameter: Union takes a third of the time so. N is V4 or V6, as Number
// says, and its size tells which.
func less[N Number[N]](a, b N) bool {
	if unsafe.Sizeof(a) == unsafe.Sizeof(V4(0)) {
		return *(*V4)(unsafe.Pointer(&a)) < *(*V4)(unsafe.Pointer(&b))
	}
	x, y := *(*V6)(unsafe.Pointer(&a)), *(*V6)(unsafe.Pointer(&b))
	return x.Hi < y.Hi || x.Hi == y.Hi && x.Lo < y.Lo
}

// follows reports whether b is the number right behind a. It is inlined as less is.
func follows[N Number[N]](a, b N) bool {
	if unsafe.Sizeof(a) == unsafe.Sizeof(V4(0)) {
		return *(*V4)(unsafe.Pointer(&a))+1 == *(*V4)(unsafe.Pointer(&b))
	}
	return (*V6)(unsafe.Pointer(&a)).next() == *(*V6)(unsafe.Pointer(&b))
}

// V4Of is an IPv4 address as a number.
func V4Of(a netip.Addr) V4 { b := a.As4(); return V4(binary.BigEndian.Uint32(b[:])) }

// V6Of is an IPv6 address as a number.
func V6Of(a netip.Addr) V6 {
	b := a.As16()
	return V6{binary.BigEndian.Uint64(b[:]), binary.BigEndian.Uint64(b[8:])}
}

// Compare is −1, 0 or 1.
func (a V4) Compare(b V4) int { return cmp.Compare(a, b) }

// IP is the address in the form that the rest of Go uses.
func (a V4) IP() netip.Addr {
	return netip.AddrFrom4([4]byte{byte(a >> 24), byte(a >> 16), byte(a >> 8), byte(a)})
}

func (a V4) next() V4       { return a + 1 }
func (a V4) prev() V4       { return a - 1 }
func (a V4) andNot(b V4) V4 { return a &^ b }
func (a V4) or(b V4) V4     { return a | b }
func (V4) words() int       { return 1 }

func (a V4) word(int) uint64      { return uint64(a) }
func (V4) hostMask(length int) V4 { return V4(uint64(1)<<(32-length) - 1) }

func (a V4) block(last V4) (V4, int) {
	// As many host bits as a has zeros, but no more than fit: 2^host − 1 ≤ last − a.
	host := min(bits.TrailingZeros32(uint32(a)), bits.Len64(uint64(last-a)+1)-1)
	return a + V4(uint64(1)<<host-1), 32 - host
}

func (a V4) blocks(last V4) int {
	// Above the highest bit in which a and the end differ, both agree. middle is the multiple of
	// that bit between them. Up to middle, prefixes grow: one for each bit of the distance. Behind
	// it they shrink likewise.
	first, end := uint64(a), uint64(last)+1
	middle := end &^ (1<<(bits.Len64(first^end)-1) - 1)
	return bits.OnesCount64(middle-first) + bits.OnesCount64(end-middle)
}

// Compare is −1, 0 or 1.
func (a V6) Compare(b V6) int {
	if a.Hi != b.Hi {
		return cmp.Compare(a.Hi, b.Hi)
	}
	return cmp.Compare(a.Lo, b.Lo)
}

// IP is the address in the form that the rest of Go uses.
func (a V6) IP() netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], a.Hi)
	binary.BigEndian.PutUint64(b[8:], a.Lo)
	return netip.AddrFrom16(b)
}

func (a V6) andNot(b V6) V6 { return V6{a.Hi &^ b.Hi, a.Lo &^ b.Lo} }
func (a V6) or(b V6) V6     { return V6{a.Hi | b.Hi, a.Lo | b.Lo} }
func (V6) words() int       { return 2 }

func (a V6) word(i int) uint64 {
	if i == 0 {
		return a.Lo
	}
	return a.Hi
}

func (a V6) next() V6 {
	lo, carry := bits.Add64(a.Lo, 1, 0)
	return V6{a.Hi + carry, lo}
}

func (a V6) prev() V6 { return a.minus(V6{0, 1}) }

func (a V6) minus(b V6) V6 {
	lo, borrow := bits.Sub64(a.Lo, b.Lo, 0)
	return V6{a.Hi - b.Hi - borrow, lo}
}

func (a V6) onesCount() int { return bits.OnesCount64(a.Hi) + bits.OnesCount64(a.Lo) }

// len is the number of bits that it takes to write the number.
func (a V6) len() int {
	if a.Hi != 0 {
		return 64 + bits.Len64(a.Hi)
	}
	return bits.Len64(a.Lo)
}

func (V6) hostMask(length int) V6 {
	if host := 128 - length; host < 64 {
		return V6{0, uint64(1)<<host - 1}
	}
	return V6{uint64(1)<<(64-length) - 1, ^uint64(0)} // a shift by 64 gives 0, and −1 all ones
}

func (a V6) block(last V6) (V6, int) {
	host := bits.TrailingZeros64(a.Lo)
	if a.Lo == 0 {
		host += bits.TrailingZeros64(a.Hi)
	}
	if size := last.minus(a).next(); size != (V6{}) { // zero stands for all 2^128
		host = min(host, size.len()-1)
	}
	return a.or(a.hostMask(128 - host)), 128 - host
}

// blocks counts as V4's does. An end of zero stands for 2^128.
func (a V6) blocks(last V6) int {
	end := last.next()
	if end == (V6{}) {
		if a == end {
			return 1
		}
		return end.minus(a).onesCount()
	}
	middle := end.andNot(a.hostMask(128 - (V6{a.Hi ^ end.Hi, a.Lo ^ end.Lo}.len() - 1)))
	return middle.minus(a).onesCount() + end.minus(middle).onesCount()
}
