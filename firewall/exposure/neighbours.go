package exposure

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

// Neighbour discovery (RFC 4861) is to IPv6 what ARP is to IPv4, but its messages pass the IP
// hooks. Who can't be found gets no packet, and can't find this host either: a client on the link
// itself, the link's routers for the others. Where the rules refuse such a message, connections
// only work as long as the two still know each other. So they are in doubt, and not refused.
//
// Four messages matter: the neighbour's solicitation and our advertisement, our solicitation and
// the neighbour's advertisement.

const (
	neighbourSolicitation  = 135
	neighbourAdvertisement = 136

	solicits   = "nd-neighbor-solicit"
	advertises = "nd-neighbor-advert"

	// RefusesNeighbours is part of the reason of a Decider that may keep neighbours from finding
	// each other.
	RefusesNeighbours = "refuses neighbour discovery"
)

var (
	// linkPrefix6 are the link-local addresses that hosts have: fe80::/64 (RFC 4291 §2.5.6).
	linkPrefix6 = Range{Value{0xfe80 << 48, 0}, Value{0xfe80 << 48, ^uint64(0)}}
	// solicitedNodes are the groups that solicitations are sent to: ff02::1:ff00:0/104.
	solicitedNodes = Range{
		Value{0xff02 << 48, 0x1_ff00_0000}, Value{0xff02 << 48, 0x1_ffff_ffff},
	}
)

// refusedNeighbours are sources that can't connect while they have to be found, and why.
type refusedNeighbours struct {
	sources Ranges
	by      Decider
}

// NeighboursKnown makes answers assume that hosts on a link know each other, whatever keeps them
// from finding each other: rules about neighbour discovery, rules of netdev chains about ARP, or
// the host's arp_ignore. It must be called before the first question, and returns e.
func (e *Evaluator) NeighboursKnown() *Evaluator {
	e.neighboursKnown = true
	return e
}

// linkRules accounts for what refuses the packets by which neighbours find each other.
func (w *walk) linkRules(flows []flow) []flow {
	switch {
	case w.in != nil && !w.in.findsNeighbours():
		return flows
	case w.q.ICMPType != 0, w.q.later:
		return flows // the message itself, or a connection that was opened
	}
	lost := w.unfound()
	switch {
	case w.isFour():
		flows = w.arpRules(flows)
	case !w.e.neighboursKnown:
		lost = slices.Concat(lost, w.refusedNeighbours())
	}
	return w.lose(flows, lost)
}

// lose puts sources in doubt that may not be found.
func (w *walk) lose(flows []flow, lost []refusedNeighbours) []flow {
	for _, r := range lost {
		var out []flow
		for _, f := range flows {
			concerned := f
			concerned.sources = f.sources.Intersect(r.sources)
			if concerned.sources.Empty() {
				out = append(out, f)
				continue
			}
			out = append(out, w.perhapsLost(concerned, r.by)...)
			if f.sources = f.sources.Minus(r.sources); !f.sources.Empty() {
				out = append(out, f)
			}
		}
		flows = out
	}
	return flows
}

// perhapsLost is a flow whose packets may be lost on the link.
func (w *walk) perhapsLost(f flow, by Decider) []flow {
	pick := w.pick(2)
	w.step(&f, nil, "may be lost: "+by.inChain(), Maybe)
	if pick != 0 {
		drop := f
		drop.doubts = w.doubt(f.doubts, by, 1)
		w.finish(drop, Dropped, by)
	}
	if pick == 1 {
		return nil
	}
	f.doubts = w.doubt(f.doubts, by, 0)
	return []flow{f}
}

// findsNeighbours reports whether hosts on the interface's link have to find each other.
func (i *Interface) findsNeighbours() bool { return !i.Loopback && !i.Tunnel() && !i.NoNeighbours }

// ownAddress is the address that neighbours ask for: the one that was dialled, if the interface has
// it. Otherwise it isn't known which one, as for packets that are forwarded.
func (w *walk) ownAddress() netip.Addr {
	to := w.q.Destination
	if w.in != nil && w.in.has(to) ||
		w.e.host == nil && !w.q.Elsewhere {
		return to
	}
	return netip.Addr{}
}

// refusedNeighbours is what the rules refuse at the question's interface. Each source is in one
// part at most.
func (w *walk) refusedNeighbours() []refusedNeighbours {
	if !w.q.unicast() {
		return nil // groups aren't asked for
	}
	type key struct {
		neighboursAt      string
		outside, answered bool
		address           netip.Addr
	}
	k := key{w.q.Interface, w.q.Outside, w.q.answered(), w.ownAddress()}
	return w.discover(k, func(w *walk) any {
		link := w.link()
		nodes := NewRanges(solicitedNodes)
		group := solicitedNodes
		if k.address.IsValid() {
			group = One(solicitedGroup(Address(k.address)))
		}
		n := neighbours{link: link, on: w.q.Interface, left: AllSources(w.q.Family)}
		n.refuse(solicits, w.received(neighbourSolicitation, link, group))
		n.refuse(advertises, w.sent(neighbourAdvertisement, link))
		if k.answered {
			n.refuse(solicits, w.sent(neighbourSolicitation, nodes))
			n.refuse(advertises, w.received(neighbourAdvertisement, link, Range{}))
		}
		return n.refused
	}).([]refusedNeighbours)
}

