package firewall

import (
	"cmp"
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"
)

// Address4 is an IPv4 address as a number.
type Address4 uint32

// Address6 is an IPv6 address as a number of 128 bits.
type Address6 struct{ Hi, Lo uint64 }

// Range is some addresses of one family, both ends included: 8 bytes of IPv4, 32 bytes of IPv6.
type Range[A any] struct{ First, Last A }

// number is what the algorithms below need of an address; they are written once for both families.
type number[A any] interface {
	comparable
	// Compare is −1, 0 or 1.
	Compare(A) int
	// next and prev are the neighbours; at the ends of the number space they wrap around.
	next() A
	prev() A
	// block is the last address of the largest prefix that starts here and reaches no further than last, and that prefix's length.
	block(last A) (end A, length int)
	// sort orders ranges by their first address; the receiver does not matter. Comparing concrete types takes half the time of comparing through this interface.
	sort([]Range[A])
	// IP is the address in the form that the rest of Go uses.
	IP() netip.Addr
}

// Address4Of is an IPv4 address as a number.
func Address4Of(a netip.Addr) Address4 { b := a.As4(); return Address4(binary.BigEndian.Uint32(b[:])) }

// Address6Of is an IPv6 address as a number.
func Address6Of(a netip.Addr) Address6 {
	b := a.As16()
	return Address6{binary.BigEndian.Uint64(b[:]), binary.BigEndian.Uint64(b[8:])}
}

// Compare is −1, 0 or 1.
func (a Address4) Compare(b Address4) int { return cmp.Compare(a, b) }

func (a Address4) next() Address4 { return a + 1 }
func (a Address4) prev() Address4 { return a - 1 }

func (Address4) sort(list []Range[Address4]) {
	slices.SortFunc(list, func(a, b Range[Address4]) int { return cmp.Compare(a.First, b.First) })
}

func (a Address4) block(last Address4) (Address4, int) {
	// As many host bits as a has zeros, but no more than fit: 2^host − 1 ≤ last − a.
	host := bits.TrailingZeros32(uint32(a))
	if fits := bits.Len64(uint64(last-a)+1) - 1; fits < host {
		host = fits
	}
	return a + Address4(uint64(1)<<host-1), 32 - host
}

// IP is the address in the form that the rest of Go uses.
func (a Address4) IP() netip.Addr {
	return netip.AddrFrom4([4]byte{byte(a >> 24), byte(a >> 16), byte(a >> 8), byte(a)})
}

// Compare is −1, 0 or 1.
func (a Address6) Compare(b Address6) int {
	if a.Hi != b.Hi {
		return cmp.Compare(a.Hi, b.Hi)
	}
	return cmp.Compare(a.Lo, b.Lo)
}

func (a Address6) next() Address6 {
	lo, carry := bits.Add64(a.Lo, 1, 0)
	return Address6{a.Hi + carry, lo}
}

func (a Address6) prev() Address6 {
	lo, borrow := bits.Sub64(a.Lo, 1, 0)
	return Address6{a.Hi - borrow, lo}
}

func (Address6) sort(list []Range[Address6]) {
	slices.SortFunc(list, func(a, b Range[Address6]) int { return a.First.Compare(b.First) })
}

func (a Address6) block(last Address6) (Address6, int) {
	host := bits.TrailingZeros64(a.Lo)
	if a.Lo == 0 {
		host += bits.TrailingZeros64(a.Hi)
	}
	lo, borrow := bits.Sub64(last.Lo, a.Lo, 0)
	hi, _ := bits.Sub64(last.Hi, a.Hi, borrow)
	size := Address6{hi, lo}.next() // 0 for all 2^128
	fits := 128
	switch {
	case size.Hi != 0:
		fits = 63 + bits.Len64(size.Hi)
	case size.Lo != 0:
		fits = bits.Len64(size.Lo) - 1
	}
	host = min(host, fits)
	if host >= 64 {
		return Address6{a.Hi + (uint64(1)<<(host-64) - 1), ^uint64(0)}, 128 - host
	}
	return Address6{a.Hi, a.Lo + (uint64(1)<<host - 1)}, 128 - host
}

// IP is the address in the form that the rest of Go uses.
func (a Address6) IP() netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], a.Hi)
	binary.BigEndian.PutUint64(b[8:], a.Lo)
	return netip.AddrFrom16(b)
}

// A list of ranges is canonical if it is ascending and between any two of them an address is missing. All functions below take
// canonical lists and return canonical ones; each is one walk over both.

// touches reports whether b, which starts no earlier than a, starts no later than right behind it.
func touches[A number[A]](a, b Range[A]) bool {
	return b.First.Compare(a.Last) <= 0 || a.Last.next() == b.First
}

