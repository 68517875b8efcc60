package address

import (
	"net/netip"
	"sort"
)

// Short is the set as people write it: some prefixes without some others, wherever that takes fewer
// than the minimal list. The addresses of in that are not in out are those of the set: everything
// but one host is one prefix without another, and 32 or 128 prefixes in a list.
func (s Set) Short() (in, out Set) {
	var with, without Builder
	for _, f := range Families {
		node := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		if f == IPv6 {
			node = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
		var list []netip.Prefix
		for p := range s.Family(f) {
			list = append(list, p)
		}
		found := shorten(node, list, len(list))
		for _, p := range found.in {
			_ = with.Add(p) // prefixes of a set always make a set
		}
		for _, p := range found.out {
			_ = without.Add(p)
		}
	}
	return with.Set(), without.Set()
}

// short is what a part of a set comes to: in without out. missing is what the set lacks there,
// unless that is too much ever to be of use.
type short struct {
	in, out, missing []netip.Prefix
	lacksMuch        bool
}

// shorten writes the part of a set that lies in node, whose prefixes there are list, sorted and
// minimal. most is how many prefixes the whole set has: without as many others, nothing gets
// shorter.
func shorten(node netip.Prefix, list []netip.Prefix, most int) short {
	switch {
	case len(list) == 0:
		return short{missing: []netip.Prefix{node}}
	case list[0] == node:
		return short{in: list}
	}
	left, right := Halves(node)
	n := sort.Search(len(list), func(i int) bool { return right.Contains(list[i].Addr()) })
	l, r := shorten(left, list[:n], most), shorten(right, list[n:], most)
	s := short{in: join(l.in, r.in), out: join(l.out, r.out)}
	if s.lacksMuch = l.lacksMuch || r.lacksMuch || len(l.missing)+len(r.missing) >= most; s.lacksMuch {
		return s
	}
	s.missing = join(l.missing, r.missing)
	if 1+len(s.missing) < len(s.in)+len(s.out) {
		s.in, s.out = []netip.Prefix{node}, s.missing
	}
	return s
}

// join is append that leaves its arguments alone, and copies nothing where one is empty.
func join(a, b []netip.Prefix) []netip.Prefix {
	switch {
	case len(a) == 0:
		return b
	case len(b) == 0:
		return a
	}
	return append(append(make([]netip.Prefix, 0, len(a)+len(b)), a...), b...)
}

// Halves are the two prefixes that make up one, which is not a single address.
func Halves(p netip.Prefix) (left, right netip.Prefix) {
	bits := p.Bits()
	b := p.Addr().AsSlice()
	b[bits/8] |= 0x80 >> (bits % 8)
	upper, _ := netip.AddrFromSlice(b)
	return netip.PrefixFrom(p.Addr(), bits+1), netip.PrefixFrom(upper, bits+1)
}