// link is the addresses of hosts on the link. Without a host, only that they have link-local ones
// is known.
func (w *walk) link() Ranges {
	link := NewRanges(linkPrefix6)
	if w.in != nil {
		for _, a := range w.in.Addresses {
			if a.Addr().Is6() {
				link = link.Union(NewRanges(Prefix(a.Masked())))
			}
		}
	}
	return link
}

// received follows a neighbour's message to this host; to is the group that it is sent to, if any.
func (w *walk) received(message uint8, from Ranges, to Range) []ending {
	q := w.message(message)
	q.Interface, q.Sources, q.Within = w.q.Interface, from, to
	if to == (Range{}) {
		q.Destination = w.ownAddress()
	}
	m := w.e.newWalk(q)
	m.limit = w.left()
	m.run()
	w.pay(m)
	return m.endings()
}

// sent follows a message of this host, which the kernel sends by the interface without a look at
// routes (ndisc_send_skb in net/ipv6/ndisc.c).
func (w *walk) sent(message uint8, to Ranges) []ending {
	q := w.message(message)
	q.Destination = w.ownAddress()
	p := newPacket(q)
	p.track, p.out = untracked, outUnknown
	if w.in != nil {
		p.out, p.outIndex = outKnown, w.in.Index
	}
	m := &walk{e: w.e, q: q, doubts: map[doubtKey]*doubt{}, reply: &replying{
		first: p, dialled: p.now, arrived: w.q.Interface, clients: clientPorts,
	}}
	m.limit, m.most = w.left(), w.e.maxWork
	flows := []flow{{sources: to, packet: p}}
	for _, h := range []Hook{HookOutput, HookPostrouting, HookEgress} {
		flows = m.atHook(h, flows)
	}
	for _, f := range flows {
		m.finish(f, Forwarded, Decider{})
	}
	w.pay(m)
	return m.endings()
}

func (w *walk) message(message uint8) Question {
	return Question{
		Family: address.IPv6, Protocol: firewall.Ping, ICMPType: message, Outside: w.q.Outside,
		Answers: NoAnswers, NoExtensions: true,
	}
}

// endings are a walk's outcomes, with what it didn't decide.
func (w *walk) endings() []ending {
	for _, u := range w.undecided {
		w.ended = append(w.ended, ending{
			flow: flow{sources: u.sources, packet: newPacket(w.q)}, outcome: Dropped, by: u.by,
		})
	}
	return w.ended
}

// neighbours collects what is refused at an interface.
type neighbours struct {
	link    Ranges
	on      string
	left    Ranges // sources not judged yet
	refused []refusedNeighbours
}

// refuses reports whether a message is stopped by a rule or policy, or isn't decided. Bridge chains
// concern every packet.
func (e ending) refuses() bool {
	by := e.by
	switch {
	case e.outcome.Passes():
		return false
	case by.Chain == nil:
		return strings.HasPrefix(by.Reason, tooComplex) || strings.HasPrefix(by.Reason, tooManyWays)
	}
	return by.Chain.Table == nil || by.Chain.Table.Family != FamilyBridge
}

// refuse adds what stops a message. Only rules and policies count: what else is in doubt about a
// message is so about every packet.
func (n *neighbours) refuse(message string, ends []ending) {
	var passing, lost Ranges
	for _, e := range ends {
		if e.outcome.Passes() && !e.packet.unusual {
			passing = passing.Union(e.sources)
		} else if !e.outcome.Passes() {
			lost = lost.Union(e.sources)
		}
	}
	passing = passing.Minus(lost)
	for _, e := range ends {
		by := e.by
		if !e.refuses() {
			continue
		}
		sources := e.sources
		switch {
		case solicitedNodes.Contains(sources.At(0).From): // the group that a solicitation goes to
			sources = n.left
		case passing.Empty():
			// Clients behind a router need the router. Which address it has isn't known.
			sources = n.left.Minus(n.link).Union(sources)
		}
		if sources = sources.Intersect(n.left); sources.Empty() {
			continue
		}
		n.left = n.left.Minus(sources)
		why := RefusesNeighbours + " (" + message + ")"
		if n.on != "" {
			why += " by " + n.on
		}
		why += ", so hosts that aren't in the neighbour cache can't connect"
		if by.Rule == nil {
			why = by.Reason + ": " + why
		}
		by.Reason = why
		n.refused = append(n.refused, refusedNeighbours{sources, by})
	}
}

// ofNeighbours reports whether the question is about a message of neighbour discovery: 133 to 137.
func (q Question) ofNeighbours() bool { return q.ICMPType >= 133 && q.ICMPType <= 137 }
