package exposure

import (
	"fmt"
	"math"
	"slices"
)

// walk is one question's way through the hooks.
type walk struct {
	e      *Evaluator
	q      Question
	in     *Interface // nil if it isn't known
	phase  phase
	hook   Hook
	doubts map[doubtKey]*doubt
	ended  []ending
	spent
	// endedBefore is how many had ended before the chains that are being run: what these add is taken
	// back if they go too far.
	endedBefore int
	undecided   []undecided

	// accepted are the flows that the base chain being run has accepted.
	accepted []flow
	running  []*chain // chains that lead here, outermost first
	// translating: the base chain is one of NAT.
	translating bool
	routing     bool // between hooks
	// reply is about the answer that is followed; nil for a first packet.
	reply *replying

	oracle  *oracle // nil to follow all ways
	assumed []string
}

// phase is where the walk is as to conntrack.
type phase uint8

const (
	beforeConntrack phase = iota
	atConntrack           // in a chain of just its priority: before or after isn't known
	afterConntrack
)

// ending is what became of a flow.
type ending struct {
	flow
	outcome Outcome
	by      Decider // of a flow that was stopped
	// likely: it isn't sure that it was, though no more is known: see Reply.
	likely bool
}

func (e *Evaluator) newWalk(q Question) *walk {
	w := &walk{e: e, q: q, in: e.host.Interface(q.Interface), doubts: map[doubtKey]*doubt{}}
	w.limit, w.most = e.maxWork, e.maxWork
	w.assume()
	return w
}

// assume notes what is taken for granted.
func (w *walk) assume() {
	switch {
	case w.e.host != nil:
	case w.outside():
		w.assumeOutside()
	default:
		w.assumed = append(w.assumed, "the packet is for the host itself, and routing takes any source")
	}
	if w.e.host == nil && w.q.answered() {
		w.takeForGranted("routing finds a way back for every answer, by the interface where the packet came in")
	}
	switch {
	case w.q.Interface == "" && w.outside():
	case w.q.Interface == "":
		w.assumed = append(w.assumed, "which interface it comes in by isn't known")
	case w.e.host != nil && w.in == nil:
		w.assumed = append(w.assumed, "there is no interface "+w.q.Interface)
	case w.in != nil && w.in.Loopback:
		w.assumed = append(w.assumed, "what comes in by "+w.q.Interface+" has passed the output chains before, which aren't followed")
	}
	if !w.q.Destination.IsValid() && w.q.Within == (Range{}) {
		w.assumed = append(w.assumed, "which of the host's addresses it is for isn't known")
	}
}

// run carries the sources through all hooks.
func (w *walk) run() {
	flows := []flow{{sources: w.q.Universe(), packet: newPacket(w.q)}}
	flows = w.atHook(HookIngress, w.bridged(flows))
	flows = w.atHook(HookPrerouting, flows)
	local, forward := w.route(flows)
	for _, f := range w.atHook(HookInput, local) {
		w.finish(f, Delivered, Decider{})
	}
	forward = w.atHook(HookPostrouting, w.atHook(HookForward, forward))
	for _, f := range w.atHook(HookEgress, forward) {
		w.finish(f, Forwarded, Decider{})
	}
	if w.oracle != nil {
		w.tellReplies()
	}
}

// bridged accounts for what isn't followed before the IP hooks: a bridge's own chains, and a second round through prerouting for a VRF.
func (w *walk) bridged(flows []flow) []flow {
	if w.in == nil {
		return flows
	}
	if w.in.Kind == "bridge" {
		for _, t := range w.e.rules.Tables {
			if t.Family != FamilyBridge || t.Dormant {
				continue
			}
			for _, c := range t.Chains {
				if c.Base != nil && (len(c.Rules) > 0 || c.Base.Policy != VerdictAccept) {
					return w.anythingAt(flows, Decider{Chain: c, Reason: "bridge chains aren't followed"})
				}
			}
		}
	}
	if m := w.e.host.ByIndex(w.in.Master); m != nil && m.Kind == "vrf" || w.in.Kind == "vrf" {
		return w.anythingAt(flows, Decider{Reason: "the second round through prerouting for the VRF isn't followed"})
	}
	return flows
}

