package exposure

import (
	"iter"
	"time"
)

// Set is a set of tuples, or a map from tuples to verdicts or data: nf_tables' sets and maps, named
// or anonymous, ipsets, and the lists of ports that xtables' multiport has. A comparison with one
// value or range is a Set of one element (In).
//
// An element is a box: one Range for each of Width columns. A tuple is in the set if a box holds
// it, column by column. Boxes may overlap in a set, but not in a map, since the kernel's maps have
// one answer. A full range in a column means "any", so an or of two conditions is a set too: a
// source port or a destination port in a list is {(list, any), (any, list)}.
//
// Readers have to write out what Set can't express: ipset's nomatch (take the exception away from
// the boxes, see Subtract); list:set (the boxes of all members in one set, if their columns are
// equal); hash:ip,port and the like (columns address, protocol, port); prefixes; interface names
// that end in "*" or "+" (NamePrefix); nf_tables' intervals that come as starts and ends; a map's
// catch-all element (*, NFT_SET_ELEM_CATCHALL), as Default.
type Set struct {
	// Name is nf_tables' or ipset's name; "" for an anonymous set.
	Name string
	// Columns names the columns' types in nft's words (ipv4_addr, inet_service, ifname, mark, …),
	// for people and for readers that match an ipset's dimensions with operands. It may be nil for
	// an anonymous set.
	Columns []string
	// Width is the number of columns: above 1 for concatenations.
	Width int
	// Keys holds the boxes: Width ranges for each element, one element after the other. A million
	// addresses take 32 MB.
	Keys []Range
	// Flat holds the elements of a long list of addresses instead of Keys: ranges in order, without
	// notes or data. It takes a quarter of the memory for IPv4.
	Flat Ranges
	// Verdicts, one for each element, make it a verdict map.
	Verdicts []Verdict
	// Data, DataWidth values for each element, makes it a map. Data that is a range takes two
	// columns, first and last.
	Data      []Value
	DataWidth int
	// Notes describe elements with special properties, by index. It may be nil.
	Notes map[int]Note
	// Default: the map has a value for tuples in no box, the last one in Verdicts or Data.
	Default bool

	// Size is the most elements that it can hold; 0: no limit.
	Size int
	// Grows: packets may add elements (NFT_SET_EVAL, or a rule with SetAdd names it). A tuple that
	// is absent now may be there once its source has sent something else, so its look-up is a
	// maybe. A present tuple is certain: answers are about now.
	Grows bool
	// Shrinks: packets may remove elements (a rule with SetDelete names it). The look-up of a
	// present tuple is a maybe.
	Shrinks bool
	// Unknown says why the listed elements aren't all: unreadable, of a kind without a model
	// (hash:net,net with nomatch), cut short. Every look-up is then a maybe and, in a map, may give
	// any verdict. "" if the set is complete.
	Unknown string
	Origin  Origin
}

// Note holds an element's special properties.
type Note struct {
	// Expires is when the kernel removes the element; zero: never. Until then it counts.
	Expires time.Time
	// Condition is a condition of the element that can't be known (a limit, quota, connection
	// count), which makes its look-up a maybe; "" if it has none. Counters aren't conditions.
	Condition string
	Comment   string
}

// Len is the number of elements.
func (s *Set) Len() int {
	if s.Width == 0 {
		return 0
	}
	return s.Flat.Len() + len(s.Keys)/s.Width
}

// Element is an element's box. Callers must not modify it.
func (s *Set) Element(i int) []Range {
	if !s.Flat.Empty() {
		return []Range{s.Flat.At(i)}
	}
	return s.Keys[i*s.Width : (i+1)*s.Width : (i+1)*s.Width]
}

// column is the elements of a set of one column.
func (s *Set) column() Ranges {
	if !s.Flat.Empty() {
		return s.Flat
	}
	return NewRanges(s.Keys...)
}

// All yields the elements' boxes in the order in which they were added.
func (s *Set) All() iter.Seq2[int, []Range] {
	return func(yield func(int, []Range) bool) {
		for i := range s.Len() {
			if !yield(i, s.Element(i)) {
				return
			}
		}
	}
}

// Row is an element's data in a map; i = Len() is the Default's.
func (s *Set) Row(i int) []Value {
	return s.Data[i*s.DataWidth : (i+1)*s.DataWidth : (i+1)*s.DataWidth]
}

// SetOf is an anonymous set of one column.
func SetOf(ranges ...Range) *Set { return &Set{Width: 1, Keys: ranges} }

// Subtract removes one box from another. The remaining boxes are disjoint, at most two for each
// column. Readers use it for ipset's nomatch.
func Subtract(box, hole []Range) [][]Range {
	for i := range box {
		if hole[i].To.Compare(box[i].From) < 0 || box[i].To.Compare(hole[i].From) < 0 {
			return [][]Range{box}
		}
	}
	var out [][]Range
	rest := append([]Range(nil), box...)
	for i := range box {
		// What lies beside the hole in this column remains; the rest goes on to the next column.
		for beside := range NewRanges(rest[i]).Minus(NewRanges(hole[i])).All() {
			piece := append([]Range(nil), rest...)
			piece[i] = beside
			out = append(out, piece)
		}
		rest[i] = Range{later(rest[i].From, hole[i].From), earlier(rest[i].To, hole[i].To)}
	}
	return out
}