// push appends a range that starts no earlier than the list's last one.
func push[A number[A]](list []Range[A], r Range[A]) []Range[A] {
	if n := len(list) - 1; n >= 0 && touches(list[n], r) {
		if list[n].Last.Compare(r.Last) < 0 {
			list[n].Last = r.Last
		}
		return list
	}
	return append(list, r)
}

// merged makes a canonical list of any, in place.
func merged[A number[A]](list []Range[A]) []Range[A] {
	var any A
	any.sort(list)
	out := list[:0]
	for _, r := range list {
		out = push(out, r)
	}
	return trimmed(out)
}

// trimmed gives back room that a list will never use, since sets live long; nil is the one empty list.
func trimmed[R any](list []R) []R {
	switch {
	case len(list) == 0:
		return nil
	case cap(list)-len(list) > len(list)/4:
		return append(make([]R, 0, len(list)), list...)
	}
	return list
}

// same reports whether two lists are one and the same in memory.
func same[R any](a, b []R) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

func equal[A number[A]](a, b []Range[A]) bool { return same(a, b) || slices.Equal(a, b) }

func union[A number[A]](a, b []Range[A]) []Range[A] {
	switch {
	case len(a) == 0 || same(a, b):
		return b
	case len(b) == 0:
		return a
	}
	out := make([]Range[A], 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		if a[0].First.Compare(b[0].First) <= 0 {
			out, a = push(out, a[0]), a[1:]
		} else {
			out, b = push(out, b[0]), b[1:]
		}
	}
	rest := a
	if len(a) == 0 {
		rest = b
	}
	for len(rest) > 0 && touches(out[len(out)-1], rest[0]) {
		out, rest = push(out, rest[0]), rest[1:]
	}
	return trimmed(append(out, rest...))
}

func minus[A number[A]](a, b []Range[A]) []Range[A] {
	if len(b) == 0 {
		return a
	}
	if same(a, b) {
		return nil
	}
	var out []Range[A]
	j := 0
	for _, r := range a {
		for j < len(b) && b[j].Last.Compare(r.First) < 0 {
			j++
		}
		whole := true
		for ; j < len(b) && b[j].First.Compare(r.Last) <= 0; j++ {
			if r.First.Compare(b[j].First) < 0 {
				out = append(out, Range[A]{r.First, b[j].First.prev()})
			}
			if b[j].Last.Compare(r.Last) >= 0 { // and it may cover the next one too
				whole = false
				break
			}
			r.First = b[j].Last.next()
		}
		if whole {
			out = append(out, r)
		}
	}
	return trimmed(out)
}

func intersect[A number[A]](a, b []Range[A]) []Range[A] {
	if same(a, b) {
		return a
	}
	out := make([]Range[A], 0, min(len(a), len(b)))
	for i, j := 0, 0; i < len(a) && j < len(b); {
		r := a[i]
		if r.First.Compare(b[j].First) < 0 {
			r.First = b[j].First
		}
		if b[j].Last.Compare(r.Last) < 0 {
			r.Last = b[j].Last
			j++
		} else {
			i++
		}
		if r.First.Compare(r.Last) <= 0 {
			out = append(out, r)
		}
	}
	return trimmed(out)
}

func contains[A number[A]](list []Range[A], a A) bool {
	// The last range that starts at or before a is the only one that can hold it.
	i, found := slices.BinarySearchFunc(list, a, func(r Range[A], a A) int { return r.First.Compare(a) })
	return found || i > 0 && a.Compare(list[i-1].Last) <= 0
}

// overlaps reports whether the list holds any address of a range.
func overlaps[A number[A]](list []Range[A], r Range[A]) bool {
	i, _ := slices.BinarySearchFunc(list, r.First, func(x Range[A], a A) int { return x.Last.Compare(a) })
	return i < len(list) && list[i].First.Compare(r.Last) <= 0
}

// eachPrefix yields the fewest prefixes that make up the ranges, in order; false if it was stopped.
func eachPrefix[A number[A]](list []Range[A], yield func(Prefix) bool) bool {
	for _, r := range list {
		for first := r.First; ; {
			end, length := first.block(r.Last)
			if !yield(netip.PrefixFrom(first.IP(), length)) {
				return false
			}
			if end == r.Last {
				break
			}
			first = end.next()
		}
	}
	return true
}

// countPrefixes is how many prefixes eachPrefix yields.
func countPrefixes[A number[A]](list []Range[A]) int {
	n := 0
	for _, r := range list {
		for first := r.First; ; {
			n++
			end, _ := first.block(r.Last)
			if end == r.Last {
				break
			}
			first = end.next()
		}
	}
	return n
}
