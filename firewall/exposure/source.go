package exposure

import (
	"github.com/portgrave/portgrave/firewall/address"
)

// sourceCheck is sources that routing doesn't take, or may not (passes is No or Maybe).
type sourceCheck struct {
	addrs  Ranges
	passes Tri
	reason string
}

// sourceChecks is every source that routing may refuse on a way, in disjoint parts.
func (w *walk) sourceChecks(p *packet, r routed) []sourceCheck {
	if w.in != nil && w.in.Loopback {
		return nil // routed when it was sent
	}
	if w.q.Family == address.IPv6 {
		return w.sourceChecks6(r)
	}
	if w.e.fib == nil {
		return w.outsideChecks(p, r)
	}
	type key struct {
		in   string
		out  int
		zero bool
		fib  fibKey
	}
	k, nobody := w.reverseKey(p, r), w.refusedSources4(p, r)
	return w.e.remember(
		key{w.q.Interface, r.out, nobody.Contains(Value{}), w.e.fib.canonical(k)},
		func() any { return w.sourceChecks4(k, nobody) },
	).([]sourceCheck)
}

// reverseKey is what fib_validate_source asks with: addresses swapped, coming in where the packet
// would go out. Older kernels don't swap the ports.
func (w *walk) reverseKey(p *packet, r routed) fibKey {
	k := fibKey{
		family: address.IPv4, in: "lo", inKnown: true, mark: Known(Value{}, 32),
		protocol: uint8(w.q.number()), port: w.usualPorts(p), from: p.now.port, turned: true,
	}
	if out := w.e.host.ByIndex(r.out); r.out != 0 && out != nil {
		k.in = out.Name
	} else if r.kind == toWire {
		k.in, k.inKnown = "", false
	}
	if w.in == nil {
		k.mark = p.mark.Join(k.mark)
	} else if w.e.host.SrcValidMark(w.in) {
		k.mark = p.mark
	}
	k.other, k.otherKnown = view{within: p.now.addr}.single()
	return k
}

func (w *walk) sourceChecks4(k fibKey, refused Ranges) []sourceCheck {
	h, in := w.e.host, w.in
	if in == nil || !h.RouteLocalnet(in) {
		refused = refused.Union(NewRanges(loopback4))
	}
	var checks []sourceCheck
	checks = append(checks, sourceCheck{refused, No, "martian source"})
	if in == nil {
		return append(checks, w.elsewhere(refused)...)
	}
	var own, wrong, doubtful []Range
	filter := h.RPFilter(in)
	// With rp_filter off only the host's own addresses are looked for, unless that would not be
	// enough.
	full := filter != 0 || w.e.fib.custom
	for _, c := range w.e.cuts(address.IPv4) {
		var passes [3]bool // as own address, as wrong way, at all
		if !full {
			passes[2] = h.AcceptLocal(in) || !h.owns(c.From)
			passes[0] = !passes[2]
		} else {
			for _, g := range w.e.fib.lookup(k, c.From) {
				passes[w.reverse(g, filter)] = true
			}
		}
		switch {
		case passes[2] && (passes[0] || passes[1]):
			doubtful = append(doubtful, c)
		case passes[1]:
			wrong = append(wrong, c)
		case passes[0]:
			own = append(own, c)
		}
	}
	for _, c := range []sourceCheck{
		{NewRanges(own...), No, "an address of the host itself as source"},
		{NewRanges(wrong...), No, "rp_filter: no route back through " + in.Name},
		{NewRanges(doubtful...), Maybe, "rp_filter: whether a route leads back through " + in.Name + " isn't known"},
	} {
		c.addrs = c.addrs.Minus(refused.Union(NewRanges(One(Value{})))) // 0.0.0.0 isn't looked up
		if !c.addrs.Empty() {
			checks = append(checks, c)
		}
	}
	return checks
}

// reverse is what a route back means to the check: 0 it refuses an own address, 1 it refuses, 2 it
// takes it (__fib_validate_source).
func (w *walk) reverse(g found, filter int) int {
	h, in := w.e.host, w.in
	switch {
	case g.kind == RouteLocal && !h.AcceptLocal(in):
		return 0
	case g.kind == RouteLocal || g.kind == RouteUnicast && g.route.uses(in.Index):
		return 2
	case g.kind == RouteUnicast && filter == 1:
		return 1
	case g.kind == RouteUnicast:
		return 2
	case g.kind == RouteBroadcast || g.kind == RouteMulticast || g.kind == RouteAnycast:
		return 0
	case filter != 0: // no route, or one that refuses
		return 1
	}
	return 2
}

// owns reports whether an IPv4 address is one of the host's interfaces' (inet_lookup_ifaddr_rcu).
func (h *Host) owns(v Value) bool {
	for i := range h.Interfaces {
		for _, a := range h.Interfaces[i].Addresses {
			if a.Addr().Is4() && Address(a.Addr()) == v {
				return true
			}
		}
	}
	return false
}

// elsewhere is what can be said of sources when the interface isn't known: with rp_filter on some,
// any may come in where it isn't routed.
func (w *walk) elsewhere(refused Ranges) []sourceCheck {
	h := w.e.host
	rest := AllSources(address.IPv4).Minus(refused)
	for i := range h.Interfaces {
		if !h.Interfaces[i].Loopback && h.RPFilter(&h.Interfaces[i]) != 0 {
			return []sourceCheck{
				{rest, Maybe, "rp_filter: which interface it comes in by isn't known"},
			}
		}
	}
	var own []Range
	for _, c := range w.e.cuts(address.IPv4) {
		if h.owns(c.From) {
			own = append(own, c)
		}
	}
	return []sourceCheck{
		{NewRanges(own...).Minus(refused), Maybe, "an address of the host itself as source"},
	}
}

// sourceChecks6 are the addresses that IPv6 takes from nobody (ip6_rcv_core in
// net/ipv6/ip6_input.c) and those that it doesn't forward (ip6_forward in net/ipv6/ip6_output.c).
func (w *walk) sourceChecks6(r routed) []sourceCheck {
	checks := []sourceCheck{{NewRanges(One(Number(1)), multicast6, mapped6), No, "martian source"}}
	if r.kind == toWire {
		checks = append(
			checks,
			sourceCheck{
				NewRanges(One(Value{}), linkLocal6),
				No,
				"IPv6 doesn't forward from link-local or no address",
			},
		)
	}
	return checks
}
