package firewall

import (
	"encoding/json"
	"fmt"
	"iter"
	"net/netip"
)

// Prefix is a CIDR with no host bits set, IPv4 or IPv6, never IPv4-mapped, never zoned.
type Prefix = netip.Prefix

// Prefixes is an immutable set of addresses, seen as its minimal list of prefixes: merged,
// disjoint, ordered by address with IPv4 before IPv6. The zero value is the empty set.
//
// It is held as ranges that neither overlap nor touch: a million prefixes take 8 MB of IPv4 at
// most, and 32 MB of IPv6. Union, Minus and Intersect walk over both sets once; prefixes are worked
// out as they are asked for. Sets may share memory with those that they were made from.
type Prefixes struct {
	v4 []Range[Address4]
	v6 []Range[Address6]
	// n4 and n6 are the numbers of prefixes.
	n4, n6 int
}

// NewPrefixes merges prefixes, in any order and overlapping as they like, into their minimal set.
// It refuses invalid and IPv4-mapped prefixes; host bits are cleared.
func NewPrefixes(prefixes ...Prefix) (Prefixes, error) {
	var b PrefixesBuilder
	b.grow(prefixes)
	for _, p := range prefixes {
		if err := b.Add(p); err != nil {
			return Prefixes{}, err
		}
	}
	return b.Set(), nil
}

// MustPrefixes reads CIDRs and panics on a bad one: for tests and constants.
func MustPrefixes(cidrs ...string) Prefixes {
	list := make([]Prefix, len(cidrs))
	for i, c := range cidrs {
		list[i] = netip.MustParsePrefix(c)
	}
	p, err := NewPrefixes(list...)
	if err != nil {
		panic(err)
	}
	return p
}

// prefixesOf takes over canonical lists.
func prefixesOf(v4 []Range[Address4], v6 []Range[Address6]) Prefixes {
	return Prefixes{v4, v6, countPrefixes(v4), countPrefixes(v6)}
}

// All yields the prefixes in order.
func (p Prefixes) All() iter.Seq[Prefix] {
	return func(yield func(Prefix) bool) {
		_ = eachPrefix(p.v4, yield) && eachPrefix(p.v6, yield)
	}
}

// Family yields the prefixes of one family, in order.
func (p Prefixes) Family(f Family) iter.Seq[Prefix] {
	return func(yield func(Prefix) bool) {
		if f == IPv4 {
			eachPrefix(p.v4, yield)
		} else {
			eachPrefix(p.v6, yield)
		}
	}
}

// Ranges yields the addresses of one family as the fewest ranges, in order: the first and the last
// address of each.
func (p Prefixes) Ranges(f Family) iter.Seq2[netip.Addr, netip.Addr] {
	return func(yield func(first, last netip.Addr) bool) {
		if f == IPv4 {
			eachRange(p.v4, yield)
		} else {
			eachRange(p.v6, yield)
		}
	}
}

func eachRange[A number[A]](list []Range[A], yield func(first, last netip.Addr) bool) {
	for _, r := range list {
		if !yield(r.First.IP(), r.Last.IP()) {
			return
		}
	}
}

// Ranges4 lends the IPv4 ranges as they are held: ascending, never touching. They must not be
// changed.
func (p Prefixes) Ranges4() []Range[Address4] { return p.v4[:len(p.v4):len(p.v4)] }

// Ranges6 lends the IPv6 ranges likewise.
func (p Prefixes) Ranges6() []Range[Address6] { return p.v6[:len(p.v6):len(p.v6)] }

// IsZero reports whether the set is empty; encoding/json asks it.
func (p Prefixes) IsZero() bool { return len(p.v4)+len(p.v6) == 0 }

// Len is the number of prefixes.
func (p Prefixes) Len() int { return p.n4 + p.n6 }

// FamilyLen is the number of prefixes of one family.
func (p Prefixes) FamilyLen(f Family) int {
	if f == IPv4 {
		return p.n4
	}
	return p.n6
}

// Has reports whether the set holds any address of the family.
func (p Prefixes) Has(f Family) bool {
	if f == IPv4 {
		return len(p.v4) > 0
	}
	return len(p.v6) > 0
}

// Contains reports whether the address is in the set. An IPv4-mapped IPv6 address counts as IPv4.
func (p Prefixes) Contains(a netip.Addr) bool {
	a = a.Unmap()
	switch {
	case a.Is4():
		return contains(p.v4, Address4Of(a))
	case a.Is6():
		return contains(p.v6, Address6Of(a))
	}
	return false
}

// Overlaps reports whether the set holds any address of a prefix.
func (p Prefixes) Overlaps(x Prefix) bool {
	var b PrefixesBuilder
	if b.Add(x) != nil {
		return false
	}
	if x.Addr().Is4() {
		return overlaps(p.v4, b.v4.list[0])
	}
	return overlaps(p.v6, b.v6.list[0])
}

// Equal reports whether both sets hold the same addresses.
func (p Prefixes) Equal(o Prefixes) bool {
	return p.n4 == o.n4 && p.n6 == o.n6 && equal(p.v4, o.v4) && equal(p.v6, o.v6)
}

// Union is every address in either set.
func (p Prefixes) Union(o Prefixes) Prefixes {
	return prefixesOf(union(p.v4, o.v4), union(p.v6, o.v6))
}

// Minus is every address in p that is not in o.
func (p Prefixes) Minus(o Prefixes) Prefixes {
	return prefixesOf(minus(p.v4, o.v4), minus(p.v6, o.v6))
}

// Intersect is every address in both sets.
func (p Prefixes) Intersect(o Prefixes) Prefixes {
	return prefixesOf(intersect(p.v4, o.v4), intersect(p.v6, o.v6))
}

// Strings lists the prefixes in order, in CIDR notation.
func (p Prefixes) Strings() []string { return p.FirstStrings(p.Len()) }

// FirstStrings is the beginning of Strings, n prefixes at most.
func (p Prefixes) FirstStrings(n int) []string {
	n = min(n, p.Len())
	out := make([]string, 0, n)
	for x := range p.All() {
		if len(out) == n {
			break
		}
		out = append(out, x.String())
	}
	return out
}

// String is for people who debug: the prefixes in order.
func (p Prefixes) String() string { return fmt.Sprint(p.Strings()) }

func (p Prefixes) MarshalJSON() ([]byte, error) {
	// Written straight into one buffer: a million prefixes need no million strings.
	out := append(make([]byte, 0, 2+20*p.Len()), '[')
	for x := range p.All() {
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(x.AppendTo(append(out, '"')), '"')
	}
	return append(out, ']'), nil
}

func (p *Prefixes) UnmarshalJSON(b []byte) error {
	var list []Prefix
	if err := json.Unmarshal(b, &list); err != nil {
		return err
	}
	q, err := NewPrefixes(list...)
	*p = q
	return err
}