// anythingAt is flows before a hook in which a part can't be known: that may drop them, or let them through with any change.
func (w *walk) anythingAt(flows []flow, by Decider) []flow {
	var out []flow
	for _, f := range flows {
		pick := w.pick(2)
		w.step(&f, nil, "unknown: "+by.Reason, Maybe)
		if pick != 0 {
			drop := f
			drop.doubts = w.doubt(f.doubts, by, 2)
			w.finish(drop, Dropped, by)
		}
		if pick != 1 {
			f.doubts = w.doubt(f.doubts, by, 3)
			p := f.packet.havoc(addressWidth(w.q.Family), w.hook <= HookPrerouting)
			p.out, p.outIndex = f.packet.out, f.packet.outIndex
			f.packet = p
			out = append(out, f)
		}
	}
	return w.merge(out)
}

// atHook runs all chains of a hook.
func (w *walk) atHook(h Hook, flows []flow) []flow {
	w.hook = h
	for _, m := range w.e.rules.Missing {
		if len(flows) > 0 && (m.Family == FamilyUnspec || m.Family.Sees(w.q.Family)) {
			flows = w.anythingAt(flows, Decider{Reason: "not readable: " + m.What + ": " + m.Why})
			break
		}
	}
	for _, g := range w.e.hooks[hookKey{h, w.q.Family}] {
		before := flows
		w.endedBefore = len(w.ended)
		switch {
		case len(flows) == 0 || w.tooFar:
		case w.reply != nil:
			flows = w.replyGroup(g, flows)
		default:
			flows = w.group(g, flows)
		}
		if w.tooFar {
			w.giveUp(g, before)
			return nil
		}
	}
	if w.reply != nil {
		before := flows
		w.endedBefore = len(w.ended)
		if flows = w.kernelHooks(flows, math.MaxInt32); w.tooFar {
			w.giveUp(group{}, before)
			return nil
		}
	}
	return flows
}

// group runs the chains of one priority, in every order that is possible.
func (w *walk) group(g group, flows []flow) []flow {
	if len(g.orders) == 1 {
		return w.units(g.orders[0], flows)
	}
	if len(g.orders) == 0 {
		return w.anythingAt(flows, Decider{Reason: "the order of many chains of one priority isn't known"})
	}
	pick := w.pick(len(g.orders))
	undone := w.reply != nil && w.reply.undone
	var out []flow
	for i, units := range g.orders {
		if pick >= 0 && i != pick {
			continue
		}
		if w.reply != nil { // each order begins where the first one did
			w.reply.undone = undone
		}
		in := slices.Clone(flows)
		for j := range in {
			in[j].doubts = w.doubt(in[j].doubts, Decider{Reason: "the order of chains of one priority isn't known: " + units[0].name() + " and others"}, i)
		}
		out = w.gather(out, w.units(units, in)...)
	}
	return w.merge(out)
}

func (w *walk) units(units []unit, flows []flow) []flow {
	for _, u := range units {
		if len(flows) == 0 || w.tooFar {
			return nil
		}
		if u.nat && w.reply != nil {
			flows = w.replyNAT(u.chains, flows)
		} else if u.nat {
			flows = w.nat(u.chains, flows)
		} else {
			flows = w.onDevice(u.chains[0], flows)
		}
	}
	return flows
}

// onDevice runs a chain if it is hooked to the packet's device, where that matters.
func (w *walk) onDevice(c *chain, flows []flow) []flow {
	var out, in []flow
	for _, f := range flows {
		t := w.hooked(c, f.packet)
		if t == No {
			out = append(out, f)
			continue
		}
		if t == Maybe {
			by := Decider{Chain: c.Chain, Reason: "which devices it passes isn't known"}
			pick := w.pick(2)
			if pick != 0 {
				past := f
				past.doubts = w.doubt(f.doubts, by, 1)
				out = append(out, past)
			}
			if pick == 1 {
				continue
			}
			f.doubts = w.doubt(f.doubts, by, 0)
		}
		in = append(in, f)
	}
	if len(in) > 0 {
		out = append(out, w.base(c, in)...)
	}
	return w.merge(out)
}

// hooked reports whether a chain sees the packet.
func (w *walk) hooked(c *chain, p *packet) Tri {
	name, known := w.q.Interface, w.q.Interface != ""
	stacked := w.in
	switch w.hook {
	case HookIngress:
	case HookEgress:
		out := w.e.host.ByIndex(p.outIndex)
		if stacked, known = out, p.out == outKnown && out != nil; known {
			name = out.Name
		}
	default:
		return Yes
	}
	switch {
	case !known:
		return Maybe
	case c.Base.OnDevice(name):
		return Yes
	case w.e.host == nil || stacked == nil:
		return No
	}
	// A packet of a bridge, bond or VLAN passes the device below too, and one of a VRF's member may pass the VRF.
	for i := range w.e.host.Interfaces {
		other := &w.e.host.Interfaces[i]
		below := other.Master == stacked.Index && stacked.Index != 0 || stacked.Kind == "vlan" || stacked.Kind == "macvlan" || stacked.Kind == "ipvlan"
		if below && other != stacked && c.Base.OnDevice(other.Name) {
			return Maybe
		}
	}
	return No
}

