package exposure

import (
	"net/netip"
	"slices"
	"sort"

	"github.com/portgrave/portgrave/firewall"
	"go4.org/netipx"
)

// Ranges is an immutable set of values of one width, held as ordered ranges that neither overlap
// nor touch: each set has one form, so Equal is exact. The zero value is the empty set.
//
// The evaluator's set of sources is one: addresses of the question's family. Combining two sets
// takes one pass over both, and over the part that the smaller one spans where one is much smaller.
type Ranges struct{ list []Range }

// NewRanges merges ranges in any order, overlapping as they like.
func NewRanges(list ...Range) Ranges {
	byFrom := func(a, b Range) int { return a.From.Compare(b.From) }
	if !slices.IsSortedFunc(list, byFrom) {
		list = slices.Clone(list)
		slices.SortFunc(list, byFrom)
	}
	out := make([]Range, 0, len(list))
	for _, r := range list {
		out = appendMerged(out, r)
	}
	return Ranges{out}
}

// appendMerged adds a range that begins no earlier than the last one.
func appendMerged(out []Range, r Range) []Range {
	if n := len(out); n > 0 {
		last := &out[n-1]
		if after, ok := last.To.next(); !ok || r.From.Compare(after) <= 0 {
			if last.To.Compare(r.To) < 0 {
				last.To = r.To
			}
			return out
		}
	}
	return append(out, r)
}

// AllSources is every address of a family.
func AllSources(f firewall.Family) Ranges {
	if f == firewall.IPv6 {
		return Ranges{[]Range{Full(128)}}
	}
	return Ranges{[]Range{Full(32)}}
}

// List is the ranges in order. Not to be modified.
func (s Ranges) List() []Range { return s.list }

// Empty reports whether nothing is in the set.
func (s Ranges) Empty() bool { return len(s.list) == 0 }

// Equal reports whether both hold the same values.
func (s Ranges) Equal(o Ranges) bool { return s.same(o) || slices.Equal(s.list, o.list) }

// same reports whether both are one list, without a look at it.
func (s Ranges) same(o Ranges) bool {
	return len(s.list) == len(o.list) && (len(s.list) == 0 || &s.list[0] == &o.list[0])
}

// covers reports whether the set is one range and holds all of another.
func (s Ranges) covers(o Ranges) bool {
	return len(s.list) == 1 && len(o.list) > 0 &&
		s.list[0].Contains(o.list[0].From) && s.list[0].Contains(o.list[len(o.list)-1].To)
}

// disjoint reports whether nothing of the set is in ordered ranges. It takes no memory: sets of a
// million ranges are often compared with the rest of all addresses.
func (s Ranges) disjoint(b []Range) bool {
	for _, r := range s.list {
		for len(b) > 0 && b[0].To.Compare(r.From) < 0 {
			b = b[1:]
		}
		if len(b) == 0 {
			return true
		}
		if b[0].From.Compare(r.To) <= 0 {
			return false
		}
	}
	return true
}

// Touches reports whether a range overlaps with the set or lies right beside a part of it.
func (s Ranges) Touches(r Range) bool {
	from, to := r.From, r.To
	if before, ok := from.prev(); ok {
		from = before
	}
	if after, ok := to.next(); ok {
		to = after
	}
	i := s.reaching(from)
	return i < len(s.list) && s.list[i].From.Compare(to) <= 0
}

// Contains reports whether a value is in the set.
func (s Ranges) Contains(v Value) bool {
	i := s.reaching(v)
	return i < len(s.list) && s.list[i].Contains(v)
}

// reaching is the index of the first range that ends at v or later.
func (s Ranges) reaching(v Value) int {
	return sort.Search(len(s.list), func(i int) bool { return s.list[i].To.Compare(v) >= 0 })
}

