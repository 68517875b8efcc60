package address

import (
	"fmt"
	"net/netip"
	"slices"
)

// Builder makes a Set from pieces that come one after the other, in any order and overlapping as
// they like. The zero value is an empty builder.
type Builder struct {
	v4 RangesBuilder[V4]
	v6 RangesBuilder[V6]
}

// Expect makes room for so many ranges of each family.
func (b *Builder) Expect(n4, n6 int) {
	b.v4.Expect(n4)
	b.v6.Expect(n6)
}

// Len is how many ranges are held of each family: never fewer than the set has in the end.
func (b *Builder) Len() (n4, n6 int) { return b.v4.Len(), b.v6.Len() }

// Add adds a prefix. It refuses invalid and IPv4-mapped ones; host bits are cleared.
func (b *Builder) Add(p netip.Prefix) error {
	switch {
	case !usable(p):
		return fmt.Errorf("%v is not a usable IPv4 or IPv6 prefix", p)
	case p.Addr().Is4():
		b.v4.Add(range4(p))
	default:
		b.v6.Add(range6(p))
	}
	return nil
}

// AddRange adds every address from first to last, both included. It refuses what is no range of
// usable addresses of one family.
func (b *Builder) AddRange(first, last netip.Addr) error {
	if !first.IsValid() || first.BitLen() != last.BitLen() || last.Less(first) ||
		first.Is4In6() || last.Is4In6() || first.Zone() != "" || last.Zone() != "" {
		return fmt.Errorf("%v-%v is not a usable range of IPv4 or IPv6 addresses", first, last)
	}
	if first.Is4() {
		b.v4.Add(Range[V4]{V4Of(first), V4Of(last)})
	} else {
		b.v6.Add(Range[V6]{V6Of(first), V6Of(last)})
	}
	return nil
}

// AddV4 adds a range whose First is no greater than its Last.
func (b *Builder) AddV4(r Range[V4]) { b.v4.Add(r) }

// AddV6 adds a range whose First is no greater than its Last.
func (b *Builder) AddV6(r Range[V6]) { b.v6.Add(r) }

// Set is all that was added, and leaves the builder empty.
func (b *Builder) Set() Set { return SetOf(b.v4.Ranges(), b.v6.Ranges()) }

// RangesBuilder makes Ranges in the same way. Pieces that come in ascending order are merged as
// they come and cost no sorting. Others are sorted in Ranges, or when they have doubled in number
// since they were merged the last time, so that repetitions take no more memory than twice the set.
// After a long ascending beginning, what is out of order is kept aside, so that a list in order
// with some lines behind it is not sorted as a whole. A set that is added first, and alone, is not
// copied.
type RangesBuilder[N Number[N]] struct {
	list     Ranges[N]
	whole    Ranges[N] // a set, instead of a list; nil: none
	unsorted bool
	limit    int               // how many ranges in disorder are merged, if not 0
	late     *RangesBuilder[N] // what is out of order, while the list is in order; nil: nothing
	aside    bool              // it is the late one of another builder
}

// minOrdered is how many ranges in order are a long beginning.
const minOrdered = 1 << 14

// minMerged is how many ranges in disorder are merged at least.
const minMerged = 1 << 16

// Expect makes room for so many ranges.
func (b *RangesBuilder[N]) Expect(n int) {
	b.unshare()
	b.list = slices.Grow(b.list, max(0, n-len(b.list)))
}

// Len is how many ranges are held: never fewer than the set has in the end.
func (b *RangesBuilder[N]) Len() int {
	if b.late != nil {
		return len(b.list) + b.late.Len()
	}
	return len(b.list) + len(b.whole)
}

// unshare copies a set that was added alone, before more is added.
func (b *RangesBuilder[N]) unshare() {
	if b.whole != nil {
		b.list, b.whole = append(b.list, b.whole...), nil
	}
}

// Add adds a range whose First is no greater than its Last.
func (b *RangesBuilder[N]) Add(r Range[N]) {
	b.unshare()
	n := len(b.list) - 1
	switch inOrder := !b.unsorted && n >= 0 && !less(r.First, b.list[n].First); {
	case inOrder:
	case !b.unsorted && n >= minOrdered && !b.aside:
		if b.late == nil {
			b.late = &RangesBuilder[N]{aside: true}
		}
		b.late.Add(r)
		return
	default:
		b.append(r, n >= 0)
		return
	}
	last := &b.list[n]
	switch {
	case !touches(*last, r):
		b.list = append(b.list, r)
	case less(last.Last, r.Last):
		last.Last = r.Last
	}
}

func (b *RangesBuilder[N]) append(r Range[N], unsorted bool) {
	if b.list = append(b.list, r); !unsorted {
		return
	}
	b.unsorted = true
	if b.limit = max(b.limit, minMerged); len(b.list) >= b.limit {
		b.merge()
		b.limit = 2 * len(b.list)
	}
}

// AddAll adds a set.
func (b *RangesBuilder[N]) AddAll(s Ranges[N]) {
	switch {
	case len(s) == 0:
		return
	case b.Len() == 0 && cap(b.list) == 0:
		b.whole = s
		return
	case b.whole != nil && Same(b.whole, s):
		return
	case b.whole != nil && precedes(b.whole, s):
		b.whole = b.whole.Union(s)
		return
	}
	for _, r := range s {
		b.Add(r)
	}
}

// Merged puts ranges in order and joins those that touch, in place: what comes out is the beginning
// of the list.
func Merged[N Number[N]](list []Range[N]) Ranges[N] {
	b := RangesBuilder[N]{list: list}
	b.merge()
	return b.list
}

// merge puts the ranges in order and joins those that touch, in place.
func (b *RangesBuilder[N]) merge() {
	sortRanges(b.list)
	all := b.list
	b.list, b.unsorted = b.list[:0], false
	for _, r := range all {
		b.Add(r)
	}
}

// Ranges is all that was added, and leaves the builder empty.
func (b *RangesBuilder[N]) Ranges() Ranges[N] {
	if b.unsorted {
		b.merge()
	}
	if b.whole != nil {
		whole := b.whole
		*b = RangesBuilder[N]{}
		return whole
	}
	list, late := b.list, b.late
	*b = RangesBuilder[N]{}
	if late != nil {
		list = list.Union(late.Ranges())
	}
	return trimmed(list)
}