// finish ends a flow's way.
func (w *walk) finish(f flow, o Outcome, by Decider) {
	if !f.sources.Empty() {
		w.spend(costEnding)
		w.ended = append(w.ended, ending{flow: f, outcome: o, by: by})
	}
}

// base runs a base chain: what it accepts goes on to the next.
func (w *walk) base(c *chain, flows []flow) []flow {
	w.phase = afterConntrack
	early := w.hook == HookPrerouting || w.hook == HookOutput
	if w.hook == HookIngress || early && c.Base.EffectivePriority() < PriorityConntrack {
		w.phase = beforeConntrack
	} else if early && c.Base.EffectivePriority() == PriorityConntrack {
		w.phase = atConntrack
	}
	w.accepted, w.translating = nil, c.Base.Type == TypeNAT
	back := w.chain(c, flows)
	by := Decider{Chain: c.Chain, Reason: fmt.Sprintf("policy %v", c.Base.Policy)}
	for _, f := range back {
		w.step(&f, c, by.Reason, Yes)
		if c.Base.Policy == VerdictAccept {
			f.credits = f.accepted(by)
			w.accepted = w.gather(w.accepted, f)
		} else {
			w.finish(f, Dropped, by)
		}
	}
	out := w.merge(w.accepted)
	w.accepted = nil
	return out
}

// natPerhaps is the NAT hook where it isn't known whether the host tracks connections: see Evaluator.tracks. No rule reads or changes a
// connection then, so it matters only to chains of NAT that filter.
func (w *walk) natPerhaps(chains []*chain, flows []flow) []flow {
	by := Decider{Chain: chains[0].Chain, Reason: "not known: whether connections are tracked, without which no chain of NAT is consulted"}
	pick := w.pick(2)
	var out, in []flow
	for _, f := range flows {
		past := f
		past.doubts, f.doubts = w.doubt(f.doubts, by, 1), w.doubt(f.doubts, by, 0)
		if pick != 0 {
			out = append(out, past)
		}
		if pick != 1 {
			in = append(in, f)
		}
	}
	for _, c := range chains {
		if len(in) > 0 {
			in = w.base(c, in)
		}
	}
	out = append(out, in...)
	resetNAT(out)
	return w.merge(out)
}

// nat runs the NAT hook: each chain until one has set up a translation, for connections only.
func (w *walk) nat(chains []*chain, flows []flow) []flow {
	var out, in []flow
	if w.e.conntrack[w.q.Family] != Yes {
		// Without conntrack the NAT hook has nothing to do, and its chains aren't consulted at all.
		return w.natPerhaps(chains, flows)
	}
	for _, f := range flows {
		switch {
		case w.hook == HookPrerouting && w.in != nil && w.in.Loopback, f.packet.track == untracked:
			out = append(out, f)
			continue
		case f.packet.track == perhapsTracked:
			by := Decider{Reason: "whether the packet has a connection isn't known"}
			pick := w.pick(2)
			if pick != 0 {
				out = append(out, w.tracks(f, by, 1, untracked))
			}
			if pick != 1 {
				in = append(in, w.tracks(f, by, 0, tracked))
			}
			continue
		}
		in = append(in, f)
	}
	resetNAT(in)
	for _, c := range chains {
		var todo []flow
		for _, f := range in {
			switch f.packet.natted {
			case Yes:
				out = append(out, f)
				continue
			case Maybe:
				out = append(out, f)
			}
			todo = append(todo, f)
		}
		if in = todo; len(in) > 0 {
			in = w.base(c, in)
		}
	}
	out = append(out, in...)
	resetNAT(out)
	return w.merge(out)
}

// resetNAT forgets that this hook's NAT has been through: that is no part of a state elsewhere.
func resetNAT(flows []flow) {
	for i, f := range flows {
		if f.packet.natted != No {
			p := *f.packet
			p.natted = No
			flows[i].packet = &p
		}
	}
}

// tracks is a flow that is now supposed to have a connection, or none.
func (w *walk) tracks(f flow, by Decider, branch int, t tracking) flow {
	p := *f.packet
	p.track = t
	f.packet = &p
	f.doubts = w.doubt(f.doubts, by, branch)
	return f
}
