package firewall

import (
	"fmt"
	"net/netip"
	"slices"
)

// PrefixesBuilder makes a Prefixes from pieces that come one after the other. Pieces that come in ascending order are
// merged as they come and cost no sorting; others are sorted once, in Set. The zero value is an empty builder.
type PrefixesBuilder struct {
	v4 pieces[Address4]
	v6 pieces[Address6]
}

// pieces is a list that is canonical unless unsorted.
type pieces[A number[A]] struct {
	list     []Range[A]
	unsorted bool
}

func (s *pieces[A]) add(r Range[A]) {
	if n := len(s.list) - 1; n >= 0 && !s.unsorted {
		if s.list[n].First.Compare(r.First) <= 0 {
			s.list = push(s.list, r)
			return
		}
		s.unsorted = true
	}
	s.list = append(s.list, r)
}

func (s *pieces[A]) set() []Range[A] {
	if s.unsorted {
		return merged(s.list)
	}
	return trimmed(s.list)
}

// Expect makes room for a list of so many ranges of each family, as far as it is known how many will come.
func (b *PrefixesBuilder) Expect(n4, n6 int) {
	b.v4.list = slices.Grow(b.v4.list, max(0, n4-len(b.v4.list)))
	b.v6.list = slices.Grow(b.v6.list, max(0, n6-len(b.v6.list)))
}

// Len is how many ranges there are of each family until now.
func (b *PrefixesBuilder) Len() (n4, n6 int) { return len(b.v4.list), len(b.v6.list) }

// grow makes room for a list that is about to be added.
func (b *PrefixesBuilder) grow(list []Prefix) {
	n4 := 0
	for _, p := range list {
		if p.Addr().Is4() {
			n4++
		}
	}
	b.v4.list = slices.Grow(b.v4.list, n4)
	b.v6.list = slices.Grow(b.v6.list, len(list)-n4)
}

// Add adds a prefix. It refuses invalid and IPv4-mapped ones; host bits are cleared.
func (b *PrefixesBuilder) Add(p Prefix) error {
	a := p.Addr()
	switch {
	case !p.IsValid() || a.Is4In6():
		return fmt.Errorf("%v is not a usable IPv4 or IPv6 prefix", p)
	case a.Is4():
		host := Address4(uint64(1)<<(32-p.Bits()) - 1)
		first := Address4Of(a) &^ host
		b.v4.add(Range[Address4]{first, first | host})
	default:
		var host Address6
		if n := 128 - p.Bits(); n >= 64 {
			host = Address6{uint64(1)<<(n-64) - 1, ^uint64(0)} // a shift by 64 gives 0, and −1 all ones
		} else {
			host = Address6{0, uint64(1)<<n - 1}
		}
		first := Address6Of(a)
		first.Hi, first.Lo = first.Hi&^host.Hi, first.Lo&^host.Lo
		b.v6.add(Range[Address6]{first, Address6{first.Hi | host.Hi, first.Lo | host.Lo}})
	}
	return nil
}

// AddRange adds every address from first to last, both included. It refuses what is no range of usable addresses of one family.
func (b *PrefixesBuilder) AddRange(first, last netip.Addr) error {
	if !first.IsValid() || first.BitLen() != last.BitLen() || last.Less(first) || first.Is4In6() || last.Is4In6() || first.Zone() != "" || last.Zone() != "" {
		return fmt.Errorf("%v-%v is not a usable range of IPv4 or IPv6 addresses", first, last)
	}
	if first.Is4() {
		b.AddRange4(Range[Address4]{Address4Of(first), Address4Of(last)})
	} else {
		b.AddRange6(Range[Address6]{Address6Of(first), Address6Of(last)})
	}
	return nil
}

// AddRange4 adds a range whose First is no greater than its Last.
func (b *PrefixesBuilder) AddRange4(r Range[Address4]) { b.v4.add(r) }

// AddRange6 adds a range whose First is no greater than its Last.
func (b *PrefixesBuilder) AddRange6(r Range[Address6]) { b.v6.add(r) }

// AddSet adds every address of a set.
func (b *PrefixesBuilder) AddSet(p Prefixes) {
	for _, r := range p.v4 {
		b.v4.add(r)
	}
	for _, r := range p.v6 {
		b.v6.add(r)
	}
}

// Set is all that was added, and leaves the builder empty.
func (b *PrefixesBuilder) Set() Prefixes {
	p := prefixesOf(b.v4.set(), b.v6.set())
	*b = PrefixesBuilder{}
	return p
}
