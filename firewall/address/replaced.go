package address

import "slices"

// manyChanges is the share of a set, as a divisor, from which on changing it range by range is no
// cheaper than walking over all of it.
const manyChanges = 8

// Replaced is the set without some addresses and with others; what is in both is there. Few changes
// of a large set cost a copy of it: neither the rest of the ranges is compared, nor are their
// prefixes counted again. A set that stays the same is returned as it is.
func (s Set) Replaced(remove, add Set) Set {
	v4, n4 := replaced(s.v4, s.n4, remove.v4, add.v4)
	v6, n6 := replaced(s.v6, s.n6, remove.v6, add.v6)
	return Set{v4, v6, n4, n6}
}

// replaced changes the ranges of one family, which have count prefixes.
func replaced[N Number[N]](s Ranges[N], count int, remove, add Ranges[N]) (Ranges[N], int) {
	add, remove = add.Minus(s), remove.Minus(add).Intersect(s)
	changes := remove.Union(add)
	switch {
	case len(changes) == 0:
		return s, count
	case len(changes) > len(s)/manyChanges:
		out := s.Minus(remove).Union(add)
		return out, out.PrefixCount()
	}
	out := make(Ranges[N], 0, len(s)+len(remove)+len(add))
	for rest := s; ; {
		if len(changes) == 0 {
			return append(out, rest...), count
		}
		i := rest.before(changes[0].First)
		if i > 0 && follows(rest[i-1].Last, changes[0].First) {
			i--
		}
		out, rest = append(out, rest[:i]...), rest[i:]
		old, changed, span := island(rest, changes)
		now := rest[:old].Minus(remove.Within(span)).Union(add.Within(span))
		count += now.PrefixCount() - rest[:old].PrefixCount()
		out, rest, changes = append(out, now...), rest[old:], changes[changed:]
	}
}

// island is the beginning of two lists that the rest of both does not touch: how many ranges of
// each, and their span. The first change is part of it.
func island[N Number[N]](s, changes Ranges[N]) (old, changed int, span Range[N]) {
	span, changed = changes[0], 1
	for {
		var next Range[N]
		switch {
		case old < len(s) && reaches(span, s[old]):
			next = s[old]
			old++
		case changed < len(changes) && reaches(span, changes[changed]):
			next = changes[changed]
			changed++
		default:
			return old, changed, span
		}
		span = Range[N]{earlier(span.First, next.First), later(span.Last, next.Last)}
	}
}

// reaches reports whether r begins before a, in it, or right behind it.
func reaches[N Number[N]](a, r Range[N]) bool {
	return !less(a.Last, r.First) || follows(a.Last, r.First)
}

// Hull is a small set that holds all of s: at most n ranges of each family, with its largest gaps
// between them.
func (s Set) Hull(n int) Set { return SetOf(hull(s.v4, n), hull(s.v6, n)) }

func hull[N Number[N]](s Ranges[N], n int) Ranges[N] {
	if len(s) <= n {
		return append(Ranges[N](nil), s...)
	}
	var gaps []int // the largest n−1, by the indexes of the ranges behind them, the largest first
	size := func(i int) N { return s[i].First.minus(s[i-1].Last) }
	for i := 1; i < len(s) && n > 1; i++ {
		if len(gaps) == n-1 && !less(size(gaps[n-2]), size(i)) {
			continue
		}
		if len(gaps) < n-1 {
			gaps = append(gaps, i)
		} else {
			gaps[n-2] = i
		}
		for j := len(gaps) - 1; j > 0 && less(size(gaps[j-1]), size(gaps[j])); j-- {
			gaps[j-1], gaps[j] = gaps[j], gaps[j-1]
		}
	}
	slices.Sort(gaps)
	out, first := make(Ranges[N], 0, n), s[0].First
	for _, i := range gaps {
		out, first = append(out, Range[N]{first, s[i-1].Last}), s[i].First
	}
	return append(out, Range[N]{first, s[len(s)-1].Last})
}
