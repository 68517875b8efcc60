package exposure

import (
	"net/netip"
	"slices"

	"github.com/portgrave/portgrave/firewall/address"
)

// A host on the link sends to the link address that somebody claims to have for this host's
// address. Which of its addresses the kernel claims on which link is up to sysctls for ARP
// (arp_process in net/ipv4/arp.c), and fixed for neighbour discovery: those of the link's own
// interface (ndisc_recv_ns in net/ipv6/ndisc.c). For another one, nobody connects who hasn't learned
// the link address in another way, so connections are in doubt.

// unfound are the sources that get no answer when they ask for the address that they dialled. Each
// is in one part at most.
func (w *walk) unfound() []refusedNeighbours {
	if w.e.host == nil || w.e.neighboursKnown || !w.q.unicast() {
		return nil
	}
	type key struct {
		unfoundAt string
		family    address.Family
		dialled   netip.Addr
		within    Range
	}
	k := key{w.q.Interface, w.q.Family, w.q.Destination, w.q.Within}
	return w.e.remember(k, func() any {
		var out []refusedNeighbours
		left := AllSources(w.q.Family)
		for i := range w.e.host.Interfaces {
			on := &w.e.host.Interfaces[i]
			if w.in != nil && on != w.in || !on.findsNeighbours() {
				continue
			}
			for _, dialled := range w.mayBeDialled() {
				for _, u := range w.unfoundAt(on, dialled) {
					if u.sources = u.sources.Intersect(left); !u.sources.Empty() {
						left = left.Minus(u.sources)
						out = append(out, u)
					}
				}
				if left.Empty() {
					return out
				}
			}
		}
		return out
	}).([]refusedNeighbours)
}

// mayBeDialled are the addresses that the question may be about: the dialled one, else the host's.
func (w *walk) mayBeDialled() (out []netip.Addr) {
	if w.q.Destination.IsValid() {
		return []netip.Addr{w.q.Destination.WithZone("")}
	}
	for i := range w.e.host.Interfaces {
		for _, p := range w.e.host.Interfaces[i].Addresses {
			a := p.Addr().WithZone("")
			if a.Is4() == w.isFour() && !a.IsLoopback() && !a.IsLinkLocalUnicast() &&
				(w.q.Within == Range{} || w.q.Within.Contains(Address(a))) {
				out = append(out, a)
			}
		}
	}
	return out
}

// unfoundAt are the sources on an interface's link, and behind it, that get no answer when they ask
// for an address.
func (w *walk) unfoundAt(in *Interface, dialled netip.Addr) (out []refusedNeighbours) {
	all := AllSources(w.q.Family)
	add := func(sources Ranges, why string) {
		why += " on " + in.Name + ", so hosts that don't know its link address yet can't connect"
		out = append(out, refusedNeighbours{sources, Decider{Reason: why}})
	}
	own := w.e.host.Owns(dialled)
	// Routes may make more addresses local than interfaces have. Neighbours ask for those on the
	// link, and ARP only answers for them where it doesn't look at interfaces.
	foreign := !own && in.onLink(w.q.Family).Contains(Address(dialled))
	if !w.isFour() {
		if own && !in.has(dialled) && !dialled.IsLinkLocalUnicast() &&
			in.onLink(w.q.Family).Contains(Address(dialled)) {
			add(all, "neighbour discovery doesn't answer for an address of another interface")
		}
		return out
	}
	switch mode := w.e.host.ARPIgnore(in); {
	case mode == 8:
		add(all, "ARP doesn't answer (arp_ignore)")
	case mode > 3: // reserved: as 0
	case mode > 0 && foreign:
		add(all, "ARP doesn't answer for an address that no interface has (arp_ignore)")
	case mode == 3:
		if own && w.e.host.isHostScope(dialled) {
			add(all, "ARP doesn't answer for an address of scope host (arp_ignore)")
		}
	case mode > 0 && own && !in.has(dialled), mode > 0 && len(in.onLink4()) == 0:
		add(all, "ARP doesn't answer for an address of another interface (arp_ignore)")
	case mode == 2:
		if near := in.near(dialled, own); !near.Equal(all) {
			add(all.Minus(near), "ARP answers only hosts in the address's own network (arp_ignore)")
		}
	}
	if w.e.host.ARPFilter(in) {
		if lost := w.routedElsewhere(in, dialled); !lost.Empty() {
			add(lost, "ARP doesn't answer hosts to which another route leads (arp_filter)")
		}
	}
	return out
}

