package firewall

import (
	"net/netip"
	"sort"
)

// Within is the part of the set that lies in a prefix. However large the set is, it is found by bisection, and no more is copied than the ranges at
// the prefix's two ends.
func (p Prefixes) Within(x Prefix) Prefixes {
	a := x.Addr()
	switch {
	case !x.IsValid() || a.Is4In6():
		return Prefixes{}
	case a.Is4():
		first, last := ends4(x)
		return prefixesOf(within(p.v4, first, last), nil)
	}
	first, last := ends6(x)
	return prefixesOf(nil, within(p.v6, first, last))
}

// Without is a prefix without the addresses of a set, however large that is.
func Without(x Prefix, o Prefixes) Prefixes {
	var b PrefixesBuilder
	if b.Add(x) != nil {
		return Prefixes{}
	}
	return b.Set().Minus(o.Within(x))
}

// Covers reports whether every address of a prefix is in the set.
func (p Prefixes) Covers(x Prefix) bool {
	a := x.Addr()
	switch {
	case !x.IsValid() || a.Is4In6():
		return false
	case a.Is4():
		return covers(p.v4, x, ends4)
	}
	return covers(p.v6, x, ends6)
}

// covers: ranges of a set never touch, so it is one of them that has all of the prefix, or none.
func covers[A number[A]](list []Range[A], x Prefix, ends func(Prefix) (A, A)) bool {
	first, last := ends(x)
	found := overlapping(list, first, last)
	return len(found) == 1 && found[0].First.Compare(first) <= 0 && found[0].Last.Compare(last) >= 0
}

// ends4 and ends6 are a prefix's first and last address.
func ends4(x netip.Prefix) (first, last Address4) {
	host := Address4(uint64(1)<<(32-x.Bits()) - 1)
	first = Address4Of(x.Addr()) &^ host
	return first, first | host
}

func ends6(x netip.Prefix) (first, last Address6) {
	var host Address6
	if host.Lo = uint64(1)<<(128-x.Bits()) - 1; x.Bits() < 64 { // a shift by 64 or more gives 0
		host = Address6{uint64(1)<<(64-x.Bits()) - 1, ^uint64(0)}
	}
	a := Address6Of(x.Addr())
	first = Address6{a.Hi &^ host.Hi, a.Lo &^ host.Lo}
	return first, Address6{first.Hi | host.Hi, first.Lo | host.Lo}
}

// overlapping is the part of a list whose ranges have an address from first to last.
func overlapping[A number[A]](list []Range[A], first, last A) []Range[A] {
	from := sort.Search(len(list), func(i int) bool { return list[i].Last.Compare(first) >= 0 })
	to := from + sort.Search(len(list)-from, func(i int) bool { return list[from+i].First.Compare(last) > 0 })
	return list[from:to:to]
}

// within is a list cut at both ends.
func within[A number[A]](list []Range[A], first, last A) []Range[A] {
	found := overlapping(list, first, last)
	n := len(found)
	if n == 0 {
		return nil
	}
	if found[0].First.Compare(first) >= 0 && found[n-1].Last.Compare(last) <= 0 {
		return found
	}
	cut := append([]Range[A]{}, found...)
	if cut[0].First.Compare(first) < 0 {
		cut[0].First = first
	}
	if cut[n-1].Last.Compare(last) > 0 {
		cut[n-1].Last = last
	}
	return cut
}

// Disjoint reports whether two sets have no address in common. It bisects the larger one for each range of the smaller.
func (p Prefixes) Disjoint(o Prefixes) bool { return disjoint(p.v4, o.v4) && disjoint(p.v6, o.v6) }

func disjoint[A number[A]](a, b []Range[A]) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	for _, r := range a {
		if len(overlapping(b, r.First, r.Last)) > 0 {
			return false
		}
	}
	return true
}

// SetIdentity tells whether two sets are one and the same in memory, as those made of one network are: then they need not be compared, or
// kept twice. Sets of different identity may be equal.
type SetIdentity struct {
	v4     *Range[Address4]
	v6     *Range[Address6]
	n4, n6 int
}

// Identity is that of the set. Whoever keeps it keeps the set's memory.
func (p Prefixes) Identity() (id SetIdentity) {
	if id.n4 = len(p.v4); id.n4 > 0 {
		id.v4 = &p.v4[0]
	}
	if id.n6 = len(p.v6); id.n6 > 0 {
		id.v6 = &p.v6[0]
	}
	return id
}
