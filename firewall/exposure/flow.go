package exposure

import "slices"

// flow is a set of sources whose packets are in the same place and the same state.
type flow struct {
	sources Ranges
	packet  *packet
	doubts  *doubt
	// credits are who let the sources through so far. They cover all sources, and may cover more; none:
	// nobody had to.
	credits []credit
}

// credit is who let some sources through.
type credit struct {
	sources Ranges
	by      Decider
}

// doubt is a list of the unknowns that a flow has met, newest first: which of several ways it went at each. Lists are interned by walk.doubt, so
// equal ones are the same pointer.
type doubt struct {
	before *doubt
	by     Decider
	branch int // which way; two flows that differ only in that were one flow before
	depth  int
	listed []Decider // by list; nil until then
}

// maxDoubts bounds the unknowns that are kept for one flow; those that it meets later are as unknown, but not listed.
const maxDoubts = 32

// maxInterned bounds the lists of unknowns that a question makes: each takes some 300 bytes.
const maxInterned = 1 << 15

type doubtKey struct {
	before *doubt
	rule   *Rule
	chain  *Chain
	reason string
	branch int
}

// doubt adds an unknown to a flow's list. Beyond maxInterned lists a question makes no longer ones.
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

// list is the unknowns in order, without repetition. It is made once and must not be changed.
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

// both is a list with the unknowns of two.
func (w *walk) both(a, b *doubt) *doubt {
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
	// maxApart is how many flows are kept apart for the sake of naming their unknowns. If there are
	// more, all in the same state are merged.
	maxApart = 16
	// maxApartRanges is how many ranges they may have together: each flow has its own copy.
	maxApartRanges = 1 << 20
	// maxStates is how many states are kept apart in one place. If there are more, those that differ
	// in marks and source ports alone are joined, and if that isn't enough, all of them.
	maxStates = 64
	// maxGathered is how many flows may wait in one place before they are merged.
	maxGathered = 4 * maxStates
)

// merge puts flows of the same state together, so that unknowns don't multiply.
func (w *walk) merge(flows []flow) []flow {
	if len(flows) < 2 {
		return flows
	}
	if len(flows) > maxApart || rangesOf(flows) > maxApartRanges {
		flows = w.mergeMany(flows)
	}
	out := flows[:0:0]
	for _, f := range flows {
		if f.sources.Empty() {
			continue
		}
		w.spend(len(out))
		i := slices.IndexFunc(out, func(o flow) bool { return samePacket(o.packet, f.packet) && (o.doubts == f.doubts || siblings(&o, &f)) })
		if i < 0 {
			out = append(out, f)
			continue
		}
		w.absorb(&out[i], f)
	}
	return out
}

func rangesOf(flows []flow) (n int) {
	for _, f := range flows {
		n += f.sources.Len()
	}
	return n
}

// gather adds flows to those that wait in one place, and merges them where they become many.
func (w *walk) gather(waiting []flow, more ...flow) []flow {
	before := len(waiting)
	waiting = append(waiting, more...)
	if len(waiting) > maxGathered ||
		before/maxApart < len(waiting)/maxApart && rangesOf(waiting) > maxApartRanges {
		return w.mergeMany(waiting)
	}
	return waiting
}

// mergeMany merges all flows of one state, whatever their unknowns, and if there are still too many
// states, states that are alike.
func (w *walk) mergeMany(flows []flow) []flow {
	for _, alike := range []func(packet) packet{
		func(p packet) packet { return p },
		func(p packet) packet {
			p.mark, p.ctMark, p.label, p.sport = Bits{}, Bits{}, Bits{}, Range{}
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

// mergeAlike makes one flow of all whose states are alike: the same by what a function leaves of them.
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
			out[i].doubts = w.both(out[i].doubts, f.doubts)
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

// siblings reports whether both are what became of one flow at one unknown, which has made no difference.
func siblings(a, b *flow) bool {
	return a.doubts != nil && b.doubts != nil && a.doubts.before == b.doubts.before && a.doubts.by == b.doubts.by &&
		a.doubts.branch+b.doubts.branch == 1 && a.sources.Equal(b.sources)
}

// absorb makes one flow of two in the same state.
func (w *walk) absorb(into *flow, f flow) {
	switch {
	case siblings(into, &f):
		into.doubts = into.doubts.before
	case into.doubts != f.doubts:
		into.doubts = w.both(into.doubts, f.doubts)
	}
	into.packet = into.packet.join(f.packet)
	into.credits = w.joinCredits(*into, f)
	into.sources = into.sources.Union(f.sources)
	w.spendRanges(into.sources.Len())
}

// unstopped is credited with sources that no rule and no policy has let through.
var unstopped = Decider{Reason: NoRule}

// joinCredits is all credits of several flows, each decider with all the sources that it let
// through. They cover the sources of all flows, unless none of them has any.
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
			list = []credit{{f.sources, unstopped}}
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

// credited is the credits of a flow that a rule lets through. A rule of NAT decides where a packet
// goes, not whether: behind it stand those who let the packet through.
func (w *walk) credited(f *flow, by Decider) []credit {
	if w.translating && w.hook != HookPrerouting && len(f.credits) > 0 {
		return f.credits
	}
	return f.accepted(by)
}

// accepted is the credits of a flow after a chain has let it through: a rule replaces what was before, a policy only other policies.
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
