package exposure

import (
	"iter"
	"math"
	"slices"

	"github.com/portgrave/portgrave/firewall/address"
)

// Ranges is an immutable set of values of one width, held as ordered ranges that neither overlap
// nor touch: each set has one form, so Equal is exact. The zero value is the empty set.
//
// The evaluator's set of sources is one: addresses of the question's family. It shares the memory
// of the policy's and the kernel's sets (SourcesOf, Prefixes), and the algebra is that of package
// address.
type Ranges struct {
	// A set all of whose values fit 32 bits (IPv4 addresses, ports, marks) is narrow, with 8 bytes
	// a range. Any other one is wide, with 32 bytes a range. One of them is empty.
	narrow address.Ranges[address.V4]
	wide   address.Ranges[address.V6]
}

func isNarrow(v Value) bool { return v.hi == 0 && v.lo <= math.MaxUint32 }

func narrowRange(r Range) address.Range[address.V4] {
	return address.Range[address.V4]{First: address.V4(r.From.lo), Last: address.V4(r.To.lo)}
}

func wideRange(r Range) address.Range[address.V6] {
	return address.Range[address.V6]{
		First: address.V6{Hi: r.From.hi, Lo: r.From.lo},
		Last:  address.V6{Hi: r.To.hi, Lo: r.To.lo},
	}
}

func fromNarrow(r address.Range[address.V4]) Range {
	return Range{Value{lo: uint64(r.First)}, Value{lo: uint64(r.Last)}}
}

func fromWide(r address.Range[address.V6]) Range {
	return Range{Value{r.First.Hi, r.First.Lo}, Value{r.Last.Hi, r.Last.Lo}}
}

// NewRanges merges ranges in any order, overlapping as they like.
func NewRanges(list ...Range) Ranges {
	var b rangesBuilder
	narrow := 0
	for _, r := range list {
		if isNarrow(r.To) {
			narrow++
		}
	}
	b.narrow.Expect(narrow)
	b.wide.Expect(len(list) - narrow)
	for _, r := range list {
		b.add(r)
	}
	return b.ranges()
}

// rangesBuilder makes Ranges of pieces in any order.
type rangesBuilder struct {
	narrow address.RangesBuilder[address.V4]
	wide   address.RangesBuilder[address.V6]
}

func (b *rangesBuilder) add(r Range) {
	if isNarrow(r.To) {
		b.narrow.Add(narrowRange(r))
	} else {
		b.wide.Add(wideRange(r))
	}
}

func (b *rangesBuilder) addAll(s Ranges) {
	b.narrow.AddAll(s.narrow)
	b.wide.AddAll(s.wide)
}

// ranges is all that was added, and leaves the builder empty.
func (b *rangesBuilder) ranges() Ranges {
	narrow, wide := Ranges{narrow: b.narrow.Ranges()}, Ranges{wide: b.wide.Ranges()}
	switch {
	case wide.Empty():
		return narrow
	case narrow.Empty():
		return wide
	}
	return narrow.Union(wide)
}

// widened is a set in the form of wide ones.
func (s Ranges) widened() address.Ranges[address.V6] {
	if len(s.narrow) == 0 {
		return s.wide
	}
	out := make(address.Ranges[address.V6], len(s.narrow))
	for i, r := range s.narrow {
		out[i] = wideRange(fromNarrow(r))
	}
	return out
}

// narrowed is the set that a wide list holds, in its own form.
func narrowed(list address.Ranges[address.V6]) Ranges {
	if n := len(list); n == 0 || !isNarrow(fromWide(list[n-1]).To) {
		return Ranges{wide: list}
	}
	out := make(address.Ranges[address.V4], len(list))
	for i, r := range list {
		out[i] = narrowRange(fromWide(r))
	}
	return Ranges{narrow: out}
}

// combined is what an operation makes of two sets.
func combined(
	s, o Ranges,
	narrow func(a, b address.Ranges[address.V4]) address.Ranges[address.V4],
	wide func(a, b address.Ranges[address.V6]) address.Ranges[address.V6],
) Ranges {
	if len(s.wide)+len(o.wide) == 0 {
		return Ranges{narrow: narrow(s.narrow, o.narrow)}
	}
	return narrowed(wide(s.widened(), o.widened()))
}

var all4, all6 = NewRanges(Full(32)), NewRanges(Full(128))

// AllSources is every address of a family.
func AllSources(f address.Family) Ranges {
	if f == address.IPv6 {
		return all6
	}
	return all4
}

// All yields the ranges in order.
func (s Ranges) All() iter.Seq[Range] {
	return func(yield func(Range) bool) {
		for i := range s.Len() {
			if !yield(s.At(i)) {
				return
			}
		}
	}
}

// Len is the number of ranges.
func (s Ranges) Len() int { return len(s.narrow) + len(s.wide) }

