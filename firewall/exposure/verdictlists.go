package exposure

// Thousands of rules may look up one map of verdicts with thousands of elements. What follows looks
// at a map once, not once for each rule.

// verdictLists are the different verdicts of maps.
type verdictLists map[*Set][]Verdict

// of are the different verdicts of a map, in the order of its elements.
func (l verdictLists) of(s *Set) []Verdict {
	if s == nil {
		return nil
	}
	list, known := l[s]
	if !known {
		seen := map[Verdict]bool{}
		for _, v := range s.Verdicts {
			if !seen[v] {
				seen[v] = true
				list = append(list, v)
			}
		}
		l[s] = list
	}
	return list
}

// sourceVerdicts are the verdicts of a map that is looked up by source alone.
type sourceVerdicts struct {
	hits []hit  // one for each verdict
	all  Ranges // sources with a verdict
}

// sourceVerdicts returns them for a map and an operand, or nil if elements carry conditions or an
// element takes too many ranges of sources.
func (w *walk) sourceVerdicts(l *preparedSet, o Operand) *sourceVerdicts {
	if len(l.Notes) > 0 {
		return nil
	}
	v, _ := w.derive(keyOfDerived(l.Set, o, true), func(d *deriving) {
		var hits []hit
		var all []Ranges
		for i, box := range l.All() {
			pre, ok := d.preimage(o, box[0])
			// once for its verdict, once for all
			if !d.add(o, 2*pre.Len()) || !ok {
				return
			}
			hits = append(hits, hit{sources: pre, row: i})
			all = append(all, pre)
		}
		d.value = &sourceVerdicts{joinHits(hits, l.Set), unionOf(all)}
	}).(*sourceVerdicts)
	return v
}

// findVerdicts looks a tuple up in a map of verdicts: find, with certain hits of one verdict
// joined, so that a chain to which thousands of elements lead runs once.
func (w *walk) findVerdicts(r reading, l *preparedSet) []hit {
	if l.Width != 1 || len(r.values) != 1 || !r.values[0].source || r.absent != No ||
		l.broken || l.Shrinks || l.Unknown != "" {
		return joinHits(w.find(r, l), l.Set)
	}
	known := w.sourceVerdicts(l, r.values[0].operand)
	if known == nil {
		return joinHits(w.find(r, l), l.Set)
	}
	last := w.found[l.Set]
	if !last.sources.same(r.sources) || last.operand != r.values[0].operand {
		last = verdictsFound{r.sources, r.values[0].operand, known.of(r.sources, l)}
		for _, h := range last.hits {
			w.spendRanges(h.sources.Len() + 1)
		}
		w.spend((known.all.Len() + r.sources.Len()) / 4)
		if w.found == nil {
			w.found = map[*Set]verdictsFound{}
		}
		w.found[l.Set] = last
	}
	return last.hits
}

// verdictsFound are the hits of the last look-up in a map: rules in a row find the same.
type verdictsFound struct {
	sources Ranges
	operand Operand
	hits    []hit
}

// of divides sources by their verdicts.
func (v *sourceVerdicts) of(sources Ranges, l *preparedSet) (out []hit) {
	for _, h := range v.hits {
		if h.sources = h.sources.Intersect(sources); !h.sources.Empty() {
			out = append(out, h)
		}
	}
	rest := hit{sources: sources, row: -1, doubtful: l.Grows}
	if len(out) > 0 {
		rest.sources = sources.Minus(v.all)
	}
	if l.Default {
		rest.row = l.Len()
	}
	if !rest.sources.Empty() {
		out = append(out, rest)
	}
	return out
}
