package exposure

import (
	"slices"
)

// A packet that is forwarded needs the link address of its target, or of the router before it. The
// kernel asks for that as for any neighbour: by ARP, or by solicitations that pass output and
// postrouting, whose answers pass prerouting and input (ndisc_send_skb in net/ipv6/ndisc.c). A
// target may have to find this host too, for its answers. Where rules refuse one of these messages,
// packets are lost unless the two know each other.

// findTarget accounts for what refuses the packets by which this host and the next one on the way
// find each other.
func (w *walk) findTarget(flows []flow) (out []flow) {
	if w.q.ICMPType != 0 || w.q.later {
		return flows
	}
	for _, f := range flows {
		on := w.e.host.ByIndex(f.packet.outIndex)
		if f.packet.out != outKnown || on == nil || !on.findsNeighbours() {
			out = append(out, f)
			continue
		}
		if w.isFour() {
			if w.in != nil && !w.in.findsNeighbours() { // otherwise linkRules has done so
				out = append(out, w.arpRules([]flow{f})...)
			} else {
				out = append(out, f)
			}
			continue
		}
		if by := w.targetUnfound(on, f.packet.now.addr); by.Reason != "" {
			out = append(out, w.perhapsLost(f, by)...)
		} else {
			out = append(out, f)
		}
	}
	return out
}

// targetUnfound is what refuses neighbour discovery between this host and the next one on the way to
// some target; the zero Decider if nothing does.
func (w *walk) targetUnfound(on *Interface, target Range) Decider {
	if w.e.neighboursKnown || multicast6.Contains(target.From) {
		return Decider{}
	}
	type key struct {
		targetBy          string
		target            Range
		outside, answered bool
	}
	k := key{on.Name, target, w.q.Outside, w.q.answered()}
	return w.e.remember(k, func() any {
		n := &walk{e: w.e, in: on, q: w.message(0)}
		n.q.Interface = on.Name
		next := n.nextHops(target)
		groups := []Range{solicitedNodes}
		if next.Len() > 0 && next.Len() <= maxTargets {
			groups = groups[:0]
			for r := range next.All() {
				if r.From != r.To {
					groups = []Range{solicitedNodes}
					break
				}
				groups = append(groups, One(solicitedGroup(r.From)))
			}
		}
		type judged struct {
			message string
			ends    []ending
		}
		ends := []judged{
			{solicits, n.sent(neighbourSolicitation, NewRanges(groups...))},
			{advertises, n.received(neighbourAdvertisement, next, Range{})},
		}
		if k.answered {
			asking := next.Union(NewRanges(linkPrefix6))
			ends = append(ends,
				judged{solicits, n.received(neighbourSolicitation, asking, solicitedNodes)},
				judged{advertises, n.sent(neighbourAdvertisement, asking)},
			)
		}
		for _, e := range ends {
			i := slices.IndexFunc(e.ends, func(x ending) bool {
				return !x.outcome.Passes() && x.by.Chain != nil &&
					!(x.by.Chain.Table != nil && x.by.Chain.Table.Family == FamilyBridge)
			})
			if i >= 0 {
				by := e.ends[i].by
				why := RefusesNeighbours + " (" + e.message + ") by " + on.Name +
					", so this host can't find the target if it isn't in the neighbour cache"
				if by.Rule == nil {
					why = by.Reason + ": " + why
				}
				by.Reason = why
				return by
			}
		}
		return Decider{}
	}).(Decider)
}

// nextHops are the hosts on the link that packets to a target may be sent to.
func (w *walk) nextHops(target Range) Ranges {
	if target.From != target.To {
		return w.link()
	}
	to := target.From.IPv6()
	var next []Range
	for _, g := range w.e.host.Gateways(w.in.Name, to) {
		if !g.IsValid() {
			g = to
		}
		if g.Is6() {
			next = append(next, One(Address(g.WithZone(""))))
		}
	}
	if len(next) == 0 {
		return w.link()
	}
	return NewRanges(next...)
}

// solicitedGroup is the group that a solicitation for an address is sent to.
func solicitedGroup(v Value) Value {
	last, _ := v.And(Ones(24)).Uint64()
	return solicitedNodes.From.Or(Number(last))
}
