package exposure

import (
	"fmt"
	"math"
	"slices"
)

// walk evaluates one question: it carries flows through the hooks.
type walk struct {
	e      *Evaluator
	q      Question
	in     *Interface // nil if unknown
	phase  phase
	hook   Hook
	doubts map[doubtKey]*doubt
	ended  []ending
	spent
	// endedBefore is len(ended) before the running chains: what they add is removed if they exceed
	// the budget.
	endedBefore int
	undecided   []undecided
	found       map[*Set]verdictsFound // in maps of verdicts, by their sources
	// derived is what the question has paid for (derived.go), of derivedRanges ranges.
	derived       map[derivedKey]any
	derivedRanges int

	// accepted are the flows that the running base chain has accepted.
	accepted []flow
	running  []*chain // the chains that are running, outermost first
	// translating: the base chain is a NAT chain.
	translating bool
	routing     bool // between hooks
	// reply describes the answer that is followed; nil for a first packet.
	reply *replying

	picker  *wayPicker // nil to follow all ways
	assumed []string
	// ordinary: fields are read as those of ordinary packets, and taken collects the assumptions
	// made (usual.go).
	ordinary bool
	taken    []string
}

// phase is the walk's position relative to conntrack.
type phase uint8

const (
	beforeConntrack phase = iota
	atConntrack           // in a chain of its priority: before or after isn't known
	afterConntrack
)

// ending is the outcome of a flow.
type ending struct {
	flow
	outcome Outcome
	by      Decider // for a flow that was stopped
	// likely: the outcome is probable, not certain: see Reply.
	likely bool
}

func (e *Evaluator) newWalk(q Question) *walk {
	w := &walk{e: e, q: q, in: e.host.Interface(q.Interface), doubts: map[doubtKey]*doubt{}}
	w.limit, w.most = e.maxWork, e.maxWork
	w.assume()
	return w
}

// assume notes the question's assumptions.
func (w *walk) assume() {
	switch {
	case w.e.host != nil:
	case w.fromOutside():
		w.assumeOutside()
	default:
		w.assumed = append(
			w.assumed, "the packet is for the host itself, and routing takes any source",
		)
	}
	if w.e.host == nil && w.q.answered() {
		w.noteAssumption(
			"routing finds a way back for every answer, by the interface where the packet came in",
		)
	}
	switch {
	case w.q.Interface == "" && w.fromOutside():
	case w.q.Interface == "":
		w.assumed = append(w.assumed, "which interface it comes in by isn't known")
	case w.e.host != nil && w.in == nil:
		w.assumed = append(w.assumed, "there is no interface "+w.q.Interface)
	case w.in != nil && w.in.Loopback:
		w.assumed = append(
			w.assumed,
			"what comes in by "+w.q.Interface+" has passed the output chains before, which aren't followed",
		)
	}
	if !w.q.Destination.IsValid() && w.q.Within == (Range{}) {
		w.assumed = append(w.assumed, "which of the host's addresses it is for isn't known")
	}
}

// run carries the sources through all hooks.
func (w *walk) run() {
	flows := []flow{{sources: w.q.Universe(), packet: newPacket(w.q)}}
	flows = w.linkRules(flows)
	flows = w.atHook(HookIngress, w.bridgeChains(flows))
	flows = w.atHook(HookPrerouting, flows)
	local, forward := w.route(flows)
	for _, f := range w.atHook(HookInput, local) {
		w.finish(f, Delivered, Decider{})
	}
	forward = w.atHook(HookPostrouting, w.atHook(HookForward, forward))
	forward = w.bridgeChainsOut(forward)
	for _, f := range w.findTarget(w.atHook(HookEgress, forward)) {
		w.finish(f, Forwarded, Decider{})
	}
	if w.picker != nil {
		w.traceReplies()
	}
}

