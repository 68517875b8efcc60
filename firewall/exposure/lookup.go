package exposure

import (
	"slices"
	"sync"
)

// preparedSet is a Set prepared for evaluation.
type preparedSet struct {
	*Set
	// flat are the elements of a set of one column that carry no condition, loose those that do.
	flat, loose Ranges
	broken      bool // its parts don't fit together, so it is taken as unknown
	// byValue finds elements by a column's value, for large sets of several columns: the elements
	// with a single value there, by value, and the rest. It is built on first use, as it takes
	// several times the memory of the elements. column is −1 if there is none.
	indexed sync.Once
	column  int
	byValue map[Value][]int
	rest    []int
}

// maxPlain is the largest set of several columns, or map, whose elements are tried one by one.
const maxPlain = 32

// maxPeeked is the largest set that is prepared again where it isn't needed for long.
const maxPeeked = 4

// peekSet prepares a set for a moment. A hundred thousand rules have as many sets of one address,
// which mostly aren't needed again.
func (e *Evaluator) peekSet(s *Set) *preparedSet {
	if s.Name != "" || s.Len() > maxPeeked {
		return e.prepareSet(s)
	}
	return newPreparedSet(s)
}

// prepareSet prepares a set, once.
func (e *Evaluator) prepareSet(s *Set) *preparedSet {
	e.mu.Lock()
	defer e.mu.Unlock()
	if l := e.sets[s]; l != nil {
		return l
	}
	l := newPreparedSet(s)
	e.sets[s] = l
	return l
}

func newPreparedSet(s *Set) *preparedSet {
	l := &preparedSet{Set: s, column: -1}
	rows := s.Len()
	if s.Default {
		rows++
	}
	l.broken = s.Width <= 0 || len(s.Keys)%s.Width != 0 ||
		s.Verdicts != nil && len(s.Verdicts) < rows ||
		s.DataWidth < 0 ||
		s.DataWidth > 0 && len(s.Data) < rows*s.DataWidth
	if l.broken || s.Width != 1 {
		return l
	}
	if len(s.Notes) == 0 {
		l.flat = s.column()
		return l
	}
	var flat, loose rangesBuilder
	for i, r := range s.Keys {
		if s.Notes[i].Condition != "" {
			loose.add(r)
		} else {
			flat.add(r)
		}
	}
	l.flat, l.loose = flat.ranges(), loose.ranges()
	return l
}

// index picks the column with the most different single values.
func (l *preparedSet) index() {
	for c := range l.Width {
		values, rest := map[Value][]int{}, []int(nil)
		for i, box := range l.All() {
			if box[c].From == box[c].To {
				values[box[c].From] = append(values[box[c].From], i)
			} else {
				rest = append(rest, i)
			}
		}
		if len(values) > len(l.byValue) {
			l.column, l.byValue, l.rest = c, values, rest
		}
	}
}

// candidates are the elements that a reading may hit, or all if they can't be narrowed.
func (l *preparedSet) candidates(r reading) (some []int, all bool) {
	if l.Len() <= maxPlain ||
		!slices.ContainsFunc(r.values, func(c operandValue) bool { return !c.source }) {
		return nil, true
	}
	if l.indexed.Do(l.index); l.column < 0 || r.values[l.column].source {
		return nil, true
	}
	v, ok := r.values[l.column].view.single()
	if !ok {
		return nil, true
	}
	some = l.byValue[v]
	if len(l.rest) > 0 {
		some = append(slices.Clone(some), l.rest...)
	}
	return some, false
}

