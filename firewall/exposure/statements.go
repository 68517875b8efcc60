package exposure

import (
	"fmt"
	"maps"
	"slices"

	"github.com/portgrave/portgrave/firewall/address"
)

// statement returns every effect that a statement may have on a flow. Each source has at least one
// branch.
func (w *walk) statement(c *chain, r *rule, at int, f flow) []branch {
	if at == int(r.avoid.at) {
		if branches, ok := w.avoided(r, r.Statements[at], f); ok {
			return branches
		}
	}
	switch s := r.Statements[at].(type) {
	case Match:
		return w.matches(c, r, s, f)
	case Verdict:
		return w.verdict(c, r, s, r.to, f)
	case VerdictMap:
		return w.verdictMap(c, r, s, f)
	case Assign:
		return w.assign(c, r, s, f)
	case NAT:
		return w.translate(c, r, s, f)
	case TProxy:
		return w.proxy(c, r, s, f)
	case NoTrack:
		return []branch{{flow: w.noTrack(f)}}
	case SetUpdate:
		return w.update(c, r, at, s, f)
	case NoEffect:
		return []branch{{flow: w.touched(s, f)}}
	case Unknown:
		if s.Effect {
			return w.anyEffect(c, r, f, s.Text)
		}
		if s.NotStatus != 0 {
			return w.notStatus(c, r, s, f)
		}
		switch {
		case s.Account != "":
			return w.assumedToHold(c, r, f, true, s.Text, assumedNoQuota(s.Account))
		case s.Optional && w.lacks(s.Header, f.packet):
			return []branch{{flow: f, do: toNextRule}}
		case s.Optional:
			return w.assumedToHold(c, r, f, false, s.Text, AssumedNoExtensions)
		}
		return w.mayHoldRate(c, r, f, s.Text, s.Rate)
	}
	return w.anyEffect(c, r, f, "a statement of an unknown kind")
}

// notStatus holds for packets without a connection, and those whose connection has none of the
// bits.
func (w *walk) notStatus(c *chain, r *rule, s Unknown, f flow) []branch {
	bits := f.packet.status
	switch w.noConnection(f.packet) {
	case Yes:
		return []branch{{flow: f}}
	case No:
		switch in := bits.Value.And(bits.Known).And(Number(s.NotStatus)); {
		case !in.IsZero():
			return []branch{{flow: f, do: toNextRule}}
		case Number(s.NotStatus).AndNot(bits.Known).IsZero():
			return []branch{{flow: f}}
		}
	}
	return w.mayHold(c, r, f, s.Text)
}

// mayHold is a condition that may hold or not.
func (w *walk) mayHold(c *chain, r *rule, f flow, what string) []branch {
	return w.mayHoldRate(c, r, f, what, Rate{})
}

// mayHoldRate is mayHold for a condition with a rate.
func (w *walk) mayHoldRate(c *chain, r *rule, f flow, what string, rate Rate) []branch {
	hold, not := f, f
	by := Decider{Rule: r.Rule, Chain: c.Chain, Reason: "not known: " + what, Rate: rate}
	hold.doubts, not.doubts = w.doubt(f.doubts, by, 0), w.doubt(f.doubts, by, 1)
	return []branch{{flow: hold}, {flow: not, do: toNextRule}}
}

// anyEffect is a statement that may have any effect: continue with the next statement, rule or
// chain, accept, or drop; all but drop with any change to the packet.
func (w *walk) anyEffect(c *chain, r *rule, f flow, what string) []branch {
	by := Decider{Rule: r.Rule, Chain: c.Chain, Reason: "unknown: " + what}
	changed := f
	changed.packet = f.packet.afterAnyEffect(addressWidth(w.q.Family), w.phase != afterConntrack)
	// Rules translate only in the NAT hooks, but may write to the packet everywhere.
	branches := []branch{
		{flow: changed},
		{flow: changed, do: toNextRule},
		{flow: changed, do: toAccept, by: by.Reason},
		{flow: f, do: toDrop, by: by.Reason},
		{flow: changed, do: toReturn, by: by.Reason},
	}
	for i := range branches {
		branches[i].doubts = w.doubt(f.doubts, by, i+2)
	}
	return branches
}

