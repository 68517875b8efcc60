package exposure

import (
	"container/heap"
	"fmt"
	"iter"
	"slices"
	"sort"

	"github.com/portgrave/portgrave/firewall/address"
)

// Fail2ban and similar programs write thousands of rules that drop one source each. Run one by one,
// each would cut a piece out of an ever larger list of ranges. So rules are prepared that test only
// the source, after conditions that are equal for all sources, and that end with a verdict.
// Neighbours with equal conditions form a run, which is evaluated in one step. Other plain rules
// that follow each other become a run for one question, of those whose conditions hold
// (walk.runPlainRules).

// plain is a rule of the form: if the conditions hold and the source is in a set, apply the
// verdict.
type plain struct {
	in         Ranges
	conditions []Match
	verdict    Verdict
}

// run is a series of plain rules whose conditions hold for the same packets.
type run struct {
	rules     []int        // in order
	named     int          // the most rules that are named each with its sources
	owners    []ownedRange // by address: the rule that decides
	verdicts  []Verdict
	byVerdict []Ranges // the sources that get each verdict
	all       Ranges
	// rest holds all other sources of the family, of a run that is prepared.
	rest Ranges
}

type ownedRange struct {
	Range
	rule int
}

const (
	// minRun is the fewest neighbours that make a run.
	minRun = 4
	// maxNamed is the most neighbours with equal conditions that are named each with its sources.
	// More are named as one. maxNamedAmongOthers is the same for rules with others between them.
	maxNamed            = 64
	maxNamedAmongOthers = 256
	// maxSwept is the most ranges of a rule that joins a run for one question.
	maxSwept = 16
	// maxHeldRanges is the most ranges of rules that are swept at once. stepsPerSwept is what each
	// counts for: sorting 1.6 million took 0.5 s.
	maxHeldRanges = 1 << 16
	stepsPerSwept = 8
)

// noPlain is a plain rule that no packet of the family meets.
var noPlain = &plain{}

// sharedConditions are conditions by their sets, as most rules share theirs with others.
type sharedConditions map[conditionsKey][]Match

type conditionsKey struct {
	fields [3]Field
	sets   [3]*Set
	not    [3]bool
}

// of returns equal conditions of an earlier rule.
func (s sharedConditions) of(list []Match) []Match {
	var key conditionsKey
	if len(list) > len(key.sets) {
		return slices.Clone(list)
	}
	for i, m := range list {
		if !m.Key[0].asIs() {
			return slices.Clone(list)
		}
		key.fields[i], key.sets[i], key.not[i] = m.Key[0].Field, m.In, m.Not
	}
	if known, ok := s[key]; ok {
		return known
	}
	list = slices.Clone(list)
	if len(s) < maxShared {
		s[key] = list
	}
	return list
}

// plainRule converts a rule to a plain one. It is nil if the rule has another form.
func (e *Evaluator) plainRule(
	r *Rule,
	f address.Family,
	answers bool,
	shared sharedConditions,
) *plain {
	in := AllSources(f)
	var buffer [8]Match
	conditions := buffer[:0]
	source, other := FieldSource4, FieldSource6
	proto := Number(uint64(FamilyIPv4))
	if f == address.IPv6 {
		source, other, proto = FieldSource6, FieldSource4, Number(uint64(FamilyIPv6))
	}
	if answers {
		source, other = mirrored(source), mirrored(other)
	}
	var not []Ranges
	for _, s := range r.Statements {
		switch s := s.(type) {
		case NoEffect:
			if s.Header {
				return nil // see walk.touched
			}
		case Verdict:
			switch s.Kind {
			case VerdictAccept, VerdictDrop, VerdictReject, VerdictReturn:
				if len(not) > 0 {
					in = in.Minus(unionOf(not))
				}
				return &plain{in, shared.of(conditions), s}
			}
			return nil
		case Match:
			if len(s.Key) != 1 || s.In == nil || s.In.Width != 1 {
				return nil
			}
			o := s.Key[0]
			if o.Field == other {
				return noPlain // the address is absent, so the match never holds
			}
			if !e.isDecided(s.In) {
				return nil
			}
			switch o.Field {
			case source:
				sure, ok := e.surely(s.In, o)
				if !ok {
					return nil
				}
				if s.Not {
					// subtracted together: a service may have a set for each prefix length
					not = append(not, sure)
				} else {
					in = in.Intersect(sure)
				}
			case FieldNFProto:
				if e.peekSet(s.In).flat.Contains(o.Apply(proto)) == s.Not {
					return noPlain
				}
			case FieldMap, FieldFib, FieldUnknown, FieldRaw, FieldLength, FieldHeaders,
				FieldCTOrigSource4, FieldCTOrigSource6, FieldCTReplyDest4, FieldCTReplyDest6:
				return nil
			default:
				conditions = append(conditions, s)
			}
		default:
			return nil
		}
	}
	return nil
}

