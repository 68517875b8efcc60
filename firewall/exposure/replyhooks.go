package exposure

import (
	"math"
	"slices"

	"github.com/portgrave/portgrave/firewall"
)

// The hooks that an answer passes, with their chains and the kernel's own hooks between them.

// replyGroup runs the kernel's own hooks up to a priority, and then the chains of that priority.
func (w *walk) replyGroup(g group, flows []flow) []flow {
	flows = w.kernelHooks(flows, g.priority)
	if !w.besideNAT(g) {
		return w.runGroup(g, flows)
	}
	by := Decider{Reason: "whether a chain comes before NAT of the same priority isn't known"}
	early, late := slices.Clone(
		flows,
	// NAT runs before the chains, or after them
	), slices.Clone(
		flows,
	)
	for i, f := range flows {
		early[i].doubts, late[i].doubts = w.doubt(f.doubts, by, 0), w.doubt(f.doubts, by, 1)
	}
	pick := w.pick(2)
	var out []flow
	if pick != 1 {
		out = w.runGroup(g, w.undo(early))
	}
	if pick != 0 {
		w.reply.undone = false // the other order starts from the same state
		out = append(out, w.undo(w.runGroup(g, late))...)
	}
	return w.merge(out)
}

// besideNAT reports whether chains other than NAT's have the priority of the kernel's NAT hook, so
// that their order isn't known.
func (w *walk) besideNAT(g group) bool {
	at, ok := w.natPriority()
	return ok && g.priority == at && !w.reply.undone && w.e.conntrack[w.q.Family] == Yes &&
		!g.contains(func(u unit) bool { return u.nat })
}

// contains reports whether a function accepts any of the units.
func (g group) contains(picks func(unit) bool) bool {
	return slices.ContainsFunc(g.orders, func(units []unit) bool {
		return slices.ContainsFunc(units, picks)
	})
}

// reroutes reports whether the kernel routes the packet again after the chain if that has changed
// its mark, its addresses or its TOS, for IPv6 its hop limit or flow label instead
// (nf_route_table_hook4 in net/netfilter/nft_chain_route.c, ipt_mangle_out in
// net/ipv4/netfilter/iptable_mangle.c).
func (c *chain) reroutes() bool {
	return c.Base.Type == TypeRoute || c.Table.System != NFTables && c.Table.Name == "mangle"
}

// mayReroute reports whether routing again after a chain may lead an answer elsewhere.
func (w *walk) mayReroute(c *chain) bool {
	return w.reply != nil && w.hook == HookOutput && w.e.fib != nil && w.e.fib.byMark &&
		c.reroutes()
}

// rerouting runs a chain, and routes again what it has changed.
func (w *walk) rerouting(c *chain, flows []flow) []flow {
	in := slices.Clone(flows)
	for i, f := range in {
		p := *f.packet
		p.markBefore, p.touched = p.mark, No
		in[i].packet = &p
	}
	var same, changed []flow
	for _, f := range w.onDevice(c, in) {
		p := *f.packet
		t := differs(p.markBefore, p.mark).Or(p.touched)
		p.markBefore, p.touched = Bits{}, No
		f.packet = &p
		again, pick := f, -1
		if t == Maybe {
			by := Decider{Reason: "whether the answer is routed again isn't known"}
			f.doubts, again.doubts = w.doubt(f.doubts, by, 0), w.doubt(f.doubts, by, 1)
			pick = w.pick(2)
		}
		if t != Yes && pick != 1 {
			same = append(same, f)
		}
		if t != No && pick != 0 {
			changed = append(changed, again)
		}
	}
	return w.merge(append(same, w.routeReply(changed)...))
}

// differs reports whether a mark has changed. An unknown one that no rule has written is the same.
func differs(before, after Bits) Tri {
	both := before.Known.And(after.Known)
	switch {
	case before == after:
		return No
	case before.Value.And(both) != after.Value.And(both):
		return Yes
	}
	return Maybe
}

// touched is a flow after a statement that may write to the header where a packet's way doesn't
// depend on it.
func (w *walk) touched(s NoEffect, f flow) flow {
	if s.Header {
		p := *f.packet
		p.written = true
		w.touch(&p)
		f.packet = &p
	}
	return f
}

// touch notes that the header may differ from what it was before the chain, if that matters.
func (w *walk) touch(p *packet) {
	if len(w.running) > 0 && w.mayReroute(w.running[0]) {
		p.touched = p.touched.Or(Maybe)
	}
}