// matches splits a flow by a Match.
func (w *walk) matches(c *chain, r *rule, m Match, f flow) []branch {
	if m.In == nil || len(m.Key) == 0 {
		return w.mayHold(c, r, f, "a match without a set")
	}
	l := w.e.prepareSet(m.In)
	readings := w.read(&f, m.Key)
	if len(readings) == 1 {
		if narrowed := w.narrow(c, r, m, l, readings[0], f); narrowed != nil {
			return narrowed
		}
	}
	all := w.decide(readings, m, l)
	if all.perhaps.Empty() || !readsSender(m.Key) || !w.mayAssume(f.packet) {
		return w.split(c, r, f, all, describe(m))
	}
	var usual outcomes
	taken := w.usually(func() { usual = w.decide(w.read(&f, m.Key), m, l) })
	usual, onlyHold, onlyNot := all.usual(usual)
	if onlyHold.Empty() && onlyNot.Empty() {
		return w.split(c, r, f, all, describe(m))
	}
	w.noteAssumptions(taken)
	by := Decider{Rule: r.Rule, Chain: c.Chain, Reason: "not known: " + describe(m)}
	return append(
		w.split(c, r, f, usual, describe(m)),
		w.unusual(f, onlyNot, by, 0, toNextStatement),
		w.unusual(f, onlyHold, by, 1, toNextRule),
	)
}

// decide divides sources by whether a match holds in some readings.
func (w *walk) decide(readings []reading, m Match, l *preparedSet) (d outcomes) {
	for _, rd := range readings {
		mayBeAbsent := rd.absent == Maybe
		if m.Not && mayBeAbsent {
			rd.absent = No // where the value is in the set, it doesn't hold either way
		}
		in, maybe := w.match(rd, l)
		out := rd.sources.Minus(in).Minus(maybe)
		if m.Not && rd.absent != Yes {
			in, out = out, in
			if mayBeAbsent {
				maybe, in = maybe.Union(in), Ranges{}
			}
		}
		d.hold, d.not = d.hold.Union(in), d.not.Union(out)
		d.perhaps = d.perhaps.Union(maybe)
	}
	// Sources with different results in several readings go both ways.
	d.perhaps = d.perhaps.Union(d.hold.Intersect(d.not))
	d.hold, d.not = d.hold.Minus(d.perhaps), d.not.Minus(d.perhaps)
	w.spendRanges(d.hold.Len() + d.not.Len() + d.perhaps.Len())
	return d
}

// describe names a match, for the reason of an unknown.
func describe(m Match) string {
	s := ""
	for i, o := range m.Key {
		if i > 0 {
			s += " . "
		}
		s += o.words()
	}
	if m.In != nil && m.In.Name != "" {
		s += " @" + m.In.Name
	}
	if m.In != nil && m.In.Unknown != "" {
		s += " (" + m.In.Unknown + ")"
	}
	return s
}

// split makes branches from a flow's sources.
func (w *walk) split(c *chain, r *rule, f flow, d outcomes, what string) []branch {
	var out []branch
	part := func(sources Ranges, do action) {
		if !sources.Empty() {
			b := branch{flow: f, do: do}
			b.sources = sources
			out = append(out, b)
		}
	}
	if d.perhaps.Empty() && d.not.Empty() && !d.hold.Empty() {
		return []branch{{flow: f}}
	}
	part(d.hold, toNextStatement)
	part(d.not, toNextRule)
	if d.perhaps.Empty() {
		return out
	}
	g := f
	g.sources = d.perhaps
	return append(out, w.mayHold(c, r, g, what)...)
}

// maxNarrowed is the most ranges that one match may cut a destination, port or source port into.
const maxNarrowed = 8

