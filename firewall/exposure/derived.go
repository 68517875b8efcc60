package exposure

// What follows derives sources from a set and an operand: those whose values are in the set, or get
// a map's verdicts. Thousands of rules may look up one set, each with another operand, and a list of
// a million elements takes as many steps each time. So a question pays for what it derives whether
// another question derived it before or not, and what is kept is bounded.

// derivedKey names what is derived from a set and an operand, a transformed source address.
type derivedKey struct {
	set        *Set
	width      int
	shift      int
	clear, xor Value
	verdicts   bool // sourceVerdicts; otherwise preimages
}

func keyOfDerived(s *Set, o Operand, verdicts bool) derivedKey {
	return derivedKey{s, o.Width(), o.Shift, o.Clear, o.Xor, verdicts}
}

// derived is the result, and what it costs. The result is nil if it takes too many ranges.
type derived struct {
	value  any
	ranges int
	work   int
}

// deriving counts what a derivation has cost so far.
type deriving struct {
	derived
	limit int // of work and ranges
}

const (
	// costOverhead is what is kept at least, in ranges.
	costOverhead = 8
	// costPreimage is the work for an element where bits are followed one by one. Each of its ranges
	// is made and sorted.
	costPreimage = 32
)

// add counts an element and its ranges. It is false beyond the limit.
func (d *deriving) add(o Operand, ranges int) bool {
	d.work += 1 + ranges
	if !o.asIs() && !o.isPrefixMask() {
		d.work += costPreimage + 3*ranges
	}
	d.ranges += ranges
	return d.work <= d.limit
}

// preimage counts the work of a preimage that takes too many ranges.
func (d *deriving) preimage(o Operand, r Range) (Ranges, bool) {
	p, ok := o.Preimage(r)
	if !ok {
		d.work += maxPreimage
	}
	return p, ok
}

// derive derives something for a question, or returns nil. It counts once for each question, or at
// each use beyond maxDerived.
func (w *walk) derive(k derivedKey, compute func(*deriving)) any {
	v, known := w.derived[k]
	if known {
		return v
	}
	d := w.e.derive(k, max(w.limit-w.work, 0), compute)
	w.spend(d.work)
	w.spendRanges(d.ranges)
	if w.tooFar {
		return nil
	}
	if n := d.ranges + costOverhead; w.derivedRanges+n <= w.e.maxDerived {
		if w.derived == nil {
			w.derived = map[derivedKey]any{}
		}
		w.derived[k] = d.value
		w.derivedRanges += n
	}
	return d.value
}

// derive derives something within a limit, or recalls it.
func (e *Evaluator) derive(k derivedKey, limit int, compute func(*deriving)) derived {
	e.mu.Lock()
	known, ok := e.derived[k]
	e.mu.Unlock()
	if ok {
		return known
	}
	d := deriving{limit: limit}
	compute(&d)
	if d.value == nil {
		d.ranges = 0 // none are kept
	}
	if d.work > limit {
		return derived{work: d.work}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	n := d.ranges + costOverhead
	if _, ok := e.derived[k]; !ok && e.derivedRanges+n <= e.maxDerived {
		e.derived[k] = d.derived
		e.derivedRanges += n
	}
	return d.derived
}