// natPriority is the priority of the kernel's NAT hook. It is false if this hook has none.
func (w *walk) natPriority() (int32, bool) {
	switch w.hook {
	case HookPrerouting, HookOutput:
		return PriorityNATDestination, true
	case HookPostrouting:
		return PriorityNATSource, true
	}
	return math.MinInt32, false
}

// kernelHooks runs the kernel's own hooks before a priority: conntrack finds the connection, NAT
// undoes its translations (nf_nat_packet in net/netfilter/nf_nat_core.c): the destination at
// prerouting and output, the source at postrouting.
func (w *walk) kernelHooks(flows []flow, before int32) []flow {
	if early := w.hook == HookPrerouting || w.hook == HookOutput; early && !w.reply.recognised &&
		before > PriorityConntrack {
		w.reply.recognised = true
		flows = w.recognise(flows)
	}
	if at, ok := w.natPriority(); ok && before > at {
		flows = w.undo(flows)
	}
	if before == math.MaxInt32 {
		w.reply.recognised, w.reply.undone = false, false // for the next hook
	}
	return flows
}

// recognise is conntrack: it finds the first packet's connection, if there is one.
func (w *walk) recognise(flows []flow) []flow {
	first := w.reply.first
	out := slices.Clone(flows)
	for i, f := range flows {
		p := *f.packet
		sameZone := p.zone == first.zone && p.zone.Known == Ones(16) && p.template != Maybe
		switch {
		case p.track == untracked:
		case first.track == tracked && p.track == tracked && sameZone && w.expectedReply(&p) == Yes:
			p.status.Value = p.status.Value.Or(Number(ctSeenReply | ctConfirmed))
			if w.q.Protocol != firewall.TCP {
				p.status.Known = p.status.Known.AndNot(Number(ctAssured))
			}
		case w.q.Protocol == firewall.TCP &&
			(first.track == untracked || w.expectedReply(&p) == No):
			// a SYN and ACK begins no connection (tcp_new in nf_conntrack_proto_tcp.c)
			p.track = connectionNotFound
		default:
			p.track = perhapsTracked
			p.ctMark, p.label, p.status = Bits{}, Bits{}, Bits{}
		}
		p.zone = first.zone
		out[i].packet = &p
	}
	return w.merge(out)
}

// expectedReply reports whether an answer comes from where its connection expects it. It doesn't if
// a rule changed the first packet's destination after conntrack.
func (w *walk) expectedReply(p *packet) Tri {
	first := w.reply.first
	switch {
	case !first.rewritten:
		return Yes
	case first.headerUnknown || p.headerUnknown || !p.now.known() || !first.reply.known():
		return Maybe
	case p.now == first.reply:
		return Yes
	}
	return No
}

// undo is the kernel's NAT hook: it undoes the connection's translation.
func (w *walk) undo(flows []flow) []flow {
	if w.reply.undone || w.e.conntrack[w.q.Family] != Yes {
		return flows
	}
	w.reply.undone = true
	var out []flow
	for _, f := range flows {
		p := *f.packet
		if w.hook == HookPostrouting {
			p.now, p.moved = p.orig, false
			p.local = w.reply.first.local
		} else if p.headerSource != p.origSource {
			p.headerSource, p.sport = p.origSource, w.reply.clients
		}
		if p == *f.packet || p.track == untracked || p.track == connectionNotFound {
			out = append(out, f)
			continue
		}
		pick := -1
		g := f
		if p.track == perhapsTracked {
			by := Decider{Reason: "whether the answer's connection is found isn't known"}
			pick = w.pick(2)
			g.doubts = w.doubt(f.doubts, by, 0)
			f.doubts = w.doubt(f.doubts, by, 1)
			if pick != 0 {
				out = append(out, f)
			}
		}
		if pick == 1 {
			continue
		}
		again := w.hook == HookOutput && p.headerSource != g.packet.headerSource
		g.packet = &p
		if again {
			out = append(out, w.routeReply([]flow{g})...)
		} else {
			out = append(out, g)
		}
	}
	return w.merge(out)
}

// replyNAT is the NAT hook with its chains, which see only packets that begin a connection.
func (w *walk) replyNAT(chains []*chain, flows []flow) []flow {
	flows = w.undo(flows)
	if w.q.Protocol == firewall.TCP {
		return flows
	}
	var out, perhaps []flow
	for _, f := range flows {
		if f.packet.track == perhapsTracked {
			perhaps = append(perhaps, f)
		} else {
			out = append(out, f)
		}
	}
	if len(perhaps) == 0 {
		return out
	}
	return w.merge(append(out, w.natIfTracked(chains, perhaps)...))
}
