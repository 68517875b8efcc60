package exposure

import "slices"

// update adds to a set or removes from it. The packet goes on unless the set is full or a condition
// of the element stops it.
func (w *walk) update(c *chain, r *rule, at int, s SetUpdate, f flow) []branch {
	var out []branch
	rest := Ranges{}
	for _, rd := range w.read(&f, s.Key) {
		g := f
		g.sources = rd.sources
		switch {
		case rd.absent == Yes:
			out = append(out, branch{flow: g, do: toNextRule})
		case rd.absent == Maybe:
			out = append(out, w.mayHold(c, r, g, "the elements of a set update")...)
		default:
			rest = rest.Union(rd.sources)
		}
	}
	if rest.Empty() {
		return out
	}
	f.sources = rest
	switch {
	case s.Condition != "":
		return append(out, w.mayHoldRate(c, r, f, s.Condition, s.perElement())...)
	case !s.EndsWhenFull || s.Op != SetAdd || s.Set == nil || s.Set.Size == 0,
		r.doesNothingAfter(at): // full or not, the next rule is next
		return append(out, branch{flow: f})
	}
	what := "whether set " + s.Set.Name + " is full"
	if s.Set.Len() >= s.Set.Size {
		return append(out, w.mayHold(c, r, f, what)...)
	}
	// Other packets may fill it at any time.
	return append(out, w.assumedToHold(
		c, r, f, true, what, "set "+s.Set.Name+" has room for one more element",
	)...)
}

// doesNothingAfter reports whether no statement behind one matters.
func (r *rule) doesNothingAfter(at int) bool {
	return !slices.ContainsFunc(r.Statements[at+1:], func(s Statement) bool {
		_, nothing := s.(NoEffect)
		return !nothing
	})
}
