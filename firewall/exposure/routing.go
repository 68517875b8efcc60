package exposure

import (
	"slices"

	"github.com/portgrave/portgrave/firewall/address"
)

// Where routing may send a packet.
type routeKind uint8

const (
	toSocket routeKind = iota
	toWire
	toNowhere
)

// routed is one result that routing may have for a packet.
type routed struct {
	kind     routeKind
	out      int // index, toWire; 0: unknown
	reason   string
	doubtful bool
}

// route decides between prerouting and input or forward (ip_route_input_slow in net/ipv4/route.c,
// ip6_route_input in net/ipv6/route.c).
func (w *walk) route(flows []flow) (local, forward []flow) {
	w.routing = true
	defer func() { w.routing = false }()
	for _, f := range flows {
		ways := w.ways(f.packet)
		if w.routesByPort() && w.mayAssume(f.packet) {
			var usual []routed
			taken := w.usually(func() { usual = w.ways(f.packet) })
			if !slices.Equal(usual, ways) {
				w.noteAssumptions(taken)
				w.send(w.routedUnusually(f), ways, &local, &forward)
				ways = usual
			}
		}
		w.send(f, ways, &local, &forward)
	}
	return w.merge(local), w.merge(forward)
}

// send sends a flow on all its ways.
func (w *walk) send(f flow, ways []routed, local, forward *[]flow) {
	if w.picker != nil && w.picker.ordinary && f.packet.unusual {
		return
	}
	pick := w.pick(len(ways))
	for i, r := range ways {
		if pick >= 0 && i != pick {
			continue
		}
		g := f
		if len(ways) > 1 || r.doubtful {
			g.doubts = w.doubt(f.doubts, Decider{Reason: "routing: " + r.reason}, i+2)
		}
		w.validate(g, r, local, forward)
	}
}

// routesByPort reports whether a routing rule looks at protocol or ports.
func (w *walk) routesByPort() bool { return w.e.fib != nil && w.e.fib.byPort }

// routedUnusually is a flow of packets from another port than ordinary clients have.
func (w *walk) routedUnusually(f flow) flow {
	p := *f.packet
	p.unusual = true
	f.packet = &p
	f.doubts = w.doubt(f.doubts, Decider{Reason: "routing rules look at the client's port"}, 0)
	return f
}

// AssumedNoMarkRouting is what an answer without a host assumes of packets that rules mark. With
// "ip rule add fwmark", the mark may lead them elsewhere.
const AssumedNoMarkRouting = "routing doesn't go by the packet's mark"

