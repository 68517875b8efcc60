package xtables

import (
	"cmp"
	"slices"

	"github.com/portgrave/portgrave/firewall/exposure"
)

// A set of nets is looked up by the longest prefix first, and the first element found decides
// (mtype_test_cidrs in net/netfilter/ipset/ip_set_hash_gen.h). Where all elements say "in", that is
// the union. Two things make more of it:
//
//   - an element with nomatch says "out", for all that is not in a longer prefix;
//   - in hash:net,iface a net that is there with another interface ends the search too (hash_netiface4_data_equal counts
//     it in *multi), so that 10.1.0.0/16,eth1 hides 10.0.0.0/8,eth0 from what comes from 10.1.0.0/16.
//
// Both are written out here: from the shortest prefix to the longest, each element takes away what
// it decides anew and adds what it lets in.

// flat reports whether the elements are simply their union.
func (s *ipset) flat() bool {
	for _, e := range s.elements {
		if e.nomatch || s.hasInterface() && e.lengths[0] != s.elements[0].lengths[0] {
			return false
		}
	}
	return true
}

func (s *ipset) hasInterface() bool { return slices.Contains(s.dimensions, "iface") }

// mostBoxes bounds the work of resolve: boxes in hand times elements that cut into them.
const mostBoxes = 50_000_000

// resolve writes the elements out as disjoint boxes. What the elements have noted is lost; a
// condition makes the set unknown.
func (s *ipset) resolve() {
	for _, e := range s.elements {
		if e.note != nil && e.note.Condition != "" {
			s.set.Unknown = "elements with nomatch, or nets within nets, and one that depends on " + e.note.Condition
			return
		}
	}
	slices.SortStableFunc(s.elements, func(a, b element) int {
		return cmp.Or(
			cmp.Compare(a.lengths[0], b.lengths[0]),
			cmp.Compare(a.lengths[1], b.lengths[1]),
		)
	})
	if len(s.dimensions) == 1 {
		s.resolveNets()
		return
	}
	var boxes [][]exposure.Range
	work := 0
	for _, level := range levels(s.elements) {
		for _, e := range level {
			if !e.nomatch && !s.hasInterface() {
				continue
			}
			if work += len(boxes); work > mostBoxes {
				s.set.Unknown = "too many elements with nomatch to write out"
				return
			}
			hole := slices.Clone(s.box(e))
			if s.hasInterface() {
				hole[1] = exposure.Full(128)
			}
			var rest [][]exposure.Range
			for _, b := range boxes {
				rest = append(rest, exposure.Subtract(b, hole)...)
			}
			boxes = rest
		}
		for _, e := range level {
			if !e.nomatch {
				boxes = append(boxes, s.box(e))
			} else if s.hasInterface() && s.overlaps(e, level) {
				s.set.Unknown = "a net with nomatch for a wildcard of interfaces"
				return
			}
		}
	}
	for _, b := range boxes {
		s.set.Keys = append(s.set.Keys, b...)
	}
}

// levels cuts sorted elements into runs of equal prefix lengths, in which nets are disjoint or
// equal.
func levels(list []element) [][]element {
	var out [][]element
	for i, e := range list {
		if i == 0 || e.lengths != list[i-1].lengths {
			out = append(out, nil)
		}
		out[len(out)-1] = append(out[len(out)-1], e)
	}
	return out
}

// overlaps reports whether another element has the same net and shares interfaces: which of the two
// is found first nobody can tell.
func (s *ipset) overlaps(e element, level []element) bool {
	for _, o := range level {
		a, b := s.box(o), s.box(e)
		if !o.nomatch && a[0] == b[0] && a[1].From.Compare(b[1].To) <= 0 &&
			b[1].From.Compare(a[1].To) <= 0 {
			return true
		}
	}
	return false
}

// resolveNets is resolve for one column, in which whole levels are combined at once.
func (s *ipset) resolveNets() {
	var all exposure.Ranges
	for _, level := range levels(s.elements) {
		var in, out []exposure.Range
		for _, e := range level {
			if e.nomatch {
				out = append(out, s.box(e)[0])
			} else {
				in = append(in, s.box(e)[0])
			}
		}
		all = all.Minus(exposure.NewRanges(out...)).Union(exposure.NewRanges(in...))
	}
	s.set.Keys = all.List()
}
