package exposure

import "reflect"

// reading is one result of reading a tuple of operands, for some sources.
type reading struct {
	sources Ranges
	values  []operandValue
	// absent: an operand is absent, so the statement doesn't hold.
	absent Tri
	// doubtful: other readings are possible for these sources.
	doubtful bool
	hits     []pastHit
}

// operandValue is an operand's value: the transformed source address, or what is known of another
// field.
type operandValue struct {
	source  bool
	operand Operand
	view    view
}

// pastHit is the result of a look-up in this reading. Operands that are columns of one look-up
// agree on it.
type pastHit struct {
	lookup *Lookup
	hit    hit
}

const (
	// maxReadings bounds the readings of a tuple. Beyond it, every operand with more than one
	// possible value is unknown.
	maxReadings = 256
	// maxNested bounds look-ups in look-ups.
	maxNested = 4
)

// read returns every reading of a tuple of operands for a flow. Each source has at least one.
func (w *walk) read(f *flow, key []Operand) []reading {
	if len(key) == 1 && key[0].Field != FieldMap && key[0].Field != FieldFib { // the common case
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
				next = append(next, r.with(operandValue{view: anyValue(o.Width()).maybeAbsent()}))
			}
		}
		readings = next
	}
	return readings
}

// with adds a value to a reading.
func (r reading) with(v operandValue) reading {
	r.values = append(r.values[:len(r.values):len(r.values)], v)
	r.absent = r.absent.Or(v.view.absent)
	return r
}

// extend adds an operand to a reading: a reading for each value that it may have.
func (w *walk) extend(f *flow, r reading, o Operand, depth int) []reading {
	switch {
	case o.Field == FieldFib:
		return w.extendFib(f, r, o)
	case o.Field != FieldMap:
		return []reading{r.with(w.operand(f.packet, o))}
	case o.Lookup == nil || o.Lookup.In == nil || depth >= maxNested:
		return []reading{r.with(operandValue{view: anyValue(o.Width()).maybeAbsent()})}
	}
	for _, p := range r.hits {
		if p.lookup.In == o.Lookup.In && reflect.DeepEqual(p.lookup.Key, o.Lookup.Key) {
			return []reading{r.with(w.e.datum(p.hit, o))}
		}
	}
	l := w.e.prepareSet(o.Lookup.In)
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
				return out // they will be condensed anyway
			}
		}
	}
	return out
}

// chosen is the reading with a look-up's result.
func (r reading) chosen(h hit, o Operand, v operandValue) reading {
	r.sources = h.sources
	r.doubtful = r.doubtful || h.doubtful
	r.hits = append(r.hits[:len(r.hits):len(r.hits)], pastHit{o.Lookup, h})
	return r.with(v)
}

// datum is an operand's value for a hit.
func (e *Evaluator) datum(h hit, o Operand) operandValue {
	set := o.Lookup.In
	switch {
	case h.row == -1:
		return operandValue{view: absentValue(o.Width())}
	case h.row < 0 || set.DataWidth <= 0 || o.Lookup.Column < 0 ||
		o.Lookup.Column >= set.DataWidth || (h.row+1)*set.DataWidth > len(set.Data):
		return operandValue{view: anyValue(o.Width()).maybeAbsent()}
	}
	return operandValue{view: exactly(set.Row(h.row)[o.Lookup.Column], o.Width()).through(o)}
}

// operand is the value of an operand that needs no look-up.
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

// isSource reports whether a field is the address that the question is about, and whether it may be
// absent.
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

// noConnection reports whether the packet has no connection at this point.
func (w *walk) noConnection(p *packet) Tri {
	switch {
	case w.phase == beforeConntrack || p.track == untracked || p.track == connectionNotFound:
		return Yes
	case w.phase == atConntrack || p.track == perhapsTracked:
		return Maybe
	}
	return No
}
