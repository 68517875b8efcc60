package exposure

import "slices"

// flow is a set of sources whose packets are in the same place and state.
type flow struct {
	sources Ranges
	packet  *packet
	doubts  *doubt
	// credits name what let the sources through so far. They cover all sources, and may cover more.
	// They are empty while no chain has decided.
	credits []credit
}

// credit names what let some sources through.
type credit struct {
	sources Ranges
	by      Decider
}

// doubt is a list of the unknowns that a flow has met, newest first, each with the way that the
// flow took. walk.doubt interns lists, so equal ones are the same pointer.
type doubt struct {
	before *doubt
	by     Decider
	branch int // the way taken; flows that differ in nothing else were one flow before
	depth  int
	listed []Decider // by list; nil until then
}

// maxDoubts bounds the unknowns listed for one flow. Later ones count, but aren't listed.
const maxDoubts = 32

// maxInterned bounds the interned lists of one question. Each takes some 300 bytes.
const maxInterned = 1 << 15

type doubtKey struct {
	before *doubt
	rule   *Rule
	chain  *Chain
	reason string
	branch int
}

// doubt adds an unknown to a flow's list. Beyond maxInterned lists, a question stops making longer
// ones.
func (w *walk) doubt(before *doubt, by Decider, branch int) *doubt {
	depth := 1
	if before != nil {
		depth = before.depth + 1
	}
	if depth > maxDoubts {
		return before
	}
	w.spend(4)
	key := doubtKey{before, by.Rule, by.Chain, by.Reason, branch}
	if d := w.doubts[key]; d != nil {
		return d
	}
	if before != nil && len(w.doubts) >= maxInterned {
		return before
	}
	w.spend(costDoubt)
	d := &doubt{before: before, by: by, branch: branch, depth: depth}
	w.doubts[key] = d
	return d
}

// list returns the unknowns in order, without repetition. It is made once and must not be changed.
func (d *doubt) list() []Decider {
	if d == nil {
		return nil
	}
	if d.listed == nil {
		for x := d; x != nil; x = x.before {
			if !slices.Contains(d.listed, x.by) {
				d.listed = append(d.listed, x.by)
			}
		}
		slices.Reverse(d.listed)
		d.listed = slices.Clip(d.listed)
	}
	return d.listed
}

// joinDoubts joins two lists of unknowns.
func (w *walk) joinDoubts(a, b *doubt) *doubt {
	if a == nil || b == nil || a == b {
		if a == nil {
			return b
		}
		return a
	}
	if a.depth < b.depth {
		a, b = b, a
	}
	have := a.list()
	for _, by := range b.list() {
		if !slices.Contains(have, by) {
			a = w.doubt(a, by, -1)
		}
	}
	return a
}

const (
	// maxSeparateFlows bounds the flows that stay separate so that each keeps its own unknowns.
	// Beyond it, all flows in the same state are merged.
	maxSeparateFlows = 16
	// maxSeparateRanges bounds the ranges of those flows together: each flow has its own copy.
	maxSeparateRanges = 1 << 20
	// maxStates bounds the states in one place. Beyond it, states that differ only in marks and
	// source ports are joined, and if that isn't enough, all of them.
	maxStates = 64
	// maxGathered bounds the flows that wait in one place before they are merged.
	maxGathered = 4 * maxStates
)

// merge joins flows of the same state, so that unknowns don't multiply.
func (w *walk) merge(flows []flow) []flow {
	if len(flows) < 2 {
		return flows
	}
	flows = w.withoutUsual(flows)
	if len(flows) > maxSeparateFlows || rangesOf(flows) > maxSeparateRanges {
		flows = w.mergeMany(flows)
	}
	out := flows[:0:0]
	alike := make([][]flow, 0, len(flows)) // flows of one state and one list of unknowns
	join := func(i int) {
		if len(alike[i]) > 1 {
			w.joinAlike(&out[i], alike[i])
			alike[i] = []flow{out[i]}
		}
	}
	for _, f := range flows {
		if f.sources.Empty() {
			continue
		}
		w.spend(len(out))
		i := 0
		for ; i < len(out); i++ {
			if !samePacket(out[i].packet, f.packet) {
				continue
			}
			if out[i].doubts == f.doubts {
				break
			}
			if mayBeSameOutcome(&out[i], &f) {
				if join(i); sameOutcome(&out[i], &f) {
					break
				}
			}
		}
		switch {
		case i == len(out):
			out, alike = append(out, f), append(alike, []flow{f})
		case out[i].doubts == f.doubts:
			alike[i] = append(alike[i], f)
		default:
			w.absorb(&out[i], f)
			alike[i] = []flow{out[i]}
		}
	}
	for i := range out {
		join(i)
	}
	return out
}

// joinAlike makes one flow of several in the same state with the same unknowns.
func (w *walk) joinAlike(into *flow, flows []flow) {
	sources := make([]Ranges, len(flows))
	for i, f := range flows {
		sources[i] = f.sources
	}
	into.sources = unionOf(sources)
	w.spendRanges(into.sources.Len())
	into.credits = w.joinCredits(flows...)
}

func rangesOf(flows []flow) (n int) {
	for _, f := range flows {
		n += f.sources.Len()
	}
	return n
}

// gather adds flows to those that wait in one place, and merges them when there are many.
func (w *walk) gather(waiting []flow, more ...flow) []flow {
	before := len(waiting)
	waiting = append(waiting, more...)
	if len(waiting) > maxGathered ||
		before/maxSeparateFlows < len(waiting)/maxSeparateFlows &&
			rangesOf(waiting) > maxSeparateRanges {
		return w.mergeMany(waiting)
	}
	return waiting
}

