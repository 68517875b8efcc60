package firewall

import (
	"encoding/json"
	"fmt"
	"iter"
	"net/netip"
	"slices"

	"go4.org/netipx"
)

// Prefix is a CIDR with no host bits set, IPv4 or IPv6, never IPv4-mapped, never zoned.
type Prefix = netip.Prefix

// Prefixes is an immutable set of addresses, held as its minimal list of prefixes: merged,
// disjoint, ordered by address with IPv4 before IPv6. The zero value is the empty set.
//
// How the set is stored is nobody's business but this file's; use All, Len and Contains.
type Prefixes struct {
	list []Prefix
}

// NewPrefixes merges prefixes, in any order and overlapping as they like, into their minimal set.
// It refuses invalid and IPv4-mapped prefixes; host bits are cleared.
func NewPrefixes(prefixes ...Prefix) (Prefixes, error) {
	var b netipx.IPSetBuilder
	for _, p := range prefixes {
		if !p.IsValid() || p.Addr().Is4In6() {
			return Prefixes{}, fmt.Errorf("%v is not a usable IPv4 or IPv6 prefix", p)
		}
		b.AddPrefix(p.Masked())
	}
	return fromBuilder(&b)
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

func fromBuilder(b *netipx.IPSetBuilder) (Prefixes, error) {
	set, err := b.IPSet()
	if err != nil {
		return Prefixes{}, err
	}
	return Prefixes{list: set.Prefixes()}, nil
}

// All yields the prefixes in order.
func (p Prefixes) All() iter.Seq[Prefix] { return slices.Values(p.list) }

// Family yields the prefixes of one family, in order.
func (p Prefixes) Family(f Family) iter.Seq[Prefix] {
	return func(yield func(Prefix) bool) {
		for _, x := range p.list {
			if x.Addr().Is4() == (f == IPv4) && !yield(x) {
				return
			}
		}
	}
}

// Len is the number of prefixes.
func (p Prefixes) Len() int { return len(p.list) }

// Has reports whether the set holds any address of the family.
func (p Prefixes) Has(f Family) bool {
	for range p.Family(f) {
		return true
	}
	return false
}

// Contains reports whether the address is in the set. An IPv4-mapped IPv6 address counts as IPv4.
func (p Prefixes) Contains(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	// The last prefix that starts at or before a is the only one that can hold it.
	i, found := slices.BinarySearchFunc(p.list, a, func(x Prefix, a netip.Addr) int { return x.Addr().Compare(a) })
	if found {
		return true
	}
	return i > 0 && p.list[i-1].Contains(a)
}

// Equal reports whether both sets hold the same addresses.
func (p Prefixes) Equal(o Prefixes) bool { return slices.Equal(p.list, o.list) }

// Union is every address in either set.
func (p Prefixes) Union(o Prefixes) Prefixes {
	return p.combine(o, (*netipx.IPSetBuilder).AddSet)
}

// Minus is every address in p that is not in o.
func (p Prefixes) Minus(o Prefixes) Prefixes {
	return p.combine(o, (*netipx.IPSetBuilder).RemoveSet)
}

// Intersect is every address in both sets.
func (p Prefixes) Intersect(o Prefixes) Prefixes {
	return p.combine(o, (*netipx.IPSetBuilder).Intersect)
}

func (p Prefixes) combine(o Prefixes, op func(*netipx.IPSetBuilder, *netipx.IPSet)) Prefixes {
	var b netipx.IPSetBuilder
	for _, x := range p.list {
		b.AddPrefix(x)
	}
	op(&b, o.ipset())
	r, err := fromBuilder(&b)
	if err != nil { // only reachable with prefixes that NewPrefixes refuses
		panic(fmt.Sprintf("firewall: combining prefixes: %v", err))
	}
	return r
}

func (p Prefixes) ipset() *netipx.IPSet {
	var b netipx.IPSetBuilder
	for _, x := range p.list {
		b.AddPrefix(x)
	}
	set, err := b.IPSet()
	if err != nil {
		panic(fmt.Sprintf("firewall: prefixes as a set: %v", err))
	}
	return set
}

// Strings lists the prefixes in order, in CIDR notation.
func (p Prefixes) Strings() []string {
	out := make([]string, len(p.list))
	for i, x := range p.list {
		out[i] = x.String()
	}
	return out
}

func (p Prefixes) MarshalJSON() ([]byte, error) { return json.Marshal(p.Strings()) }

func (p *Prefixes) UnmarshalJSON(b []byte) error {
	var list []Prefix
	if err := json.Unmarshal(b, &list); err != nil {
		return err
	}
	q, err := NewPrefixes(list...)
	*p = q
	return err
}