// match returns the sources whose tuple is in the set, and those whose tuple may be.
func (w *walk) match(r reading, l *preparedSet) (in, maybe Ranges) {
	switch {
	case r.absent == Yes:
		return Ranges{}, Ranges{}
	case l.broken || len(r.values) != l.Width || l.Unknown != "":
		return Ranges{}, r.sources
	case l.Width == 1 && !r.values[0].source:
		t := r.values[0].view.inAny(l.flat)
		if t != Yes && !l.loose.Empty() {
			t = t.Or(r.values[0].view.inAny(l.loose.Union(l.flat)).And(Maybe))
		}
		in, maybe = r.all(t)
	case l.Width == 1:
		o := r.values[0].operand
		flat, ok := w.preimage(l, o)
		if !ok {
			in, maybe = w.tryEach(r.sources, func(v Value) Tri {
				switch v = o.Apply(v); {
				case l.flat.Contains(v):
					return Yes
				case l.loose.Contains(v):
					return Maybe
				}
				return No
			})
			break
		}
		in = r.sources.Intersect(flat.sure)
		if !flat.loose.Empty() {
			maybe = r.sources.Intersect(flat.loose).Minus(in)
		}
		w.spendRanges(in.Len())
	default:
		in, maybe = w.matchBoxes(r, l)
	}
	return l.allowForUpdates(r, in, maybe)
}

// maxEach bounds the ranges of sources that are tried one by one.
const maxEach = 64

// tryEach divides sources that are few single addresses, as explain's, by an outcome for each. All
// others are maybe.
func (w *walk) tryEach(sources Ranges, outcome func(Value) Tri) (in, maybe Ranges) {
	if sources.Len() > maxEach {
		return Ranges{}, sources
	}
	var sure, perhaps rangesBuilder
	for r := range sources.All() {
		t := Maybe
		if r.From == r.To {
			t = outcome(r.From)
		}
		switch t {
		case Yes:
			sure.add(r)
		case Maybe:
			perhaps.add(r)
		}
	}
	w.spendRanges(sources.Len())
	return sure.ranges(), perhaps.ranges()
}

// all returns every source of the reading as in, as maybe, or none.
func (r reading) all(t Tri) (in, maybe Ranges) {
	switch t {
	case Yes:
		return r.sources, Ranges{}
	case Maybe:
		return Ranges{}, r.sources
	}
	return Ranges{}, Ranges{}
}

// allowForUpdates accounts for packets that may have changed the set since it was read, and for a
// value that may be absent.
func (l *preparedSet) allowForUpdates(r reading, in, maybe Ranges) (Ranges, Ranges) {
	if l.Grows {
		maybe = r.sources.Minus(in)
	}
	if l.Shrinks || r.absent == Maybe {
		in, maybe = Ranges{}, in.Union(maybe)
	}
	return in, maybe
}

func (w *walk) matchBoxes(r reading, l *preparedSet) (in, maybe Ranges) {
	var sure, perhaps rangesBuilder
	w.elements(r, l, func(i int, sources Ranges, t Tri) {
		if t == Yes {
			sure.addAll(sources)
		} else {
			perhaps.addAll(sources)
		}
	})
	in = sure.ranges()
	return in, perhaps.ranges().Minus(in)
}

// elements calls f for each element that the tuple hits or may hit, with the sources concerned.
func (w *walk) elements(r reading, l *preparedSet, f func(i int, sources Ranges, t Tri)) {
	one := func(i int) {
		t, sources := Yes, r.sources
		for c, key := range l.Element(i) {
			v := r.values[c]
			if !v.source {
				t = t.And(v.view.in(key))
			} else if pre, ok := v.operand.Preimage(key); ok {
				sources = sources.Intersect(pre)
				w.spendRanges(pre.Len() + 4)
			} else if w.spend(maxPreimage); w.tooFar {
				return
			} else if in, maybe := w.tryEach(sources, func(x Value) Tri {
				return triFromBool(key.Contains(v.operand.Apply(x)))
			}); maybe.Empty() {
				sources = in
			} else {
				sources, t = in.Union(maybe), t.And(Maybe)
			}
			if t == No || sources.Empty() {
				return
			}
		}
		if l.Notes[i].Condition != "" {
			t = Maybe
		}
		w.spendRanges(sources.Len() + 1)
		f(i, sources, t)
	}
	some, all := l.candidates(r)
	if !all {
		w.spend(len(some))
		for _, i := range some {
			one(i)
		}
		return
	}
	w.spend(l.Len())
	for i := 0; i < l.Len() && !w.tooFar; i++ {
		one(i)
	}
}