// Union is every value in either set.
func (s Ranges) Union(o Ranges) Ranges {
	if s.Empty() {
		return o
	}
	if o.Empty() || s.same(o) || s.covers(o) {
		return s
	}
	if o.covers(s) {
		return o
	}
	out := make([]Range, 0, len(s.list)+len(o.list))
	a, b := s.list, o.list
	for len(a) > 0 || len(b) > 0 {
		if len(b) == 0 || len(a) > 0 && a[0].From.Compare(b[0].From) <= 0 {
			out, a = appendMerged(out, a[0]), a[1:]
		} else {
			out, b = appendMerged(out, b[0]), b[1:]
		}
	}
	return Ranges{out}
}

// unionOf is every value in any of the sets. Each is gone through as often as their number can be
// halved.
func unionOf(sets []Ranges) Ranges {
	switch len(sets) {
	case 0:
		return Ranges{}
	case 1:
		return sets[0]
	}
	half := len(sets) / 2
	return unionOf(sets[:half]).Union(unionOf(sets[half:]))
}

// Intersect is every value in both sets.
func (s Ranges) Intersect(o Ranges) Ranges {
	switch {
	case s.Empty() || o.Empty():
		return Ranges{}
	case s.same(o) || o.covers(s):
		return s
	case s.covers(o):
		return o
	}
	a, b := s.list[s.reaching(o.list[0].From):], o.list[o.reaching(s.list[0].From):]
	var out []Range
	for len(a) > 0 && len(b) > 0 {
		r := Range{later(a[0].From, b[0].From), earlier(a[0].To, b[0].To)}
		if r.From.Compare(r.To) <= 0 {
			out = append(out, r)
		}
		if a[0].To.Compare(b[0].To) < 0 {
			a = a[1:]
		} else {
			b = b[1:]
		}
	}
	return Ranges{out}
}

// Minus is every value in s that is not in o.
func (s Ranges) Minus(o Ranges) Ranges {
	if s.Empty() || o.Empty() {
		return s
	}
	b := o.list[o.reaching(s.list[0].From):]
	if s.disjoint(b) {
		return s
	}
	out := make([]Range, 0, len(s.list)+len(b))
	for _, r := range s.list {
		gone := false
		for len(b) > 0 && b[0].From.Compare(r.To) <= 0 {
			if before, ok := b[0].From.prev(); ok && r.From.Compare(before) <= 0 {
				out = append(out, Range{r.From, before})
			}
			after, ok := b[0].To.next()
			if !ok || after.Compare(r.To) > 0 {
				gone = true // and what is cut away may reach into the next range too
				break
			}
			if r.From.Compare(after) < 0 {
				r.From = after
			}
			b = b[1:]
		}
		if !gone {
			out = append(out, r)
		}
	}
	return Ranges{out}
}

func later(a, b Value) Value {
	if a.Compare(b) < 0 {
		return b
	}
	return a
}

func earlier(a, b Value) Value {
	if a.Compare(b) < 0 {
		return a
	}
	return b
}

// Prefixes is a set of addresses of one family as minimal prefixes.
func (s Ranges) Prefixes(f firewall.Family) firewall.Prefixes {
	var list []netip.Prefix
	for _, r := range s.list {
		from, to := r.From.IPv4(), r.To.IPv4()
		if f == firewall.IPv6 {
			from, to = r.From.IPv6(), r.To.IPv6()
		}
		list = netipx.IPRangeFrom(from, to).AppendPrefixes(list)
	}
	// IPv4-mapped IPv6 sources never come off a wire (the kernel drops them) and are no prefix that
	// people could use.
	list = slices.DeleteFunc(list, func(p netip.Prefix) bool { return p.Addr().Is4In6() })
	p, err := firewall.NewPrefixes(list...)
	if err != nil { // only reachable with prefixes that can't be made from addresses
		return firewall.Prefixes{}
	}
	return p
}

// SourcesOf is the addresses of one family as a set.
func SourcesOf(p firewall.Prefixes, f firewall.Family) Ranges {
	var list []Range
	for x := range p.Family(f) {
		list = append(list, Prefix(x))
	}
	return NewRanges(list...)
}
