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
		by := Decider{}
		for _, on := range w.linksOut(f.packet) {
			if by = w.targetLost(on, f.packet.now.addr); by.Reason != "" {
				break
			}
		}
		if by.Reason == "" {
			out = append(out, f)
		} else {
			out = append(out, w.perhapsLost(f, by)...)
		}
	}
	return out
}

// linksOut are the interfaces that a packet may leave by, where hosts have to find each other.
func (w *walk) linksOut(p *packet) (out []*Interface) {
	if w.e.host == nil {
		return nil
	}
	for i := range w.e.host.Interfaces {
		on := &w.e.host.Interfaces[i]
		if (p.out != outKnown || on.Index == p.outIndex) && on.findsNeighbours() {
			out = append(out, on)
		}
	}
	return out
}

// targetLost is what keeps this host and the next one on the way to a target from finding each
// other; the zero Decider if nothing does.
func (w *walk) targetLost(on *Interface, target Range) Decider {
	if !w.isFour() {
		return w.targetUnfound(on, target, "the target", w.q.answered())
	}
	asked := w.in == nil || w.in.findsNeighbours() // then linkRules has looked at w.in
	switch {
	case !asked && w.e.arp.Chain != nil:
		return w.e.arp
	case asked && on == w.in:
		return Decider{}
	}
	return w.e.refusedARP(on, on.Name)
}

// answerUnfound accounts for what keeps this host from finding the next one on an answer's way. The
// link that the first packet came by needs no second look, and rules of ARP none if hosts on that
// link have to find each other: see linkRules.
func (w *walk) answerUnfound(f flow) []flow {
	if w.q.ICMPType != 0 || w.q.later {
		return []flow{f}
	}
	arrived := w.e.host.Interface(w.reply.arrived)
	asked := arrived == nil || arrived.findsNeighbours()
	for _, on := range w.linksOut(f.packet) {
		by := Decider{}
		switch {
		case w.isFour() && !asked && w.e.arp.Chain != nil:
			by = w.e.arp
		case on.Name == w.reply.arrived:
		case w.isFour():
			by = w.e.refusedARP(on, on.Name)
		default:
			by = w.targetUnfound(on, Full(w.q.Family.Bits()), "the client's link", false)
		}
		if by.Reason != "" {
			return w.perhapsLost(f, by)
		}
	}
	return []flow{f}
}

// targetUnfound is what refuses neighbour discovery between this host and the next one on the way to
// some target; the zero Decider if nothing does. answered: the target has to find this host too.
func (w *walk) targetUnfound(on *Interface, target Range, whom string, answered bool) Decider {
	if w.e.neighboursKnown || multicast6.Contains(target.From) {
		return Decider{}
	}
	type key struct {
		targetBy          string
		target            Range
		outside, answered bool
		whom              string
	}
	k := key{on.Name, target, w.q.Outside, answered, whom}
	return w.discover(k, func(n *walk) any {
		n.in, n.q = on, w.message(0)
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
			i := slices.IndexFunc(e.ends, ending.refuses)
			if i >= 0 {
				by := e.ends[i].by
				why := RefusesNeighbours + " (" + e.message + ") by " + on.Name +
					", so this host can't find " + whom + " if it isn't in the neighbour cache"
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