// preimages are the sources for which an operand is in a set.
type preimages struct{ sure, loose Ranges }

// preimage returns the sources for which the operand, a transformed source address, is in the set.
// It is false if they take too many ranges.
func (w *walk) preimage(l *preparedSet, o Operand) (preimages, bool) {
	if o.asIs() {
		return preimages{l.flat, l.loose}, true
	}
	p, ok := w.derive(keyOfDerived(l.Set, o, false), l.preimage(o)).(preimages)
	return p, ok
}

// preimage is walk.preimage, for rules that are prepared. It is also false once that took too much
// work: such rules run one by one, and questions pay.
func (e *Evaluator) preimage(l *preparedSet, o Operand) (preimages, bool) {
	if o.asIs() {
		return preimages{l.flat, l.loose}, true
	}
	left := max(e.maxPreparing-e.preparing.Load(), 0)
	d := e.derive(keyOfDerived(l.Set, o, false), int(left), l.preimage(o))
	e.preparing.Add(int64(d.work))
	p, ok := d.value.(preimages)
	return p, ok
}

// preimage derives preimages.
func (l *preparedSet) preimage(o Operand) func(*deriving) {
	return func(d *deriving) {
		sure, ok := preimageOf(o, l.flat, d)
		if !ok {
			return
		}
		if loose, ok := preimageOf(o, l.loose, d); ok {
			d.value = preimages{sure, loose}
		}
	}
}

func preimageOf(o Operand, s Ranges, d *deriving) (Ranges, bool) {
	if o.isPrefixMask() { // as in sets by prefix length, which may hold a million
		if !d.add(o, s.Len()) {
			return Ranges{}, false
		}
		return prefixPreimage(o, s), true
	}
	var out rangesBuilder
	n := 0
	for r := range s.All() {
		p, ok := d.preimage(o, r)
		if n += p.Len(); !d.add(o, p.Len()) || !ok || n > 64*maxPreimage {
			return Ranges{}, false
		}
		out.addAll(p)
	}
	return out.ranges(), true
}

// hit is one result that a look-up in a map may have.
type hit struct {
	sources  Ranges
	row      int // -1: nothing
	doubtful bool
}

// find looks a tuple up in a map. It returns every row that may be found, and a hit without a row
// where nothing may be found. Each source has at least one hit.
func (w *walk) find(r reading, l *preparedSet) []hit {
	if r.absent == Yes {
		return []hit{{sources: r.sources, row: -1}}
	}
	var out []hit
	if l.broken || len(r.values) != l.Width {
		return []hit{{r.sources, -1, true}}
	}
	doubtful := l.Unknown != "" || l.Shrinks || r.absent == Maybe
	var sures, maybes rangesBuilder
	w.elements(r, l, func(i int, sources Ranges, t Tri) {
		if doubtful {
			t = Maybe
		}
		out = append(out, hit{sources, i, t != Yes})
		if t == Yes {
			sures.addAll(sources)
		} else {
			maybes.addAll(sources)
		}
	})
	sure, perhaps := sures.ranges(), maybes.ranges()
	// If every value that the tuple can have is an element, something is found, though it isn't
	// known which.
	if l.Width == 1 && !doubtful && !r.values[0].source && r.values[0].view.inAny(l.flat) == Yes {
		return out
	}
	row := -1
	if l.Default {
		row = l.Len()
	}
	rest := r.sources.Minus(sure)
	certain := rest.Minus(perhaps)
	if l.Unknown != "" || l.Grows {
		certain = Ranges{}
	}
	if r.absent == Maybe && row >= 0 {
		out = append(out, hit{r.sources, -1, true})
	}
	if perhaps = rest.Minus(certain); !perhaps.Empty() {
		out = append(out, hit{perhaps, row, true})
	}
	if !certain.Empty() {
		out = append(out, hit{certain, row, doubtful})
	}
	return out
}
