package address

import (
	"iter"
	"net/netip"
	"slices"
	"sort"
)

// Range is some neighbouring numbers, both ends included: First ≤ Last.
type Range[N Number[N]] struct{ First, Last N }

// Contains reports whether a number is in the range.
func (r Range[N]) Contains(n N) bool { return !less(n, r.First) && !less(r.Last, n) }

// PrefixRange is the numbers that agree with n in their first bits, as many as length says.
func PrefixRange[N Number[N]](n N, length int) Range[N] {
	host := n.hostMask(length)
	first := n.andNot(host)
	return Range[N]{first, first.or(host)}
}

// Ranges is an immutable set of numbers: ranges in order, and between any two of them a number is
// missing. nil is the empty set. Callers must not change one.
type Ranges[N Number[N]] []Range[N]

// Equal reports whether both sets hold the same numbers.
func (s Ranges[N]) Equal(o Ranges[N]) bool { return Same(s, o) || slices.Equal(s, o) }

// Same reports whether two lists are one and the same in memory.
func Same[E any](a, b []E) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// Contains reports whether a number is in the set.
func (s Ranges[N]) Contains(n N) bool {
	i := s.Reaching(n)
	return i < len(s) && !less(n, s[i].First)
}

// Reaching is the index of the first range that ends at n or later.
func (s Ranges[N]) Reaching(n N) int {
	return sort.Search(len(s), func(i int) bool { return !less(s[i].Last, n) })
}

// overlapping is the part of the list whose ranges share a number with r.
func (s Ranges[N]) overlapping(r Range[N]) Ranges[N] {
	s = s[s.Reaching(r.First):]
	to := sort.Search(len(s), func(i int) bool { return less(r.Last, s[i].First) })
	return s[:to:to]
}

// Overlaps reports whether the set holds any number of a range.
func (s Ranges[N]) Overlaps(r Range[N]) bool {
	i := s.Reaching(r.First)
	return i < len(s) && !less(r.Last, s[i].First)
}

// Covers reports whether the set holds all numbers of a range. Ranges of a set never touch, so one
// of them alone has all of it, or none has.
func (s Ranges[N]) Covers(r Range[N]) bool {
	i := s.Reaching(r.First)
	return i < len(s) && s[i].holds(r)
}

func (r Range[N]) holds(o Range[N]) bool { return !less(o.First, r.First) && !less(r.Last, o.Last) }

// Within is the part of the set that lies in a range. It shares the set's memory unless a range
// has to be cut.
func (s Ranges[N]) Within(r Range[N]) Ranges[N] {
	found := s.overlapping(r)
	n := len(found)
	if n == 0 {
		return nil
	}
	if r.holds(Range[N]{found[0].First, found[n-1].Last}) {
		return found
	}
	cut := slices.Clone(found)
	if less(cut[0].First, r.First) {
		cut[0].First = r.First
	}
	if less(r.Last, cut[n-1].Last) {
		cut[n-1].Last = r.Last
	}
	return cut
}

// Disjoint reports whether two sets have no number in common.
func (s Ranges[N]) Disjoint(o Ranges[N]) bool {
	for len(s) > 0 {
		if o = o[o.before(s[0].First):]; len(o) == 0 || s[0].Overlaps(o[0]) {
			return len(o) == 0
		}
		s = s[s.before(o[0].First):]
	}
	return true
}

// Overlaps reports whether two ranges share a number.
func (r Range[N]) Overlaps(o Range[N]) bool {
	return !less(r.Last, o.First) && !less(o.Last, r.First)
}

// coversAll reports whether every number of o is in the set.
func (s Ranges[N]) coversAll(o Ranges[N]) bool {
	if len(o) == 0 {
		return true
	}
	if len(s) == 0 || less(o[0].First, s[0].First) || less(s[len(s)-1].Last, o[len(o)-1].Last) {
		return false
	}
	for len(o) > 0 {
		if n := common(s, o); n > 0 {
			s, o = s[n:], o[n:]
			continue
		}
		if s = s[s.before(o[0].First):]; len(s) == 0 || !s[0].holds(o[0]) {
			return false
		}
		o = o[1+o[1:].before(s[0].Last.next()):]
	}
	return true
}

// before is how many ranges end before n. It looks at the first few, and goes on in steps that
// double: cheap if there are few, and not much slower than bisection if there are many.
func (s Ranges[N]) before(n N) (i int) {
	for ; i < len(s) && less(s[i].Last, n); i++ {
		if i == maxLinear {
			return i + gallop(len(s)-i, func(j int) bool { return less(s[i+j].Last, n) })
		}
	}
	return i
}