// At is one of the ranges.
func (s Ranges) At(i int) Range {
	if len(s.narrow) > 0 {
		return fromNarrow(s.narrow[i])
	}
	return fromWide(s.wide[i])
}

// List is the ranges in order, in memory of their own.
func (s Ranges) List() []Range {
	return slices.AppendSeq(make([]Range, 0, s.Len()), s.All())
}

// Empty reports whether nothing is in the set.
func (s Ranges) Empty() bool { return s.Len() == 0 }

// Equal reports whether both hold the same values.
func (s Ranges) Equal(o Ranges) bool { return s.narrow.Equal(o.narrow) && s.wide.Equal(o.wide) }

// same reports whether both are one list, without a look at it.
func (s Ranges) same(o Ranges) bool {
	return address.Same(s.narrow, o.narrow) && address.Same(s.wide, o.wide)
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
	return i < s.Len() && s.At(i).From.Compare(to) <= 0
}

// Contains reports whether a value is in the set.
func (s Ranges) Contains(v Value) bool {
	i := s.reaching(v)
	return i < s.Len() && s.At(i).Contains(v)
}

// reaching is the index of the first range that ends at v or later.
func (s Ranges) reaching(v Value) int {
	switch {
	case len(s.wide) > 0:
		return s.wide.Reaching(address.V6{Hi: v.hi, Lo: v.lo})
	case isNarrow(v):
		return s.narrow.Reaching(address.V4(v.lo))
	}
	return len(s.narrow)
}

// Union is every value in either set.
func (s Ranges) Union(o Ranges) Ranges {
	switch {
	case s.Empty():
		return o
	case o.Empty():
		return s
	}
	return combined(s, o, address.Ranges[address.V4].Union, address.Ranges[address.V6].Union)
}

// unionOf is every value in any of the sets.
func unionOf(sets []Ranges) Ranges {
	var narrow []address.Ranges[address.V4]
	var wide []address.Ranges[address.V6]
	for _, s := range sets {
		if len(s.narrow) > 0 {
			narrow = append(narrow, s.narrow)
		}
		if len(s.wide) > 0 {
			wide = append(wide, s.wide)
		}
	}
	return Ranges{narrow: address.UnionAll(narrow)}.Union(Ranges{wide: address.UnionAll(wide)})
}

// Intersect is every value in both sets.
func (s Ranges) Intersect(o Ranges) Ranges {
	if s.Empty() || o.Empty() {
		return Ranges{}
	}
	return combined(
		s,
		o,
		address.Ranges[address.V4].Intersect,
		address.Ranges[address.V6].Intersect,
	)
}

// Minus is every value in s that is not in o.
func (s Ranges) Minus(o Ranges) Ranges {
	if s.Empty() || o.Empty() {
		return s
	}
	return combined(s, o, address.Ranges[address.V4].Minus, address.Ranges[address.V6].Minus)
}

// maxSubtracted is how many sets are subtracted one by one.
const maxSubtracted = 8

// minusAll is every value in s that is in none of the sets. It makes no union of a few sets: mostly
// they have nothing in common with s, or all of it.
func (s Ranges) minusAll(sets []Ranges) Ranges {
	if len(sets) > maxSubtracted {
		return s.Minus(unionOf(sets))
	}
	for _, o := range sets {
		s = s.Minus(o)
	}
	return s
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

// mappedBlock is the IPv4-mapped addresses of IPv6, and mappedParent the prefix one bit shorter.
var (
	mappedBlock  = address.Ranges[address.V6]{address.PrefixRange(address.V6{Lo: 0xffff << 32}, 96)}
	mappedParent = address.PrefixRange(address.V6{Lo: 0xfffe << 32}, 95)
)

// Prefixes is a set of addresses of one family as minimal prefixes. IPv4-mapped IPv6 sources never
// come off a wire, since the kernel drops them, and are no prefix that people could use: they are
// left out unless a larger prefix has them.
func (s Ranges) Prefixes(f address.Family) address.Set {
	if f == address.IPv4 {
		return address.SetOf(s.narrow, nil)
	}
	list := s.widened()
	if !list.Covers(mappedParent) {
		list = list.Minus(mappedBlock)
	}
	return address.SetOf(nil, list)
}

// RangesV4 is a set of numbers as one of values. It shares its memory.
func RangesV4(list address.Ranges[address.V4]) Ranges { return Ranges{narrow: list} }

// RangesV6 is a set of numbers as one of values. It shares its memory unless all fit 32 bits.
func RangesV6(list address.Ranges[address.V6]) Ranges { return narrowed(list) }

// SourcesOf is the addresses of one family as a set.
func SourcesOf(p address.Set, f address.Family) Ranges {
	if f == address.IPv4 {
		return Ranges{narrow: p.V4()}
	}
	return narrowed(p.V6())
}
