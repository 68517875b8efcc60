package address

import (
	"encoding/json"
	"fmt"
	"iter"
	"net/netip"
)

// Set is an immutable set of addresses, seen as its minimal list of prefixes: merged, disjoint,
// ordered by address with IPv4 before IPv6. The zero value is the empty set. Sets may share memory
// with those that they were made from.
type Set struct {
	v4 Ranges[V4]
	v6 Ranges[V6]
	// n4 and n6 are the numbers of prefixes.
	n4, n6 int
}

// New merges prefixes, in any order and overlapping as they like, into their minimal set. It
// refuses invalid and IPv4-mapped prefixes; host bits are cleared.
func New(prefixes ...netip.Prefix) (Set, error) {
	var b Builder
	n4 := 0
	for _, p := range prefixes {
		if p.Addr().Is4() {
			n4++
		}
	}
	b.Expect(n4, len(prefixes)-n4)
	for _, p := range prefixes {
		if err := b.Add(p); err != nil {
			return Set{}, err
		}
	}
	return b.Set(), nil
}

// Must reads CIDRs and panics on a bad one: for tests and constants.
func Must(cidrs ...string) Set {
	list := make([]netip.Prefix, len(cidrs))
	for i, c := range cidrs {
		list[i] = netip.MustParsePrefix(c)
	}
	s, err := New(list...)
	if err != nil {
		panic(err)
	}
	return s
}

// SetOf is the set of some addresses of each family.
func SetOf(v4 Ranges[V4], v6 Ranges[V6]) Set {
	return Set{v4, v6, v4.PrefixCount(), v6.PrefixCount()}
}

// derived is a set that was made from s: what is the same as before need not be counted again.
func (s Set) derived(v4 Ranges[V4], v6 Ranges[V6]) Set {
	out := Set{v4, v6, s.n4, s.n6}
	if !Same(v4, s.v4) {
		out.n4 = v4.PrefixCount()
	}
	if !Same(v6, s.v6) {
		out.n6 = v6.PrefixCount()
	}
	return out
}

// All yields the prefixes in order.
func (s Set) All() iter.Seq[netip.Prefix] {
	return func(yield func(netip.Prefix) bool) {
		_ = s.v4.cidrs(yield) && s.v6.cidrs(yield)
	}
}

// Family yields the prefixes of one family, in order.
func (s Set) Family(f Family) iter.Seq[netip.Prefix] {
	return func(yield func(netip.Prefix) bool) {
		if f == IPv4 {
			s.v4.cidrs(yield)
		} else {
			s.v6.cidrs(yield)
		}
	}
}

// Ranges yields the addresses of one family as the fewest ranges, in order: the first and the last
// address of each.
func (s Set) Ranges(f Family) iter.Seq2[netip.Addr, netip.Addr] {
	if f == IPv4 {
		return s.v4.addresses()
	}
	return s.v6.addresses()
}

// V4 is the IPv4 part of the set. It must not be changed.
func (s Set) V4() Ranges[V4] { return s.v4[:len(s.v4):len(s.v4)] }

// V6 is the IPv6 part of the set. It must not be changed.
func (s Set) V6() Ranges[V6] { return s.v6[:len(s.v6):len(s.v6)] }

// Of is the part of the set that is of one family.
func (s Set) Of(f Family) Set {
	if f == IPv4 {
		return Set{v4: s.v4, n4: s.n4}
	}
	return Set{v6: s.v6, n6: s.n6}
}

// IsZero reports whether the set is empty; encoding/json asks it.
func (s Set) IsZero() bool { return len(s.v4)+len(s.v6) == 0 }

// Len is the number of prefixes.
func (s Set) Len() int { return s.n4 + s.n6 }

// FamilyLen is the number of prefixes of one family.
func (s Set) FamilyLen(f Family) int {
	if f == IPv4 {
		return s.n4
	}
	return s.n6
}

// Has reports whether the set holds any address of the family.
func (s Set) Has(f Family) bool {
	if f == IPv4 {
		return len(s.v4) > 0
	}
	return len(s.v6) > 0
}

// Contains reports whether the address is in the set. An IPv4-mapped IPv6 address counts as IPv4.
func (s Set) Contains(a netip.Addr) bool {
	a = a.Unmap()
	switch {
	case a.Is4():
		return s.v4.Contains(V4Of(a))
	case a.Is6():
		return s.v6.Contains(V6Of(a))
	}
	return false
}

// usable reports whether a prefix can be part of a set.
func usable(p netip.Prefix) bool { return p.IsValid() && !p.Addr().Is4In6() }

// range4 is the range of an IPv4 prefix.
func range4(p netip.Prefix) Range[V4] { return PrefixRange(V4Of(p.Addr()), p.Bits()) }

// range6 is the range of an IPv6 prefix.
func range6(p netip.Prefix) Range[V6] { return PrefixRange(V6Of(p.Addr()), p.Bits()) }

// Overlaps reports whether the set holds any address of a prefix.
func (s Set) Overlaps(p netip.Prefix) bool {
	switch {
	case !usable(p):
		return false
	case p.Addr().Is4():
		return s.v4.Overlaps(range4(p))
	}
	return s.v6.Overlaps(range6(p))
}

// Covers reports whether every address of a prefix is in the set.
func (s Set) Covers(p netip.Prefix) bool {
	switch {
	case !usable(p):
		return false
	case p.Addr().Is4():
		return s.v4.Covers(range4(p))
	}
	return s.v6.Covers(range6(p))
}

// Within is the part of the set that lies in a prefix. However large the set is, it is found by
// bisection, and copied only where a range has to be cut.
func (s Set) Within(p netip.Prefix) Set {
	switch {
	case !usable(p):
		return Set{}
	case p.Addr().Is4():
		return s.derived(s.v4.Within(range4(p)), nil)
	}
	return s.derived(nil, s.v6.Within(range6(p)))
}