// mergeMany merges all flows of one state, whatever their unknowns. If too many states remain, it
// joins similar states.
func (w *walk) mergeMany(flows []flow) []flow {
	for _, alike := range []func(packet) packet{
		func(p packet) packet { return p },
		func(p packet) packet {
			p.mark, p.ctMark, p.label, p.sport = Bits{}, Bits{}, Bits{}, Range{}
			p.markBefore, p.unusual = Bits{}, false
			return p
		},
		func(packet) packet { return packet{} },
	} {
		if flows = w.mergeAlike(flows, alike); len(flows) <= maxStates {
			break
		}
	}
	return flows
}

// mergeAlike merges flows whose states are equal after a function has reduced them.
func (w *walk) mergeAlike(flows []flow, alike func(packet) packet) []flow {
	at := map[packet]int{}
	var out []flow
	var members [][]flow
	for _, f := range flows {
		if f.sources.Empty() {
			continue
		}
		w.spend(costState)
		key := alike(*f.packet)
		i, ok := at[key]
		if !ok {
			i = len(out)
			at[key] = i
			out, members = append(out, f), append(members, nil)
		} else {
			out[i].packet = out[i].packet.join(f.packet)
			out[i].doubts = w.joinDoubts(out[i].doubts, f.doubts)
		}
		members[i] = append(members[i], f)
	}
	for i := range out {
		if len(members[i]) > 1 {
			sources := make([]Ranges, len(members[i]))
			for n, f := range members[i] {
				sources[n] = f.sources
				w.spend(f.sources.Len())
			}
			out[i].sources = unionOf(sources)
			w.spendRanges(out[i].sources.Len())
			out[i].credits = w.joinCredits(members[i]...)
		}
	}
	return out
}

func samePacket(a, b *packet) bool { return a == b || *a == *b }

// sameOutcome reports whether two flows came from one flow at one unknown that made no difference.
func sameOutcome(a, b *flow) bool { return mayBeSameOutcome(a, b) && a.sources.Equal(b.sources) }

// mayBeSameOutcome is sameOutcome without a look at the sources.
func mayBeSameOutcome(a, b *flow) bool {
	return a.doubts != nil && b.doubts != nil && a.doubts.before == b.doubts.before &&
		a.doubts.by == b.doubts.by && a.doubts.branch+b.doubts.branch == 1
}

// absorb merges a flow into another in the same state.
func (w *walk) absorb(into *flow, f flow) {
	switch {
	case sameOutcome(into, &f):
		into.doubts = into.doubts.before
	case into.doubts != f.doubts:
		into.doubts = w.joinDoubts(into.doubts, f.doubts)
	}
	into.packet = into.packet.join(f.packet)
	into.credits = w.joinCredits(*into, f)
	into.sources = into.sources.Union(f.sources)
	w.spendRanges(into.sources.Len())
}

// noRuleDecided gets the credit for sources that no rule and no policy let through.
var noRuleDecided = Decider{Reason: NoRule}

// joinCredits joins the credits of several flows, each decider with all the sources that it let
// through. They cover the sources of all flows, unless no flow has credits.
func (w *walk) joinCredits(flows ...flow) []credit {
	if !slices.ContainsFunc(flows, func(f flow) bool { return len(f.credits) > 0 }) {
		return nil
	}
	var out []credit
	var more [][]Ranges
	var at map[Decider]int
	for _, f := range flows {
		list := f.credits
		if len(list) == 0 {
			list = []credit{{f.sources, noRuleDecided}}
		}
		switch {
		case len(out) == len(list) && &out[0] == &list[0]:
			continue
		case len(out) == 0:
			out = list
			continue
		case at == nil:
			out = slices.Clone(out)
			more = make([][]Ranges, len(out))
			at = make(map[Decider]int, len(out))
			for i, c := range out {
				at[c.by] = i
			}
		}
		w.spend(costState * len(list))
		for _, c := range list {
			i, ok := at[c.by]
			if !ok {
				at[c.by] = len(out)
				out, more = append(out, c), append(more, nil)
			} else if !out[i].sources.same(c.sources) {
				more[i] = append(more[i], c.sources)
			}
		}
	}
	for i, m := range more {
		if len(m) > 0 {
			out[i].sources = unionOf(append(m, out[i].sources))
			w.spendRanges(out[i].sources.Len())
		}
	}
	return out
}

// credited returns the credits of a flow that a rule lets through. A NAT rule decides where a
// packet goes, not whether it passes, so earlier credits stay.
func (w *walk) credited(f *flow, by Decider) []credit {
	if w.translating && w.hook != HookPrerouting && len(f.credits) > 0 {
		return f.credits
	}
	return f.accepted(by)
}

// passed returns the credits of a flow that a chain's policy lets through. Only filtering at input
// and forward decides whether a packet gets in: a policy elsewhere, such as a NAT chain's, changes
// nothing, and neither does that of an empty chain behind others.
func (w *walk) passed(f *flow, by Decider) []credit {
	if w.translating || w.hook != HookInput && w.hook != HookForward ||
		len(by.Chain.Rules) == 0 && len(f.credits) > 0 {
		return f.credits
	}
	return f.accepted(by)
}

// accepted returns the credits of a flow after a chain has let it through: a rule replaces earlier
// credits, a policy replaces only other policies.
func (f *flow) accepted(by Decider) []credit {
	if by.Rule != nil || len(f.credits) == 0 {
		return []credit{{f.sources, by}}
	}
	out := make([]credit, 0, len(f.credits))
	for _, c := range f.credits {
		if c.by.Rule == nil {
			c.by = by
		}
		if c.sources = c.sources.Intersect(f.sources); !c.sources.Empty() {
			out = append(out, c)
		}
	}
	return out
}
