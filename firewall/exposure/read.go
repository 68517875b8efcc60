package exposure

import "reflect"

// reading is one way that a tuple of operands may come out for some sources.
type reading struct {
	sources Ranges
	values  []operandValue
	// absent: one of the operands is, so that the statement doesn't hold.
	absent Tri
	// doubtful: for these sources it may come out in another way too.
	doubtful bool
	hits     []pastHit
}

// operandValue is an operand's value: the source address, transformed, or what is known of any other.
type operandValue struct {
	source  bool
	operand Operand
	view    view
}

// pastHit is what a look-up came to in this reading: two operands that are columns of one look-up agree on it.
type pastHit struct {
	lookup *Lookup
	hit    hit
}

const (
	// maxReadings bounds the ways that a tuple may come out; beyond, everything that more than one value is possible for is unknown.
	maxReadings = 256
	// maxNested bounds look-ups in look-ups.
	maxNested = 4
)

// read is every way that a tuple of operands may come out for a flow. For each source there is at least one.
func (w *walk) read(f *flow, key []Operand) []reading {
	if len(key) == 1 && key[0].Field != FieldMap && key[0].Field != FieldFib { // nearly all
		v := w.operand(f.packet, key[0])
		return []reading{{sources: f.sources, values: []operandValue{v}, absent: v.view.absent}}
	}
	return w.readNested(f, f.sources, key, 0)
}

func (w *walk) readNested(f *flow, sources Ranges, key []Operand, depth int) []reading {
	readings := []reading{{sources: sources}}
	for _, o := range key {
		var next []reading
		for _, r := range readings {
			next = append(next, w.extend(f, r, o, depth)...)
		}
		if len(next) > maxReadings {
			next = nil
			for _, r := range readings {
				next = append(next, r.with(operandValue{view: anything(o.Width()).doubtful()}))
			}
		}
		readings = next
	}
	return readings
}

// with adds a value.
func (r reading) with(v operandValue) reading {
	r.values = append(r.values[:len(r.values):len(r.values)], v)
	r.absent = r.absent.Or(v.view.absent)
	return r
}

// extend adds an operand's value to a reading, in every way that it may come out.
func (w *walk) extend(f *flow, r reading, o Operand, depth int) []reading {
	switch {
	case o.Field == FieldFib:
		return w.extendFib(f, r, o)
	case o.Field != FieldMap:
		return []reading{r.with(w.operand(f.packet, o))}
	case o.Lookup == nil || o.Lookup.In == nil || depth >= maxNested:
		return []reading{r.with(operandValue{view: anything(o.Width()).doubtful()})}
	}
	for _, p := range r.hits {
		if p.lookup.In == o.Lookup.In && reflect.DeepEqual(p.lookup.Key, o.Lookup.Key) {
			return []reading{r.with(w.e.datum(p.hit, o))}
		}
	}
	l := w.e.set(o.Lookup.In)
	unknown := hit{row: -2, doubtful: true} // any value
	if l.broken || l.Unknown != "" {
		unknown.sources = r.sources
		return []reading{r.chosen(unknown, o, w.e.datum(unknown, o))}
	}
	var out []reading
	for _, k := range w.readNested(f, r.sources, o.Lookup.Key, depth+1) {
		for _, h := range w.find(k, l) {
			h.doubtful = h.doubtful || k.doubtful
			out = append(out, r.chosen(h, o, w.e.datum(h, o)))
			if l.Grows && h.row < 0 {
				unknown.sources = h.sources
				out = append(out, r.chosen(unknown, o, w.e.datum(unknown, o)))
			}
			if len(out) > maxReadings {
				return out // so many that they are condensed anyway
			}
		}
	}
	return out
}

// chosen is the reading in which a look-up came to a hit.
func (r reading) chosen(h hit, o Operand, v operandValue) reading {
	r.sources = h.sources
	r.doubtful = r.doubtful || h.doubtful
	r.hits = append(r.hits[:len(r.hits):len(r.hits)], pastHit{o.Lookup, h})
	return r.with(v)
}

// datum is what a hit means to an operand.
func (e *Evaluator) datum(h hit, o Operand) operandValue {
	set := o.Lookup.In
	switch {
	case h.row == -1:
		return operandValue{view: missing(o.Width())}
	case h.row < 0 || set.DataWidth <= 0 || o.Lookup.Column < 0 || o.Lookup.Column >= set.DataWidth || (h.row+1)*set.DataWidth > len(set.Data):
		return operandValue{view: anything(o.Width()).doubtful()}
	}
	return operandValue{view: sure(set.Row(h.row)[o.Lookup.Column], o.Width()).through(o)}
}

// operand is an operand's value, but for those that need a look-up.
func (w *walk) operand(p *packet, o Operand) operandValue {
	v := operandValue{operand: o}
	var absent Tri
	if v.source, absent = w.isSource(p, o.Field); v.source {
		v.view = view{width: o.Width(), absent: absent}
		return v
	}
	v.view = w.field(p, o).through(o)
	return v
}

// isSource reports whether a field is the address that the question asks about, and whether it may be absent.
func (w *walk) isSource(p *packet, f Field) (bool, Tri) {
	four := addressWidth(w.q.Family) == 32
	switch f = w.mirrored(f); f {
	case FieldSource4:
		return four && p.headerSource == sourceOwn, No
	case FieldSource6:
		return !four && p.headerSource == sourceOwn, No
	case FieldCTOrigSource4:
		return four && p.origSource == sourceOwn && w.noConnection(p) != Yes, w.noConnection(p)
	case FieldCTOrigSource6:
		return !four && p.origSource == sourceOwn && w.noConnection(p) != Yes, w.noConnection(p)
	case FieldCTReplyDest4:
		return four && p.replySource == sourceOwn && w.noConnection(p) != Yes, w.noConnection(p)
	case FieldCTReplyDest6:
		return !four && p.replySource == sourceOwn && w.noConnection(p) != Yes, w.noConnection(p)
	}
	return false, No
}

// noConnection reports whether the packet has no connection where the walk is.
func (w *walk) noConnection(p *packet) Tri {
	switch {
	case w.phase == beforeConntrack || p.track == untracked || p.track == strayed:
		return Yes
	case w.phase == atConntrack || p.track == perhapsTracked:
		return Maybe
	}
	return No
}