// Without is a prefix without the addresses of a set, however large that is.
func Without(p netip.Prefix, s Set) Set {
	whole, err := New(p)
	if err != nil {
		return Set{}
	}
	return whole.Minus(s.Within(p))
}

// Disjoint reports whether two sets have no address in common.
func (s Set) Disjoint(o Set) bool { return s.v4.Disjoint(o.v4) && s.v6.Disjoint(o.v6) }

// Equal reports whether both sets hold the same addresses.
func (s Set) Equal(o Set) bool {
	return s.n4 == o.n4 && s.n6 == o.n6 && s.v4.Equal(o.v4) && s.v6.Equal(o.v6)
}

// Union is every address in either set.
func (s Set) Union(o Set) Set {
	v4, v6 := s.v4.Union(o.v4), s.v6.Union(o.v6)
	if Same(v4, o.v4) && Same(v6, o.v6) {
		return o
	}
	return s.derived(v4, v6)
}

// Union is every address in any of the sets.
func Union(sets ...Set) Set {
	v4, v6 := make([]Ranges[V4], len(sets)), make([]Ranges[V6], len(sets))
	for i, s := range sets {
		v4[i], v6[i] = s.v4, s.v6
	}
	all4, all6 := UnionAll(v4), UnionAll(v6)
	for _, s := range sets {
		if Same(all4, s.v4) && Same(all6, s.v6) {
			return s
		}
	}
	return SetOf(all4, all6)
}

// Minus is every address in s that is not in o.
func (s Set) Minus(o Set) Set { return s.derived(s.v4.Minus(o.v4), s.v6.Minus(o.v6)) }

// Intersect is every address in both sets.
func (s Set) Intersect(o Set) Set {
	v4, v6 := s.v4.Intersect(o.v4), s.v6.Intersect(o.v6)
	if Same(v4, o.v4) && Same(v6, o.v6) {
		return o
	}
	return s.derived(v4, v6)
}

// Diff is what must be added to have and removed from it to get want.
func Diff(want, have Set) (add, remove Set) { return want.Minus(have), have.Minus(want) }

// DiffRanges is the ranges of each of two sets that the other does not have, as they are: of two
// ranges that differ in one end, both are there as a whole.
func DiffRanges(a, b Set) (onlyA, onlyB Set) {
	a4, b4 := diffByFirst(a.v4, b.v4)
	a6, b6 := diffByFirst(a.v6, b.v6)
	return SetOf(a4, a6), SetOf(b4, b6)
}

func diffByFirst[N Number[N]](a, b Ranges[N]) (onlyA, onlyB Ranges[N]) {
	for len(a) > 0 && len(b) > 0 {
		if n := common(a, b); n > 0 {
			a, b = a[n:], b[n:]
			continue
		}
		x, y := a[0], b[0]
		if !less(y.First, x.First) {
			onlyA, a = append(onlyA, x), a[1:]
		}
		if !less(x.First, y.First) {
			onlyB, b = append(onlyB, y), b[1:]
		}
	}
	return append(onlyA, a...), append(onlyB, b...)
}

// Identity tells whether two sets are one and the same in memory, as those made of one network are:
// then they need not be compared, or kept twice. Sets of different identity may be equal.
type Identity struct {
	v4     *Range[V4]
	v6     *Range[V6]
	n4, n6 int
}

// Identity is that of the set. To keep it is to keep the set's memory.
func (s Set) Identity() (id Identity) {
	if id.n4 = len(s.v4); id.n4 > 0 {
		id.v4 = &s.v4[0]
	}
	if id.n6 = len(s.v6); id.n6 > 0 {
		id.v6 = &s.v6[0]
	}
	return id
}

// Outline is what equal sets have in common, and different ones hardly ever: how many ranges they
// have, and the first and the last of them.
type Outline struct {
	n4, n6 int
	ends4  [2]Range[V4]
	ends6  [2]Range[V6]
}

// Outline is that of the set.
func (s Set) Outline() Outline {
	o := Outline{n4: len(s.v4), n6: len(s.v6)}
	if o.n4 > 0 {
		o.ends4 = [2]Range[V4]{s.v4[0], s.v4[o.n4-1]}
	}
	if o.n6 > 0 {
		o.ends6 = [2]Range[V6]{s.v6[0], s.v6[o.n6-1]}
	}
	return o
}

// Strings lists the prefixes in order, in CIDR notation.
func (s Set) Strings() []string { return s.FirstStrings(s.Len()) }

// FirstStrings is the beginning of Strings, n prefixes at most.
func (s Set) FirstStrings(n int) []string {
	n = min(n, s.Len())
	out := make([]string, 0, n)
	for p := range s.All() {
		if len(out) == n {
			break
		}
		out = append(out, p.String())
	}
	return out
}

// String is for people who debug: the prefixes in order.
func (s Set) String() string { return fmt.Sprint(s.Strings()) }

// MarshalJSON writes the list of prefixes.
func (s Set) MarshalJSON() ([]byte, error) {
	// Written straight into one buffer: a million prefixes need no million strings.
	out := append(make([]byte, 0, 2+20*s.Len()), '[')
	for p := range s.All() {
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(p.AppendTo(append(out, '"')), '"')
	}
	return append(out, ']'), nil
}

// UnmarshalJSON reads a list of prefixes in any order.
func (s *Set) UnmarshalJSON(b []byte) error {
	var list []netip.Prefix
	if err := json.Unmarshal(b, &list); err != nil {
		return err
	}
	out, err := New(list...)
	*s = out
	return err
}