// bridgeChains accounts for what isn't followed before the IP hooks: bridge chains, and a VRF's
// second round through prerouting.
func (w *walk) bridgeChains(flows []flow) []flow {
	if w.in == nil {
		return flows
	}
	if w.e.host.onBridge(w.in) {
		for _, t := range w.e.rules.Tables {
			if t.Family != FamilyBridge || t.Dormant {
				continue
			}
			for _, c := range t.Chains {
				if c.Base != nil && (len(c.Rules) > 0 || c.Base.Policy != VerdictAccept) {
					return w.anyEffectAt(
						flows,
						Decider{Chain: c, Reason: "bridge chains aren't followed"},
					)
				}
			}
		}
	}
	if m := w.e.host.ByIndex(w.in.Master); m != nil && m.Kind == "vrf" || w.in.Kind == "vrf" {
		return w.anyEffectAt(
			flows,
			Decider{Reason: "the second round through prerouting for the VRF isn't followed"},
		)
	}
	return flows
}

// onBridge reports whether an interface is a bridge, or a VLAN or the like on top of one, so that
// bridge chains see its packets and its neighbours' ARP.
func (h *Host) onBridge(i *Interface) bool {
	for range maxStacked {
		switch {
		case i == nil:
			return false
		case i.Kind == "bridge":
			return true
		case i.LinkElsewhere || !i.stacked():
			return false
		}
		i = h.ByIndex(i.Link)
	}
	return true
}

// maxStacked is the most interfaces on top of each other that are looked through. The kernel allows
// eight (MAX_NEST_DEV in include/linux/netdevice.h).
const maxStacked = 8

// stacked reports whether an interface is built on the one that Link names.
func (i *Interface) stacked() bool {
	return i.Kind == "vlan" || i.Kind == "macvlan" || i.Kind == "ipvlan"
}

// anyEffectAt returns flows after an unknown part of the hook, which may drop them or let them
// through with any change.
func (w *walk) anyEffectAt(flows []flow, by Decider) []flow {
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
			p := f.packet.afterAnyEffect(addressWidth(w.q.Family), w.hook <= HookPrerouting)
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
			flows = w.anyEffectAt(flows, Decider{Reason: "not readable: " + m.What + ": " + m.Why})
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
			flows = w.runGroup(g, flows)
		}
		if w.tooFar {
			w.finishUndecided(g, before)
			return nil
		}
	}
	if w.reply != nil {
		before := flows
		w.endedBefore = len(w.ended)
		if flows = w.kernelHooks(flows, math.MaxInt32); w.tooFar {
			w.finishUndecided(group{}, before)
			return nil
		}
	}
	return flows
}

// runGroup runs the chains of one priority, in every possible order.
func (w *walk) runGroup(g group, flows []flow) []flow {
	if len(g.orders) == 1 {
		return w.runUnits(g.orders[0], flows)
	}
	if len(g.orders) == 0 {
		flows = w.anyEffectAt(
			flows,
			Decider{Reason: "the order of many chains of one priority isn't known"},
		)
		if w.reply != nil && w.hook == HookOutput && w.e.fib != nil && w.e.fib.byMark {
			flows = w.routeReply(flows)
		}
		return flows
	}
	pick := w.pick(len(g.orders))
	undone := w.reply != nil && w.reply.undone
	var out []flow
	for i, units := range g.orders {
		if pick >= 0 && i != pick {
			continue
		}
		if w.reply != nil { // each order starts from the same state
			w.reply.undone = undone
		}
		in := slices.Clone(flows)
		for j := range in {
			in[j].doubts = w.doubt(
				in[j].doubts,
				Decider{
					Reason: "the order of chains of one priority isn't known: " + units[0].name() + " and others",
				},
				i,
			)
		}
		out = w.gather(out, w.runUnits(units, in)...)
	}
	return w.merge(out)
}

func (w *walk) runUnits(units []unit, flows []flow) []flow {
	for _, u := range units {
		if len(flows) == 0 || w.tooFar {
			return nil
		}
		if u.nat && w.reply != nil {
			flows = w.replyNAT(u.chains, flows)
		} else if u.nat {
			flows = w.runNAT(u.chains, flows)
		} else if w.mayReroute(u.chains[0]) {
			flows = w.rerouting(u.chains[0], flows)
		} else {
			flows = w.onDevice(u.chains[0], flows)
		}
	}
	return flows
}

