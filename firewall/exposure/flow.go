package exposure

import "slices"

// flow is a set of sources whose packets are in the same place and the same state.
type flow struct {
	sources Ranges
	packet  *packet
	doubts  *doubt
	// credits are who let the sources through so far: parts of sources, or more than them.
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
}

// maxDoubts bounds the unknowns that are kept for one flow; those that it meets later are as unknown, but not listed.
const maxDoubts = 32

type doubtKey struct {
	before *doubt
	rule   *Rule
	chain  *Chain
	reason string
	branch int
}

// doubt adds an unknown to a flow's list.
func (w *walk) doubt(before *doubt, by Decider, branch int) *doubt {
	depth := 1
	if before != nil {
		depth = before.depth + 1
	}
	if depth > maxDoubts {
		return before
	}
	key := doubtKey{before, by.Rule, by.Chain, by.Reason, branch}
	if d := w.doubts[key]; d != nil {
		return d
	}
	d := &doubt{before, by, branch, depth}
	w.doubts[key] = d
	return d
}

// list is the unknowns in order, without repetition.
func (d *doubt) list() []Decider {
	var out []Decider
	for ; d != nil; d = d.before {
		if !slices.Contains(out, d.by) {
			out = append(out, d.by)
		}
	}
	slices.Reverse(out)
	return out
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
	// maxApart is how many flows are kept apart for the sake of naming their unknowns; of more, all in the same state are merged.
	maxApart = 16
	// maxStates is how many states are kept apart in one place; more are joined into one that covers them all.
	maxStates = 64
)

// merge puts flows of the same state together, so that unknowns don't multiply.
func (w *walk) merge(flows []flow) []flow {
	if len(flows) < 2 {
		return flows
	}
	if len(flows) > maxApart {
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

// mergeMany merges all flows of one state, whatever their unknowns, and if there are still too many states all of them.
func (w *walk) mergeMany(flows []flow) []flow {
	at := map[packet]int{}
	var out []flow
	var sources [][]Range
	for _, f := range flows {
		w.spend(8)
		i, ok := at[*f.packet]
		if !ok {
			i = len(out)
			at[*f.packet] = i
			out, sources = append(out, f), append(sources, nil)
		} else {
			w.absorb(&out[i], flow{packet: f.packet, doubts: f.doubts, credits: f.credits})
		}
		sources[i] = append(sources[i], f.sources.list...)
	}
	for i := range out {
		out[i].sources = NewRanges(sources[i]...)
		w.spend(len(sources[i]))
	}
	if len(out) <= maxStates {
		return out
	}
	one := out[0]
	var all []Range
	for i, f := range out {
		all = append(all, f.sources.list...)
		if i > 0 {
			w.absorb(&one, flow{packet: f.packet, doubts: f.doubts, credits: f.credits})
		}
	}
	one.sources = NewRanges(all...)
	return []flow{one}
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
	into.sources = into.sources.Union(f.sources)
	w.spend(len(into.sources.list))
	into.credits = joinCredits(into.credits, f.credits)
}

func joinCredits(a, b []credit) []credit {
	if len(a) == 0 {
		return b
	}
	if len(b) == 0 || len(a) == len(b) && &a[0] == &b[0] {
		return a
	}
	return append(a[:len(a):len(a)], b...)
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
