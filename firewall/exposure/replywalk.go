package exposure

// runReply carries the clients through all hooks.
func (w *walk) runReply(start *packet, clients Ranges) {
	flows := []flow{{sources: clients, packet: start}}
	if w.reply.forwarded {
		flows = w.atHook(HookIngress, w.bridgeChains(flows))
		flows = w.routeReply(w.atHook(HookPrerouting, flows))
		flows = w.atHook(HookForward, flows)
	} else {
		w.hook = HookOutput
		flows = w.atHook(HookOutput, w.routeReply(flows))
	}
	flows = w.bridgeChainsOut(w.atHook(HookPostrouting, flows))
	for _, f := range w.atHook(HookEgress, flows) {
		w.sendReply(f)
	}
}

// sendReply ends the way of an answer that leaves. The client accepts it only from the dialled
// address.
func (w *walk) sendReply(f flow) {
	p := f.packet
	by := Decider{Reason: "the answer isn't translated back"}
	lost := No
	switch {
	case p.headerUnknown:
		lost, by.Reason = Maybe, "a rule may do something unknown to the answer"
	case p.now.known() && p.orig.known() && p.now != p.orig:
		lost = Yes
	case p.now != p.orig || p.headerSource != p.origSource:
		lost = Maybe
	default:
		lost = w.reply.rewrittenStatelessly()
	}
	pick := -1
	if lost == Maybe {
		pick = w.pick(2)
	}
	if lost != No && pick != 0 {
		g := f
		effect := "lost: "
		if lost == Maybe {
			effect = "may be lost: "
			g.doubts = w.doubt(f.doubts, by, 1)
		}
		w.step(&g, nil, effect+by.Reason, lost)
		w.finish(g, Dropped, by)
	}
	if lost == Maybe {
		f.doubts = w.doubt(f.doubts, by, 0)
	}
	if lost == Yes || pick == 1 {
		return
	}
	if f.packet.tunnelled {
		w.lostInTunnel(f)
	} else {
		for _, f := range w.answerUnfound(f) {
			w.finish(f, Forwarded, Decider{})
		}
	}
}

// rewrittenStatelessly reports whether a rule may have written another destination to the first
// packet. The kernel doesn't undo that for the answer.
func (r *replying) rewrittenStatelessly() Tri {
	p := r.first
	switch {
	case p.orig.port.From == p.orig.port.To && p.orig.port != r.dialled.port:
		return Yes
	case p.orig.addr.From == p.orig.addr.To && r.dialled.known() && p.orig.addr != r.dialled.addr:
		return Yes
	case r.dialled.known() && p.orig != r.dialled:
		return Maybe
	case !r.dialled.known() && p.moved && !p.status.Known.And(Number(ctDNAT)).IsZero() &&
		p.status.Value.And(Number(ctDNAT)).IsZero():
		return Maybe
	}
	return No
}

// bridgeChainsOut accounts for bridge chains, which aren't followed.
func (w *walk) bridgeChainsOut(flows []flow) []flow {
	for _, t := range w.e.rules.Tables {
		if t.Family != FamilyBridge || t.Dormant {
			continue
		}
		for _, c := range t.Chains {
			if c.Base == nil || len(c.Rules) == 0 && c.Base.Policy == VerdictAccept {
				continue
			}
			var out, perhaps []flow
			for _, f := range flows {
				i := w.e.host.ByIndex(f.packet.outIndex)
				if f.packet.out == outKnown && i != nil && !w.e.host.onBridge(i) ||
					w.e.host == nil {
					out = append(out, f)
				} else {
					perhaps = append(perhaps, f)
				}
			}
			return append(
				out,
				w.anyEffectAt(
					perhaps,
					Decider{Chain: c, Reason: "bridge chains aren't followed"},
				)...)
		}
	}
	return flows
}

// traceReplies follows the answers to the flows that got through, to record their steps.
func (w *walk) traceReplies() {
	if !w.q.answered() || w.in != nil && w.in.Loopback {
		return
	}
	for _, e := range w.ended {
		if e.outcome.Passes() && !w.tooFar {
			r, start := w.replyWalk(e.flow, e.outcome)
			r.spent = w.spent
			r.runReply(start, e.sources)
			w.spent = r.spent
		}
	}
}