// onDevice runs a chain if it is hooked to the packet's device.
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
		out = append(out, w.runBaseChain(c, in)...)
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
	if !known {
		return Maybe
	}
	return w.e.onDevice(c.Chain, stacked, name)
}

// onDevice reports whether a chain of ingress or egress sees the packets of an interface, which is
// nil where only its name is known.
func (e *Evaluator) onDevice(c *Chain, stacked *Interface, name string) Tri {
	switch {
	case c.Base.OnDevice(name):
		return Yes
	case e.host == nil || stacked == nil:
		return No
	}
	// A packet of a bridge, bond or VLAN also passes the devices below; one of a VRF's member may
	// pass the VRF.
	if slices.ContainsFunc(e.below(stacked), c.Base.OnDevice) {
		return Maybe
	}
	return No
}

// finish ends a flow's way.
func (w *walk) finish(f flow, o Outcome, by Decider) {
	if f.packet.unusual && !o.Passes() {
		return // ordinary packets from these sources end elsewhere
	}
	if !f.sources.Empty() {
		w.spend(costEnding)
		w.ended = append(w.ended, ending{flow: f, outcome: o, by: by})
	}
}

// runBaseChain runs a base chain. What it accepts goes on to the next chain.
func (w *walk) runBaseChain(c *chain, flows []flow) []flow {
	w.phase = afterConntrack
	early := w.hook == HookPrerouting || w.hook == HookOutput
	if w.hook == HookIngress || early && c.Base.EffectivePriority() < PriorityConntrack {
		w.phase = beforeConntrack
	} else if early && c.Base.EffectivePriority() == PriorityConntrack {
		w.phase = atConntrack
	}
	w.accepted, w.translating = nil, c.Base.Type == TypeNAT
	back := w.runChain(c, flows)
	by := Decider{Chain: c.Chain, Reason: fmt.Sprintf("policy %v", c.Base.Policy)}
	for _, f := range back {
		w.step(&f, c, by.Reason, Yes)
		if c.Base.Policy == VerdictAccept {
			f.credits = w.passed(&f, by)
			w.accepted = w.gather(w.accepted, f)
		} else {
			w.finish(f, Dropped, by)
		}
	}
	out := w.merge(w.accepted)
	w.accepted = nil
	return out
}

// natIfTracked is the NAT hook where it isn't known whether the host tracks connections: see
// Ruleset.tracksConnections. Then no rule reads or changes a connection, so it matters only for NAT
// chains that drop packets.
func (w *walk) natIfTracked(chains []*chain, flows []flow) []flow {
	by := Decider{
		Chain:  chains[0].Chain,
		Reason: "not known: whether connections are tracked, without which no chain of NAT is consulted",
	}
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
			in = w.runBaseChain(c, in)
		}
	}
	out = append(out, in...)
	resetNAT(out)
	return w.merge(out)
}

// runNAT runs the NAT hook: each chain, until one sets up a translation. Packets without a
// connection skip it.
func (w *walk) runNAT(chains []*chain, flows []flow) []flow {
	var out, in []flow
	if w.e.conntrack[w.q.Family] != Yes {
		// Without conntrack, the kernel doesn't consult NAT chains.
		return w.natIfTracked(chains, flows)
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
				out = append(out, w.withTracking(f, by, 1, untracked))
			}
			if pick != 1 {
				in = append(in, w.withTracking(f, by, 0, tracked))
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
			in = w.runBaseChain(c, in)
		}
	}
	out = append(out, in...)
	resetNAT(out)
	return w.merge(out)
}

// resetNAT clears natted, which isn't part of the state at other hooks.
func resetNAT(flows []flow) {
	for i, f := range flows {
		if f.packet.natted != No {
			p := *f.packet
			p.natted = No
			flows[i].packet = &p
		}
	}
}

// withTracking is a flow assumed to have a connection, or to have none.
func (w *walk) withTracking(f flow, by Decider, branch int, t tracking) flow {
	p := *f.packet
	p.track = t
	f.packet = &p
	f.doubts = w.doubt(f.doubts, by, branch)
	return f
}