// narrow splits a flow by a value that is followed as a range (the client's port, one of the host's
// addresses), so that later rules don't contradict this one. It is nil for other matches.
func (w *walk) narrow(c *chain, r *rule, m Match, l *preparedSet, rd reading, f flow) []branch {
	if len(m.Key) != 1 || l.broken || l.Width != 1 || !l.loose.Empty() || l.Grows || l.Shrinks ||
		l.Unknown != "" ||
		rd.absent != No ||
		rd.values[0].source {
		return nil
	}
	o := m.Key[0]
	if !o.asIs() {
		return nil
	}
	field := w.mirrored(o.Field)
	switch field {
	case FieldSport, FieldDport, FieldDest4, FieldDest6:
	default:
		return nil
	}
	v := rd.values[0].view
	if t := v.inAny(l.flat); t != Maybe {
		return nil
	}
	whole := NewRanges(v.within)
	in, out := whole.Intersect(l.flat), whole.Minus(l.flat)
	if in.Len()+out.Len() > maxNarrowed {
		return nil
	}
	if m.Not {
		in, out = out, in
	}
	by := Decider{Rule: r.Rule, Chain: c.Chain, Reason: "not known: " + describe(m)}
	usual := NewRanges(v.within)
	var taken []string
	if field == FieldSport && w.mayAssume(f.packet) {
		taken = w.usually(func() { usual = NewRanges(w.usualPorts(f.packet)) })
	}
	doubtful := !in.Intersect(usual).Empty() && !out.Intersect(usual).Empty()
	var branches []branch
	add := func(ranges Ranges, do action, branchNumber int) {
		for x := range ranges.All() {
			p := *f.packet
			p.narrow(field, x)
			b := branch{flow: f, do: do}
			b.packet = &p
			if NewRanges(x).Intersect(usual).Empty() {
				p.unusual = true
				w.noteAssumptions(taken)
			}
			if doubtful || p.unusual {
				b.doubts = w.doubt(f.doubts, by, branchNumber)
			}
			branches = append(branches, b)
		}
	}
	add(in, toNextStatement, 0)
	add(out, toNextRule, 1)
	return branches
}

// narrow records that a field lies in a range.
func (p *packet) narrow(f Field, r Range) {
	switch f {
	case FieldSport:
		p.sport = r
	case FieldDport:
		was := p.now.port
		p.now.port = r
		if p.orig.port == was && !p.moved {
			p.orig.port, p.reply.port = r, r
		}
	default:
		was := p.now.addr
		p.now.addr = r
		if p.orig.addr == was && !p.moved {
			p.orig.addr, p.reply.addr = r, r
		}
	}
}

// verdict applies a verdict.
func (w *walk) verdict(c *chain, r *rule, v Verdict, to *chain, f flow) []branch {
	b := branch{flow: f, by: v.String()}
	switch v.Kind {
	case VerdictContinue:
		b.do = toNextStatement
	case VerdictAccept:
		b.do = toAccept
	case VerdictDrop, VerdictStolen:
		b.do = toDrop
	case VerdictReject:
		b.do = toReject
	case VerdictReturn:
		b.do = toReturn
	case VerdictJump:
		b.do, b.to = toJump, to
	case VerdictGoto:
		b.do, b.to = toGoto, to
	case VerdictQueue:
		var out []branch
		for _, x := range w.anyEffect(c, r, f, b.by) {
			if x.do == toAccept || x.do == toDrop {
				out = append(out, x)
			}
		}
		return out
	default:
		return w.anyEffect(c, r, f, "a verdict of an unknown kind")
	}
	return []branch{b}
}

// String is nft's words for the verdict.
func (v Verdict) String() string {
	s := v.Kind.String()
	if v.Chain != "" {
		s += " " + v.Chain
	}
	if v.With != "" {
		s += " with " + v.With
	}
	return s
}

// verdictMap looks a verdict up.
func (w *walk) verdictMap(c *chain, r *rule, m VerdictMap, f flow) []branch {
	if m.In == nil || len(m.Key) == 0 || m.In.Verdicts == nil && m.In.Len() > 0 {
		return w.anyEffect(c, r, f, "a verdict map without verdicts")
	}
	l := w.e.prepareSet(m.In)
	if l.broken || l.Unknown != "" {
		return w.anyEffect(c, r, f, "verdict map "+m.In.Name+": "+l.Unknown)
	}
	all := w.verdictsIn(m, l, f)
	if !slices.ContainsFunc(all, func(h hit) bool { return h.doubtful }) || !readsSender(m.Key) ||
		!w.mayAssume(f.packet) {
		return w.applyVerdicts(c, r, m, l, f, all, 2)
	}
	var usual []hit
	taken := w.usually(func() { usual = w.verdictsIn(m, l, f) })
	if sameVerdicts(m.In, usual, all) {
		return w.applyVerdicts(c, r, m, l, f, all, 2)
	}
	w.noteAssumptions(taken)
	// Other packets may meet any verdict, also those that ordinary ones meet.
	p := *f.packet
	p.unusual = true
	other := f
	other.packet = &p
	return append(w.applyVerdicts(c, r, m, l, f, usual, 2),
		w.applyVerdicts(c, r, m, l, other, all, 2+len(usual))...)
}