// ways returns where routing may send a packet from any source.
func (w *walk) ways(p *packet) []routed {
	socket, wire := routed{
		kind:   toSocket,
		reason: "for this host",
	}, routed{
		kind:   toWire,
		reason: "forwarded",
	}
	var ways []routed
	if p.tproxy != No {
		ways = append(
			ways,
			routed{
				kind:     toSocket,
				reason:   "to the transparent proxy, if a rule routes it here",
				doubtful: true,
			},
		)
	}
	if w.e.fib == nil && p.mark != Known(Value{}, 32) {
		w.noteAssumption(AssumedNoMarkRouting)
	}
	addr, known := view{within: p.now.addr}.single()
	switch {
	case w.e.fib == nil && w.q.Elsewhere && !p.moved:
		return append(ways, wire)
	case p.local || !p.moved && w.e.fib == nil:
		return append(ways, socket)
	case w.e.fib == nil:
		socket.reason = "for this host, or forwarded: its addresses aren't known"
		wire.reason = socket.reason
		return append(ways, socket, wire)
	case !known:
		return append(
			ways,
			socket,
			wire,
			routed{kind: toNowhere, reason: "the destination isn't known"},
		)
	}
	if reason := w.martianDestination(addr); reason != "" {
		return append(ways, routed{kind: toNowhere, reason: reason})
	}
	// The kernel looks up no route for these (ip_route_input_rcu and ip_route_input_slow).
	if w.q.Family == address.IPv4 && multicast4.Contains(addr) {
		return append(ways, routed{kind: toSocket, reason: "a multicast group", doubtful: true},
			routed{kind: toNowhere, reason: "a multicast group", doubtful: true})
	}
	if w.q.Family == address.IPv4 && addr == Number(1<<32-1) {
		return append(ways, routed{kind: toSocket, reason: "a broadcast"})
	}
	k := fibKey{
		family:   w.q.Family,
		in:       w.q.Interface,
		inKnown:  w.q.Interface != "",
		mark:     p.mark,
		protocol: uint8(w.q.number()),
		port:     p.now.port,
		from:     w.usualPorts(p),
	}
	// If rules select by source, any of the results is possible.
	for _, g := range w.e.fib.lookup(w.e.fib.canonical(k), addr) {
		r := routed{doubtful: g.doubtful}
		switch {
		case g.kind == RouteLocal || g.kind == RouteAnycast && w.q.Family == address.IPv6:
			r.kind, r.reason = toSocket, "for this host"
			if linkLocal(w.q.Family, addr) && w.in != nil && !g.route.uses(w.in.Index) {
				r.kind, r.reason = toNowhere, "a link-local address of another interface"
			}
		case g.kind == RouteBroadcast && w.q.Family == address.IPv4:
			r.kind, r.reason = toSocket, "a broadcast"
		case g.kind == RouteMulticast:
			ways = append(ways, routed{kind: toSocket, reason: "a multicast group", doubtful: true})
			r.kind, r.reason, r.doubtful = toNowhere, "a multicast group", true
		case g.kind != RouteUnicast:
			r.kind, r.reason = toNowhere, "no route"
			if g.kind != RouteUnspec {
				r.reason = "the route refuses"
			}
		default:
			ways = append(ways, w.forwards(g)...)
			continue
		}
		ways = append(ways, r)
	}
	return ways
}

// forwards returns the outcome for a packet to another machine.
func (w *walk) forwards(g found) []routed {
	refuse := routed{kind: toNowhere, reason: "forwarding is off", doubtful: g.doubtful}
	on := Maybe
	if w.in != nil {
		on = triFromBool(w.e.host.Forwards(w.in, w.q.Family))
	} else {
		some, all := false, true
		for i := range w.e.host.Interfaces {
			f := w.e.host.Forwards(&w.e.host.Interfaces[i], w.q.Family)
			some, all = some || f, all && f
		}
		if some == all {
			on = triFromBool(all)
		}
	}
	if on == No {
		return []routed{refuse}
	}
	var ways []routed
	for _, n := range g.route.NextHops {
		if !n.Dead && !slices.ContainsFunc(ways, func(r routed) bool { return r.out == n.Index }) {
			if why := w.e.host.cutOff(n.Index); why != "" {
				ways = append(ways, routed{kind: toNowhere, reason: why, doubtful: true})
			}
			ways = append(
				ways,
				routed{
					kind:     toWire,
					out:      n.Index,
					reason:   "forwarded",
					doubtful: g.doubtful || on == Maybe,
				},
			)
		}
	}
	if on == Maybe || len(ways) == 0 {
		ways = append(ways, refuse)
	}
	return ways
}

// cutOff says that an interface sends nothing now, as it has no carrier; "" if it does. That is
// often so for a while only, so an answer counts both ways.
func (h *Host) cutOff(index int) string {
	if i := h.ByIndex(index); i != nil && i.NoCarrier {
		return i.Name + " has no carrier now: it sends nothing while that is so"
	}
	return ""
}

func triFromBool(b bool) Tri {
	if b {
		return Yes
	}
	return No
}

// Address ranges that routing treats specially (include/linux/in.h, include/net/ipv6.h).
var (
	// 127.0.0.0/8
	loopback4 = Numbers(
		0x7f000000,
		0x7fffffff,
	)
	// 224.0.0.0/4
	multicast4 = Numbers(
		0xe0000000,
		0xefffffff,
	)
	multicast6 = Range{
		Value{0xff << 56, 0}, Ones(128),
	} // ff00::/8
	linkLocal6 = Range{
		Value{0xfe80 << 48, 0}, Value{0xfebf<<48 | (1<<48 - 1), ^uint64(0)},
	} // fe80::/10
	mapped6 = Range{
		Value{0, 0xffff << 32}, Value{0, 0xffff<<32 | 0xffffffff},
	} // ::ffff:0.0.0.0/96
)