// has reports whether an address is one of the interface's.
func (i *Interface) has(a netip.Addr) bool {
	return slices.ContainsFunc(
		i.Addresses,
		func(p netip.Prefix) bool { return p.Addr().WithZone("") == a.WithZone("") },
	)
}

// isHostScope reports whether an address has scope host.
func (h *Host) isHostScope(a netip.Addr) bool {
	return slices.ContainsFunc(h.Interfaces, func(i Interface) bool {
		return slices.Contains(i.HostScope, a)
	})
}

// onLink4 are the networks of the interface's IPv4 addresses.
func (i *Interface) onLink4() (out []netip.Prefix) {
	for _, p := range i.Addresses {
		if p.Addr().Is4() {
			out = append(out, p)
		}
	}
	return out
}

// onLink are the addresses of a family that hosts on the interface's link have.
func (i *Interface) onLink(f address.Family) Ranges {
	var out []Range
	for _, p := range i.Addresses {
		if p.Addr().Is4() == (f == address.IPv4) {
			out = append(out, Prefix(p.Masked()))
		}
	}
	return NewRanges(out...)
}

// near are the sources that ARP answers where it compares networks: those in a network of the
// address (inet_confirm_addr), and those behind a router, which has an address there. Packets to
// addresses that aren't the host's own are for a router, which may be known by any address.
func (i *Interface) near(dialled netip.Addr, own bool) Ranges {
	var near []Range
	routers := false
	for _, p := range i.onLink4() {
		if !own || p.Contains(dialled) {
			near = append(near, Prefix(p.Masked()))
			routers = routers || p.Bits() < 32
		}
	}
	asked := NewRanges(near...)
	if !routers {
		return asked
	}
	return asked.Union(all4.Minus(i.onLink(address.IPv4)))
}

// routedElsewhere are the sources that ARP doesn't answer as the route to them leads out of another
// interface (arp_filter in net/ipv4/arp.c). Which address a router has isn't known.
func (w *walk) routedElsewhere(in *Interface, dialled netip.Addr) Ranges {
	k := fibKey{family: address.IPv4, in: "lo", inKnown: true, mark: Known(Value{}, 32)}
	if w.e.host.Owns(dialled) {
		k.other, k.otherKnown = Address(dialled), true
	}
	k = w.e.fib.canonical(k)
	type key struct {
		elsewhere fibKey
		in        int
	}
	return w.e.remember(key{k, in.Index}, func() any {
		return w.e.routedElsewhere(in, k)
	}).(Ranges)
}

func (e *Evaluator) routedElsewhere(in *Interface, k fibKey) Ranges {
	link := in.onLink(address.IPv4)
	if link.Empty() {
		return all4
	}
	elsewhere := func(g found) bool {
		switch g.kind {
		case RouteLocal, RouteBroadcast, RouteAnycast, RouteMulticast: // no other host's address
			return false
		case RouteUnicast:
			return slices.ContainsFunc(g.route.NextHops, func(n NextHop) bool {
				return n.Index != in.Index && !n.Dead
			})
		}
		return true
	}
	var unanswered []Range
	for _, c := range e.cuts(address.IPv4) {
		if link.Touches(c) && slices.ContainsFunc(e.fib.lookup(k, c.From), elsewhere) {
			unanswered = append(unanswered, c)
		}
	}
	lost := link.Intersect(NewRanges(unanswered...))
	if !lost.Empty() {
		return lost.Union(all4.Minus(link))
	}
	return lost
}
