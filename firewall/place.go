package firewall

import (
	"iter"
	"net/netip"
	"slices"
	"strings"
)

// Where a service is open: its interfaces and its addresses.
//
// Of two interface patterns one covers the other or they have no name in common, and so it is with
// prefixes. Two services share a place if a pattern of one and a pattern of the other stand in such
// a relation, and so do a prefix of each. To find who shares a place by look-ups alone, a service
// enters itself, in each of the two dimensions, as "here" at each pattern of its own, and as
// "below" at each other pattern of the State that covers it; it asks for who is here at its
// patterns and at those that cover them, and for who is below its patterns. "Every interface" and
// "every address" are patterns that cover all others.

// placeKey is a point of both dimensions.
type placeKey struct{ iface, address point }

// point is a pattern's number, twice, and one more for what is below it.
type point uint32

func here(pattern int32) point  { return point(2 * pattern) }
func below(pattern int32) point { return point(2*pattern + 1) }

// maxCombinations bounds the points that one service takes in the index: all its ports times
// interfaces times addresses.
const maxCombinations = 1 << 14

// place is that of one service.
type place struct {
	ifaces, addresses dimension
	// wide: too many combinations for an index.
	wide bool
}

// dimension is what a service enters, and asks for, in one of the two.
type dimension struct{ enter, ask []point }

func (p place) combinations() int {
	return len(p.ifaces.enter) * len(p.addresses.enter)
}

// enters and asks yield the keys to enter, and to ask for.
func (p place) enters(
	yield func(placeKey) bool,
) {
	product(p.ifaces.enter, p.addresses.enter, yield)
}
func (p place) asks(yield func(placeKey) bool) { product(p.ifaces.ask, p.addresses.ask, yield) }

func product(ifaces, addresses []point, yield func(placeKey) bool) {
	for _, i := range ifaces {
		for _, a := range addresses {
			if !yield(placeKey{i, a}) {
				return
			}
		}
	}
}

// meets reports whether two services share a place.
func (p place) meets(
	o place,
) bool {
	return p.ifaces.meets(o.ifaces) && p.addresses.meets(o.addresses)
}

// meets walks over both lists, which are in order.
func (d dimension) meets(o dimension) bool {
	for i, j := 0, 0; i < len(d.enter) && j < len(o.ask); {
		switch a, b := d.enter[i], o.ask[j]; {
		case a == b:
			return true
		case a < b:
			i++
		default:
			j++
		}
	}
	return false
}

// patterns numbers the patterns of one dimension.
type patterns[P comparable] struct {
	numbers map[P]int32
	covers  [][]int32 // of each, the others that cover it
}

func (n *patterns[P]) number(p P) int32 {
	i, known := n.numbers[p]
	if !known {
		i = int32(len(n.numbers))
		n.numbers[p] = i
	}
	return i
}

// link finds what covers each pattern; above yields all that could.
func (n *patterns[P]) link(above func(P) iter.Seq[P]) {
	n.covers = make([][]int32, len(n.numbers))
	for p, i := range n.numbers {
		for q := range above(p) {
			if j, used := n.numbers[q]; used {
				n.covers[i] = append(n.covers[i], j)
			}
		}
	}
}

func (n *patterns[P]) dimension(own []int32) (d dimension) {
	for _, i := range own {
		d.enter, d.ask = append(d.enter, here(i)), append(d.ask, here(i), below(i))
		for _, j := range n.covers[i] {
			d.enter, d.ask = append(d.enter, below(j)), append(d.ask, here(j))
		}
	}
	slices.Sort(d.enter)
	slices.Sort(d.ask)
	return dimension{slices.Compact(d.enter), slices.Compact(d.ask)}
}

// placesOf are those of all services.
func placesOf(services []Service) []place {
	ifaces := patterns[string]{numbers: map[string]int32{}}
	addresses := patterns[netip.Prefix]{numbers: map[netip.Prefix]int32{}}
	ownIfaces, ownAddresses := make([][]int32, len(services)), make([][]int32, len(services))
	lengths := map[int]bool{} // of prefixes in use: twice the length, and one more for IPv6
	for i, svc := range services {
		for _, p := range svc.Interfaces {
			ownIfaces[i] = append(ownIfaces[i], ifaces.number(p))
		}
		if len(svc.Interfaces) == 0 {
			ownIfaces[i] = []int32{ifaces.number("*")}
		}
		for p := range svc.Addresses.All() {
			ownAddresses[i] = append(ownAddresses[i], addresses.number(p))
			lengths[lengthKey(p.Addr(), p.Bits())] = true
		}
		if svc.Addresses.Len() == 0 {
			ownAddresses[i] = []int32{addresses.number(everyAddress)}
		}
	}
	ifaces.link(patternsAbove)
	addresses.link(func(p netip.Prefix) iter.Seq[netip.Prefix] { return prefixesAbove(p, lengths) })
	places := make([]place, len(services))
	for i := range services {
		places[i] = place{
			ifaces:    ifaces.dimension(ownIfaces[i]),
			addresses: addresses.dimension(ownAddresses[i]),
		}
	}
	return places
}

// everyAddress is every address of both families: a prefix that is none.
var everyAddress netip.Prefix

// patternsAbove yields the patterns that cover another one, but for itself.
func patternsAbove(p string) iter.Seq[string] {
	name := strings.TrimSuffix(p, "*")
	return func(yield func(string) bool) {
		for n := 0; n <= len(name); n++ {
			if q := name[:n] + "*"; q != p && !yield(q) {
				return
			}
		}
	}
}

func lengthKey(a netip.Addr, bits int) int {
	if a.Is4() {
		return 2 * bits
	}
	return 2*bits + 1
}

// prefixesAbove yields the prefixes of lengths in use that cover another one, but for itself.
func prefixesAbove(p netip.Prefix, lengths map[int]bool) iter.Seq[netip.Prefix] {
	return func(yield func(netip.Prefix) bool) {
		if p == everyAddress || !yield(everyAddress) {
			return
		}
		for bits := range p.Bits() {
			if lengths[lengthKey(p.Addr(), bits)] &&
				!yield(netip.PrefixFrom(p.Addr(), bits).Masked()) {
				return
			}
		}
	}
}