// verdictsIn looks a flow up in a map of verdicts.
func (w *walk) verdictsIn(m VerdictMap, l *preparedSet, f flow) (out []hit) {
	for _, rd := range w.read(&f, m.Key) {
		for _, h := range w.findVerdicts(rd, l) {
			h.doubtful = h.doubtful || rd.doubtful
			out = append(out, h)
		}
	}
	return out
}

// foundVerdict is what a look-up in a map of verdicts may find, or that it finds nothing.
type foundVerdict struct {
	Verdict
	none bool
}

// sameVerdicts reports whether two look-ups may find the same for every source.
func sameVerdicts(s *Set, a, b []hit) bool {
	bySource := func(hits []hit) map[foundVerdict]Ranges {
		out := map[foundVerdict]Ranges{}
		for _, h := range hits {
			v := foundVerdict{none: h.row < 0}
			if !v.none {
				v.Verdict = s.Verdicts[h.row]
			}
			out[v] = out[v].Union(h.sources)
		}
		return out
	}
	return maps.EqualFunc(bySource(a), bySource(b), Ranges.Equal)
}

// applyVerdicts are the branches of what was found in a map of verdicts, with doubts numbered from
// a number on.
func (w *walk) applyVerdicts(
	c *chain, r *rule, m VerdictMap, l *preparedSet, f flow, hits []hit, number int,
) []branch {
	var out []branch
	by := Decider{
		Rule:   r.Rule,
		Chain:  c.Chain,
		Reason: "not known: " + describe(Match{Key: m.Key, In: m.In}),
	}
	for _, h := range hits {
		g := f
		g.sources = h.sources
		if h.doubtful {
			g.doubts = w.doubt(f.doubts, by, number)
			number++
		}
		if h.row < 0 {
			out = append(out, branch{flow: g, do: toNextRule})
		} else {
			v := m.In.Verdicts[h.row]
			out = append(out, w.verdict(c, r, v, w.e.chains[c.table.Chain(v.Chain)], g)...)
		}
		if l.Grows && (h.row < 0 || h.row == l.Len()) {
			out = append(out, w.anyEffect(c, r, g, "verdict map "+m.In.Name+" grows")...)
		}
		if len(out) > 4*maxReadings {
			return w.anyEffect(c, r, f, "a verdict map with too many answers")
		}
	}
	return out
}

// joinHits joins certain hits with the same verdict, so that a chain to which thousands of elements
// lead runs once.
func joinHits(hits []hit, m *Set) []hit {
	var out []hit
	at := map[Verdict]int{}
	var sources [][]Ranges
	for _, h := range hits {
		if h.doubtful || h.row < 0 || h.row >= m.Len() {
			out, sources = append(out, h), append(sources, nil)
			continue
		}
		v := m.Verdicts[h.row]
		i, seen := at[v]
		if !seen {
			i = len(out)
			at[v] = i
			out, sources = append(out, h), append(sources, nil)
		}
		sources[i] = append(sources[i], h.sources)
	}
	for i, s := range sources {
		if len(s) > 1 {
			out[i].sources = unionOf(s)
		}
	}
	return out
}

// noTrack keeps packets without a template out of conntrack, if they haven't passed it yet.
func (w *walk) noTrack(f flow) flow {
	p := *f.packet
	switch {
	case w.phase == afterConntrack || p.template == Yes:
		return f
	case w.phase == beforeConntrack && p.template == No:
		p.track = untracked
	case p.track == tracked:
		p.track = perhapsTracked
	}
	f.packet = &p
	return f
}

// isFour reports whether the question is about IPv4.
func (w *walk) isFour() bool { return w.q.Family == address.IPv4 }

// alternatives makes a branch for each possible packet, with a doubt if there are several.
func (w *walk) alternatives(
	c *chain,
	r *rule,
	f flow,
	what string,
	packets []*packet,
	do action,
	by []string, // what is done, for each packet
) []branch {
	var out []branch
	pick := w.pick(len(packets))
	for i, p := range packets {
		if pick >= 0 && i != pick ||
			slices.ContainsFunc(packets[:i], func(o *packet) bool { return *o == *p }) {
			continue
		}
		b := branch{flow: f, do: do, by: by[i]}
		b.packet = p
		if len(packets) > 1 {
			b.doubts = w.doubt(
				f.doubts,
				Decider{Rule: r.Rule, Chain: c.Chain, Reason: fmt.Sprintf("not known: %s", what)},
				i+2,
			)
		}
		out = append(out, b)
	}
	return out
}