// isDecided reports whether a look-up in a set of one column is never in doubt.
func (e *Evaluator) isDecided(s *Set) bool {
	if s.Grows || s.Shrinks || s.Unknown != "" {
		return false
	}
	if s.isPlain() {
		return true
	}
	l := e.prepareSet(s)
	return !l.broken && l.loose.Empty()
}

// surely returns the sources for which an operand is in a set. It is false if they take too many
// ranges.
func (e *Evaluator) surely(s *Set, o Operand) (Ranges, bool) {
	if o.asIs() && s.isPlain() && s.Len() <= maxPeeked {
		return s.column(), true
	}
	pre, ok := e.preimage(e.prepareSet(s), o)
	return pre.sure, ok
}

// preparePlain finds a chain's plain rules and their runs.
func (e *Evaluator) preparePlain(c *chain, p *prepared, answers bool) {
	for n, f := range address.Families {
		p.runs[n] = map[int]*run{}
		if !c.table.Family.Sees(f) {
			continue
		}
		plains := make([]*plain, len(c.Rules))
		shared := sharedConditions{}
		for i, r := range c.Rules {
			if e.prepared.Load() < e.maxPrepared {
				plains[i] = e.plainRule(r, f, answers, shared)
			}
			if plains[i] != nil {
				e.prepared.Add(int64(plains[i].in.Len()))
			}
		}
		p.plains[n] = plains
		for i := 0; i < len(plains); {
			j := i
			for j < len(plains) && plains[j] != nil && sameConditions(plains[i], plains[j]) {
				j++
			}
			if j-i >= minRun {
				rules := make([]int, 0, j-i)
				for at := i; at < j; at++ {
					rules = append(rules, at)
				}
				r := newRun(plains, rules, maxNamed)
				r.rest = AllSources(f).Minus(r.all)
				p.runs[n][i] = r
			}
			i = max(j, i+1)
		}
	}
}

// sameConditions reports whether both rules have the same conditions.
func sameConditions(a, b *plain) bool {
	return address.Same(a.conditions, b.conditions) ||
		slices.EqualFunc(a.conditions, b.conditions, func(x, y Match) bool {
			return x.Not == y.Not && x.Key[0] == y.Key[0] && slices.Equal(x.In.Keys, y.In.Keys) &&
				x.In.Flat.Equal(y.In.Flat)
		})
}

func newRun(plains []*plain, rules []int, named int) *run {
	r := &run{rules: rules, named: named, owners: decidingRules(plains, rules)}
	var lists []rangesBuilder
	var all rangesBuilder
	for _, o := range r.owners {
		v := plains[o.rule].verdict
		i := slices.Index(r.verdicts, v)
		if i < 0 {
			i = len(r.verdicts)
			r.verdicts, lists = append(r.verdicts, v), append(lists, rangesBuilder{})
		}
		lists[i].add(o.Range)
		all.add(o.Range)
	}
	for i := range lists {
		r.byVerdict = append(r.byVerdict, lists[i].ranges())
	}
	r.all = all.ranges()
	return r
}

// end is the index of the rule after the run's last.
func (r *run) end() int { return r.rules[len(r.rules)-1] + 1 }

// reason names a verdict that one of the run's rules gave.
func (r *run) reason(v Verdict) string {
	first, last := r.rules[0]+1, r.end()
	if n := len(r.rules); n < last-first+1 {
		return fmt.Sprintf("%v, by one of %d of the rules %d to %d", v, n, first, last)
	}
	return fmt.Sprintf("%v, by one of the rules %d to %d", v, first, last)
}

// decidingRules finds the first rule for every address, in one sweep over all borders.
func decidingRules(plains []*plain, rules []int) []ownedRange {
	type event struct {
		at    Value
		rule  int
		until Value
	}
	var events []event
	var borders []Value
	for _, i := range rules {
		for r := range plains[i].in.All() {
			events = append(events, event{r.From, i, r.To})
			borders = append(borders, r.From)
			if after, ok := r.To.next(); ok {
				borders = append(borders, after)
			}
		}
	}
	slices.SortFunc(events, func(a, b event) int { return a.at.Compare(b.at) })
	slices.SortFunc(borders, Value.Compare)
	borders = slices.Compact(borders)
	var out []ownedRange
	var open ruleHeap
	for i, at := range borders {
		for len(events) > 0 && events[0].at == at {
			heap.Push(&open, ownedRange{Range{at, events[0].until}, events[0].rule})
			events = events[1:]
		}
		for len(open) > 0 && open[0].To.Compare(at) < 0 {
			heap.Pop(&open)
		}
		if len(open) == 0 {
			continue
		}
		to := open[0].To
		if i+1 < len(borders) {
			before, _ := borders[i+1].prev()
			to = earlier(to, before)
		}
		if n := len(out); n > 0 && out[n-1].rule == open[0].rule {
			if after, _ := out[n-1].To.next(); after == at {
				out[n-1].To = to
				continue
			}
		}
		out = append(out, ownedRange{Range{at, to}, open[0].rule})
	}
	return out
}