func linkLocal(f address.Family, addr Value) bool {
	return f == address.IPv6 && linkLocal6.Contains(addr)
}

func (w *walk) martianDestination(addr Value) string {
	switch {
	case w.in != nil && w.in.Loopback:
	case w.q.Family == address.IPv4 && addr.IsZero():
		return "martian destination 0.0.0.0"
	case w.q.Family == address.IPv4 && loopback4.Contains(addr) && w.in != nil &&
		!w.e.host.RouteLocalnet(w.in):
		return "martian destination: route_localnet is off"
	case w.q.Family == address.IPv6 && addr == Number(1):
		return "the loopback address from outside"
	}
	return ""
}

// validate lets the sources through that routing accepts: fib_validate_source in
// net/ipv4/fib_frontend.c. IPv6 checks only a few addresses.
func (w *walk) validate(f flow, r routed, local, forward *[]flow) {
	if r.kind == toNowhere {
		w.step(&f, nil, "dropped: "+r.reason, Yes)
		w.finish(f, Dropped, Decider{Reason: r.reason})
		return
	}
	through := []flow{f}
	if w.e.fib != nil || w.fromOutside() {
		through = w.checkSource(f, r)
	}
	for _, f := range through {
		if r.kind == toSocket {
			w.step(&f, nil, r.reason, Yes)
			*local = append(*local, f)
			continue
		}
		p := *f.packet
		p.out, p.outIndex = outUnknown, 0
		effect := "forwarded"
		if out := w.e.host.ByIndex(r.out); r.out != 0 && out != nil {
			p.out, p.outIndex = outKnown, r.out
			effect = "forwarded by " + out.Name
		}
		f.packet = &p
		w.step(&f, nil, effect, Yes)
		*forward = append(*forward, f)
	}
}

// checkSource returns what remains of a flow after the check of its sources.
func (w *walk) checkSource(f flow, r routed) []flow {
	checks := w.sourceChecks(f.packet, r)
	if !w.routesByPort() || !w.mayAssume(f.packet) {
		return w.passing(f, r, checks)
	}
	var usual []sourceCheck
	taken := w.usually(func() { usual = w.sourceChecks(f.packet, r) })
	if slices.EqualFunc(usual, checks, sourceCheck.equal) {
		return w.passing(f, r, checks)
	}
	w.noteAssumptions(taken)
	through := w.passing(f, r, usual)
	if w.picker != nil && w.picker.ordinary {
		return through
	}
	return append(through, w.passing(w.routedUnusually(f), r, checks)...)
}

func (c sourceCheck) equal(o sourceCheck) bool {
	return c.passes == o.passes && c.reason == o.reason && c.addrs.Equal(o.addrs)
}

// passing returns what remains of a flow after some checks.
func (w *walk) passing(f flow, r routed, checks []sourceCheck) []flow {
	var through []flow
	rest := f
	for _, c := range slices.Concat(checks, w.hairpin(f.packet, r)) {
		part := f
		part.sources = rest.sources.Intersect(c.addrs)
		if part.sources.Empty() {
			continue
		}
		rest.sources = rest.sources.Minus(c.addrs)
		by := Decider{Reason: c.reason}
		pick := -1
		if c.passes == Maybe {
			pick = w.pick(2)
		}
		if pick != 1 {
			drop := part
			if c.passes == Maybe {
				drop.doubts = w.doubt(f.doubts, by, 1)
			}
			w.step(&drop, nil, "dropped: "+c.reason, Yes)
			w.finish(drop, Dropped, by)
		}
		if c.passes == Maybe && pick != 0 {
			part.doubts = w.doubt(f.doubts, by, 0)
			through = append(through, part)
		}
	}
	if !rest.sources.Empty() {
		through = append(through, rest)
	}
	return through
}