// starting is how many ranges start at n or before it.
func (s Ranges[N]) starting(n N) (i int) {
	for ; i < len(s) && !less(n, s[i].First); i++ {
		if i == maxLinear {
			return i + gallop(len(s)-i, func(j int) bool { return !less(n, s[i+j].First) })
		}
	}
	return i
}

// maxLinear is how many ranges are looked at one by one.
const maxLinear = 8

// gallop is how many of the numbers from 0 to n−1 a condition holds for, which holds for the first
// ones of them or for none.
func gallop(n int, holds func(i int) bool) int {
	low, step := 0, 1 // it holds below low
	for low+step <= n && holds(low+step-1) {
		low += step
		step *= 2
	}
	high := min(low+step-1, n)
	for low < high {
		if middle := int(uint(low+high) >> 1); holds(middle) {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low
}

// common is how many ranges both lists begin with.
func common[E comparable](a, b []E) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// touches reports whether b, which starts no earlier than a, starts no later than right behind it.
func touches[N Number[N]](a, b Range[N]) bool {
	return !less(a.Last, b.First) || follows(a.Last, b.First)
}

// trimmed gives back room that a list will never use, since sets live long. nil is the one empty
// list.
func trimmed[N Number[N]](list Ranges[N]) Ranges[N] {
	switch {
	case len(list) == 0:
		return nil
	case cap(list)-len(list) > len(list)/4:
		return append(make(Ranges[N], 0, len(list)), list...)
	}
	return list
}

// output takes the ranges that an operation makes. First it counts them, then it takes memory for
// exactly as many and keeps them: to make a list a second time costs less than memory that is not
// used: a million ranges of IPv6 take 32 MB.
type output[N Number[N]] struct {
	list Ranges[N] // nil: only count
	n    int
	last Range[N] // the last range, of add
}

// made runs an operation twice. It returns nil if nothing comes out.
func made[N Number[N]](operation func(*output[N])) Ranges[N] {
	var out output[N]
	if operation(&out); out.n == 0 {
		return nil
	}
	out = output[N]{list: make(Ranges[N], 0, out.n)}
	operation(&out)
	return out.list
}

// append adds ranges behind those that are there.
func (o *output[N]) append(list ...Range[N]) {
	if o.n += len(list); o.list != nil {
		o.list = append(o.list, list...)
	}
}

// add appends ranges that do not touch each other. None starts before the last range does. They are
// joined with that as far as they touch it.
func (o *output[N]) add(list Ranges[N]) {
	if o.n > 0 {
		for len(list) > 0 && touches(o.last, list[0]) {
			if less(o.last.Last, list[0].Last) {
				o.last.Last = list[0].Last
			}
			list = list[1:]
		}
		if o.list != nil {
			o.list[o.n-1].Last = o.last.Last
		}
	}
	if len(list) > 0 {
		o.append(list...)
		o.last = list[len(list)-1]
	}
}

// Union is every number in either set. Where one stands right behind the other in memory, as parts
// of one list do, nothing is copied.
func (s Ranges[N]) Union(o Ranges[N]) Ranges[N] {
	switch {
	case Same(s, o) || s.coversAll(o):
		return s
	case o.coversAll(s):
		return o
	case precedes(s, o):
		return s[:len(s)+len(o)]
	case precedes(o, s):
		return o[:len(o)+len(s)]
	}
	return made(func(out *output[N]) {
		a, b := s, o
		for len(a) > 0 && len(b) > 0 {
			if less(b[0].First, a[0].First) {
				a, b = b, a
			}
			n := a.starting(b[0].First)
			out.add(a[:n])
			a = a[n:]
		}
		out.add(a)
		out.add(b)
	})
}

// precedes reports whether b stands right behind a in memory, and none of its numbers touches those
// of a: then both are one list.
func precedes[N Number[N]](a, b Ranges[N]) bool {
	n := len(a)
	return n > 0 && len(b) > 0 && cap(a)-n >= len(b) && &a[:n+1][n] == &b[0] &&
		isBefore(a, b) && !touches(a[n-1], b[0])
}

// isBefore reports whether each number of a is lower than those of b. Neither is empty.
func isBefore[N Number[N]](a, b Ranges[N]) bool { return less(a[len(a)-1].Last, b[0].First) }

// UnionAll is every number in any of the sets. Sets that follow one another are copied once, if at
// all. Others are joined two by two, so each is walked over as often as their number can be halved.
func UnionAll[N Number[N]](sets []Ranges[N]) Ranges[N] {
	sets = slices.DeleteFunc(slices.Clone(sets), func(s Ranges[N]) bool { return len(s) == 0 })
	if len(sets) > 2 {
		slices.SortStableFunc(sets, func(a, b Ranges[N]) int {
			return a[0].First.Compare(b[0].First)
		})
	}
	return unionAll(sets)
}

func unionAll[N Number[N]](sets []Ranges[N]) Ranges[N] {
	switch len(sets) {
	case 0:
		return nil
	case 1:
		return sets[0]
	case 2:
		return sets[0].Union(sets[1])
	}
	inRow, inMemory := true, true
	n := len(sets[0])
	for i, s := range sets[1:] {
		inRow = inRow && isBefore(sets[i], s)
		inMemory = inMemory && inRow && precedes(sets[i], s)
		n += len(s)
	}
	switch {
	case inMemory && cap(sets[0]) >= n:
		return sets[0][:n]
	case inRow:
		return made(func(out *output[N]) {
			for _, s := range sets {
				out.add(s)
			}
		})
	}
	half := len(sets) / 2
	return unionAll(sets[:half]).Union(unionAll(sets[half:]))
}

// Minus is every number in s that is not in o.
func (s Ranges[N]) Minus(o Ranges[N]) Ranges[N] {
	switch {
	case Same(s, o):
		return nil
	case s.Disjoint(o):
		return s
	}
	o = o.overlapping(Range[N]{s[0].First, s[len(s)-1].Last})
	return made(func(out *output[N]) { out.difference(s, o) })
}

// difference appends every number in a that is not in b.
func (o *output[N]) difference(a, b Ranges[N]) {
next:
	for len(a) > 0 {
		if n := common(a, b); n > 0 {
			a, b = a[n:], b[n:]
			continue
		}
		if b = b[b.before(a[0].First):]; len(b) == 0 {
			break
		}
		if n := a.before(b[0].First); n > 0 {
			o.append(a[:n]...)
			a = a[n:]
			continue
		}
		r := a[0]
		a = a[1:]
		for ; len(b) > 0 && !less(r.Last, b[0].First); b = b[1:] {
			if less(r.First, b[0].First) {
				o.append(Range[N]{r.First, b[0].First.prev()})
			}
			if !less(b[0].Last, r.Last) { // and it may reach into the next range too
				continue next
			}
			r.First = b[0].Last.next()
		}
		o.append(r)
	}
	o.append(a...)
}

// Intersect is every number in both sets.
func (s Ranges[N]) Intersect(o Ranges[N]) Ranges[N] {
	switch {
	case len(s) == 0 || len(o) == 0:
		return nil
	case Same(s, o) || o.coversAll(s):
		return s
	case s.coversAll(o):
		return o
	case len(o) == 1:
		return s.Within(o[0])
	case len(s) == 1:
		return o.Within(s[0])
	}
	return made(func(out *output[N]) { out.intersection(s, o) })
}

// intersection appends every number in both a and b.
func (o *output[N]) intersection(a, b Ranges[N]) {
	for len(a) > 0 && len(b) > 0 {
		if n := common(a, b); n > 0 {
			o.append(a[:n]...)
			a, b = a[n:], b[n:]
			continue
		}
		if n := a.before(b[0].First); n > 0 {
			a = a[n:]
			continue
		}
		if n := b.before(a[0].First); n > 0 {
			b = b[n:]
			continue
		}
		r := Range[N]{later(a[0].First, b[0].First), earlier(a[0].Last, b[0].Last)}
		o.append(r)
		if r.Last == a[0].Last {
			a = a[1:]
		} else {
			b = b[1:]
		}
	}
}

func later[N Number[N]](a, b N) N {
	if less(a, b) {
		return b
	}
	return a
}

func earlier[N Number[N]](a, b N) N {
	if less(b, a) {
		return b
	}
	return a
}

// Prefixes yields the fewest prefixes that make up the set, in order: the first number of each and
// its length. It is false if it was stopped.
func (s Ranges[N]) Prefixes(yield func(first N, length int) bool) bool {
	for _, r := range s {
		for first := r.First; ; {
			end, length := first.block(r.Last)
			if !yield(first, length) {
				return false
			}
			if end == r.Last {
				break
			}
			first = end.next()
		}
	}
	return true
}

// PrefixCount is how many prefixes make up the set.
func (s Ranges[N]) PrefixCount() (n int) {
	for _, r := range s {
		n += r.First.blocks(r.Last)
	}
	return n
}

// addresses yields the ranges as addresses.
func (s Ranges[N]) addresses() iter.Seq2[netip.Addr, netip.Addr] {
	return func(yield func(first, last netip.Addr) bool) {
		for _, r := range s {
			if !yield(r.First.IP(), r.Last.IP()) {
				return
			}
		}
	}
}

// cidrs yields the prefixes as such; false if it was stopped.
func (s Ranges[N]) cidrs(yield func(netip.Prefix) bool) bool {
	return s.Prefixes(func(first N, length int) bool {
		return yield(netip.PrefixFrom(first.IP(), length))
	})
}
