package address

import "net/netip"

// Short is the set as people write it: some prefixes without some others, wherever that takes fewer
// than the minimal list. The addresses of in that are not in out are those of the set: everything
// but one host is one prefix without another, and 32 or 128 prefixes in a list.
func (s Set) Short() (in, out Set) {
	whole := SetOf(wholes(s.v4, V4(0)), wholes(s.v6, V6{}))
	if whole.IsZero() {
		return s, Set{}
	}
	return s.Union(whole), whole.Minus(s)
}

// wholes are the prefixes that are shorter to write with exceptions than as a list. zero is the
// lowest number.
func wholes[N Number[N]](s Ranges[N], zero N) Ranges[N] {
	var w wholePrefixes[N]
	w.cost(zero, 0, s)
	var b RangesBuilder[N]
	for _, r := range w.found {
		b.Add(r)
	}
	return b.Ranges()
}

// wholePrefixes collects them, in order.
type wholePrefixes[N Number[N]] struct{ found Ranges[N] }

// cost is how many prefixes it takes to write the part of a set that lies in a prefix, list, and
// how many the set lacks there.
func (w *wholePrefixes[N]) cost(first N, length int, list Ranges[N]) (written, lacking int) {
	node := PrefixRange(first, length)
	switch {
	case len(list) == 0:
		return 0, 1
	case list[0].holds(node):
		return 1, 0
	case len(list) == 1:
		r := Range[N]{later(list[0].First, node.First), earlier(list[0].Last, node.Last)}
		if end, _ := r.First.block(r.Last); end == r.Last { // one prefix: nothing is shorter
			if less(node.First, r.First) {
				lacking = node.First.blocks(r.First.prev())
			}
			if less(r.Last, node.Last) {
				lacking += r.Last.next().blocks(node.Last)
			}
			return 1, lacking
		}
	}
	before := len(w.found)
	left := PrefixRange(first, length+1)
	right := left.Last.next()
	writtenLeft, lackingLeft := w.cost(first, length+1, list[:list.starting(left.Last)])
	writtenRight, lackingRight := w.cost(right, length+1, list[list.before(right):])
	written, lacking = writtenLeft+writtenRight, lackingLeft+lackingRight
	if 1+lacking < written {
		w.found = append(w.found[:before], node)
		written = 1 + lacking
	}
	return written, lacking
}

// Halves are the two prefixes that make up one, which is not a single address.
func Halves(p netip.Prefix) (left, right netip.Prefix) {
	bits := p.Bits()
	b := p.Addr().AsSlice()
	b[bits/8] |= 0x80 >> (bits % 8)
	upper, _ := netip.AddrFromSlice(b)
	return netip.PrefixFrom(p.Addr(), bits+1), netip.PrefixFrom(upper, bits+1)
}
