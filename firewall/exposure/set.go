package exposure

import (
	"iter"
	"time"
)

// Set is a set of tuples, or a map from tuples to verdicts or data: nf_tables' sets and maps, named or anonymous, ipsets, and the
// lists of ports that xtables' multiport has. A comparison with one value or range is a Set of one element (In).
//
// An element is a box: one Range for each of Width columns. A tuple is in the set if some box holds it, column by column. Boxes may
// overlap in a set; in a map they don't, since a kernel's map has one answer. A box that is full in a column says "anything" there, so an or of two conditions
// is a set too: a source port or a destination port in a list is {(list, any), (any, list)}.
//
// What readers have to write out, because Set has no words for it: ipset's nomatch (take the exception away from the boxes, see
// Subtract); list:set (all members' boxes in one set, if they have the same columns); hash:ip,port and the like (columns address, protocol,
// port); prefixes; interface names that end in "*" or "+" (NamePrefix); nf_tables' intervals that come as starts and ends; a map's
// catch-all element (*, NFT_SET_ELEM_CATCHALL), for which there is Default.
type Set struct {
	// Name is nf_tables' or ipset's name; "" for an anonymous set.
	Name string
	// Columns names the columns' types, nft's words (ipv4_addr, inet_service, ifname, mark, …), for people and for readers that match
	// an ipset's dimensions with operands. It may be nil for an anonymous set.
	Columns []string
	// Width is the number of columns: 1 but for concatenations.
	Width int
	// Keys holds the boxes: Width ranges an element, one element behind the other. A million addresses take 32 MB so.
	Keys []Range
	// Verdicts, one an element, make it a verdict map.
	Verdicts []Verdict
	// Data, DataWidth values an element, makes it a map. An element's data that is a range takes two columns, first and last.
	Data      []Value
	DataWidth int
	// Notes are what is special about single elements, by index. nil if nothing is.
	Notes map[int]Note
	// Default is what every tuple gets that is in no box: an index into Verdicts and Data behind the elements' own. False: nothing, as usual.
	Default bool

	// Size is how many elements it takes; 0: no limit.
	Size int
	// Grows: packets may add elements (NFT_SET_EVAL, or a rule with SetAdd names it). A tuple that isn't in it now may be, once its source has
	// sent something else: so the look-up of an absent tuple is a maybe. An element that is there is there: answers are about now.
	Grows bool
	// Shrinks: packets may remove elements (a rule with SetDelete names it). The look-up of a present tuple is a maybe.
	Shrinks bool
	// Unknown says why the elements listed aren't all there is: unreadable, of a kind that has no model (hash:net,net with nomatch), cut short.
	// Every look-up is then a maybe, in a map also any verdict. "" if the set is complete.
	Unknown string
	Origin  Origin
}

// Note is what is special about an element.
type Note struct {
	// Expires is when the kernel removes it; zero: never. It counts as long as the ruleset says it is there.
	Expires time.Time
	// Condition is a condition that can't be known and that the element carries (a limit, quota, connection count); the look-up of the
	// element is a maybe then. "" if there is none; a counter is none.
	Condition string
	Comment   string
}

// Len is the number of elements.
func (s *Set) Len() int {
	if s.Width == 0 {
		return 0
	}
	return len(s.Keys) / s.Width
}

// Element is an element's box. Not to be modified.
func (s *Set) Element(i int) []Range { return s.Keys[i*s.Width : (i+1)*s.Width : (i+1)*s.Width] }

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

// Subtract takes one box away from another: the boxes that are left, disjoint, at most two for each column. It is how ipset's
// nomatch is written out.
func Subtract(box, hole []Range) [][]Range {
	for i := range box {
		if hole[i].To.Compare(box[i].From) < 0 || box[i].To.Compare(hole[i].From) < 0 {
			return [][]Range{box}
		}
	}
	var out [][]Range
	rest := append([]Range(nil), box...)
	for i := range box {
		// What lies beside the hole in this column is left; the rest goes on to the next one.
		for beside := range NewRanges(rest[i]).Minus(NewRanges(hole[i])).All() {
			piece := append([]Range(nil), rest...)
			piece[i] = beside
			out = append(out, piece)
		}
		rest[i] = Range{later(rest[i].From, hole[i].From), earlier(rest[i].To, hole[i].To)}
	}
	return out
}