// ruleHeap is a heap of the open ranges. The first rule's is on top.
type ruleHeap []ownedRange

func (h ruleHeap) Len() int           { return len(h) }
func (h ruleHeap) Less(i, j int) bool { return h[i].rule < h[j].rule }
func (h ruleHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *ruleHeap) Push(x any)        { *h = append(*h, x.(ownedRange)) }
func (h *ruleHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

// applyRun runs a flow through a run, and returns what goes on after it.
func (w *walk) applyRun(c *chain, r *run, f flow, back *[]flow) flow {
	whole := !r.rest.Empty() && f.sources.Equal(AllSources(w.q.Family))
	parts, few := r.parts(f.sources)
	if few {
		for _, p := range parts {
			g := f
			g.sources = p.sources
			w.applyVerdict(
				c,
				Decider{Rule: c.Rules[p.rule], Chain: c.Chain},
				w.plains(c)[p.rule].verdict,
				g,
				back,
			)
		}
	} else {
		for i, v := range r.verdicts {
			g := f
			if g.sources = r.byVerdict[i]; !whole {
				g.sources = r.byVerdict[i].Intersect(f.sources)
			}
			if !g.sources.Empty() {
				w.applyVerdict(c, Decider{Chain: c.Chain, Reason: r.reason(v)}, v, g, back)
			}
		}
	}
	w.spend(len(r.owners) / 4)
	if whole {
		f.sources = r.rest
	} else {
		f.sources = f.sources.Minus(r.all)
	}
	return f
}

// applyPlain runs a flow through one plain rule whose conditions hold.
func (w *walk) applyPlain(c *chain, i int, f *flow, back *[]flow) {
	p := w.plains(c)[i]
	g := *f
	g.sources = f.sources.Intersect(p.in)
	if w.spendRanges(g.sources.Len()); g.sources.Empty() {
		return
	}
	w.applyVerdict(c, Decider{Rule: c.Rules[i], Chain: c.Chain}, p.verdict, g, back)
	f.sources = f.sources.Minus(p.in)
	w.spendRanges(f.sources.Len())
}

// part holds the sources that one rule of a run decides.
type part struct {
	rule    int
	sources Ranges
}

// parts splits sources by the rule of the run that decides. It is false if too many rules do.
func (r *run) parts(s Ranges) ([]part, bool) {
	at := map[int]int{}
	for rule := range r.hits(s) { // first, since mostly there are too many
		if _, known := at[rule]; !known {
			if len(at) == r.named {
				return nil, false
			}
			at[rule] = len(at)
		}
	}
	sources := make([]rangesBuilder, len(at))
	for rule, got := range r.hits(s) {
		sources[at[rule]].add(got)
	}
	out := make([]part, len(at))
	for rule, n := range at {
		out[n] = part{rule, sources[n].ranges()}
	}
	slices.SortFunc(out, func(a, b part) int { return a.rule - b.rule })
	return out, true
}

// hits yields what rules of the run get of some sources, range by range.
func (r *run) hits(s Ranges) iter.Seq2[int, Range] {
	return func(yield func(rule int, got Range) bool) {
		for want := range s.All() {
			i := sort.Search(
				len(r.owners), func(i int) bool { return r.owners[i].To.Compare(want.From) >= 0 },
			)
			for ; i < len(r.owners) && r.owners[i].From.Compare(want.To) <= 0; i++ {
				o := r.owners[i]
				if !yield(o.rule, Range{later(o.From, want.From), earlier(o.To, want.To)}) {
					return
				}
			}
		}
	}
}

// applyVerdict applies a plain rule's verdict.
func (w *walk) applyVerdict(c *chain, by Decider, v Verdict, f flow, back *[]flow) {
	if by.Reason == "" {
		by.Reason = v.String()
	}
	switch v.Kind {
	case VerdictAccept:
		f.credits = w.credited(&f, by)
		w.accepted = w.gather(w.accepted, f)
	case VerdictReturn:
		*back = w.gather(*back, f)
	case VerdictReject:
		w.finish(f, Rejected, by)
	default:
		w.finish(f, Dropped, by)
	}
}

// plains returns a chain's plain rules for the question's family.
func (w *walk) plains(c *chain) []*plain { return w.prepared(c).plains[w.familyIndex()] }

func (w *walk) familyIndex() int { return slices.Index(address.Families, w.q.Family) }

// conditionsHold reports whether a plain rule's conditions hold for a packet. It is Maybe if that
// is unknown, or differs between sources.
func (w *walk) conditionsHold(p *plain, pk *packet) Tri {
	t := Yes
	for _, m := range p.conditions {
		v := w.operand(pk, m.Key[0])
		if v.source || v.view.absent == Maybe {
			return Maybe
		}
		in := v.view.inAny(w.e.prepareSet(m.In).flat)
		if m.Not {
			in = in.Not()
		}
		if v.view.absent == Yes {
			in = No
		}
		if t = t.And(in); t == No {
			return No
		}
	}
	return t
}
