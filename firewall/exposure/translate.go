package exposure

import (
	"fmt"
	"net/netip"

	"github.com/portgrave/portgrave/firewall"
)

// translate sets up a translation of the connection.
func (w *walk) translate(c *chain, r *rule, s NAT, f flow) []branch {
	switch s.Family {
	case FamilyInet, FamilyUnspec:
	case FamilyIPv4:
		if !w.isFour() {
			return []branch{{flow: f}}
		}
	case FamilyIPv6:
		if w.isFour() {
			return []branch{{flow: f}}
		}
	default:
		return w.anyEffect(c, r, f, "a translation for an unknown family")
	}
	destination := s.Kind == NATDestination || s.Kind == NATRedirect
	if !w.translating || destination != (w.hook == HookPrerouting) {
		return w.anyEffect(c, r, f, "a translation where none can be: "+s.Kind.String())
	}
	var ops []Operand
	place := map[*Operand]int{}
	for _, o := range []*Operand{s.Addr, s.AddrMax, s.Port, s.PortMax, s.PortBase} {
		if o != nil {
			place[o] = len(ops)
			ops = append(ops, *o)
		}
	}
	var out []branch
	for n, rd := range w.read(&f, ops) {
		g := f
		g.sources = rd.sources
		by := Decider{Rule: r.Rule, Chain: c.Chain, Reason: "not known: where it is translated to"}
		if rd.doubtful {
			g.doubts = w.doubt(f.doubts, by, n+2)
		}
		if rd.absent != No {
			gone := g
			if rd.absent == Maybe {
				gone.doubts, g.doubts = w.doubt(g.doubts, by, 1), w.doubt(g.doubts, by, 0)
			}
			out = append(out, branch{flow: gone, do: toNextRule})
			if rd.absent == Yes {
				continue
			}
		}
		get := func(o *Operand, width int) (view, bool) {
			if o == nil {
				return view{}, false
			}
			x := rd.values[place[o]]
			if x.source {
				return anyValue(width), true
			}
			return widen(x.view, width), true
		}
		if !destination {
			p := *g.packet
			p.headerSource, p.replySource, p.natted = sourceOther, sourceOther, Yes
			// unless the address stays the same
			p.status.Known = p.status.Known.AndNot(
				Number(ctSNAT),
			)
			p.sport = Full(16)
			g.packet = &p
			out = append(out, branch{flow: g, do: toAccept, by: s.Kind.String()})
			continue
		}
		out = append(out, w.destinations(c, r, s, g, get)...)
	}
	return out
}

// maxTargets is the most targets of a translation that are followed one by one.
const maxTargets = 64

// destinations returns every target that a connection may be translated to.
func (w *walk) destinations(
	c *chain,
	r *rule,
	s NAT,
	f flow,
	get func(o *Operand, width int) (view, bool),
) []branch {
	width := addressWidth(w.q.Family)
	p := f.packet
	addrs := p.orig.addr
	local := false
	if s.Kind == NATRedirect {
		var ok bool
		if addrs, ok = w.redirect(); !ok {
			return []branch{{flow: f, do: toDrop, by: "redirect: the interface has no address"}}
		}
		local = w.in == nil || addrs.From != addrs.To
	} else if v, ok := get(s.Addr, width); ok {
		addrs = v.within
		if v, ok := get(s.AddrMax, width); ok {
			addrs = hull(addrs, v.within)
		}
	}
	ports := p.orig.port
	if v, ok := get(s.Port, 16); ok {
		ports = v.within
		if v, ok := get(s.PortMax, 16); ok {
			ports = hull(ports, v.within)
		}
		if base, ok := get(s.PortBase, 16); ok {
			ports = shifted(ports, base, p.orig.port)
		}
	}
	what := fmt.Sprintf("%v %s", s.Kind, targetText(width, endpoint{addrs, ports}))
	var packets []*packet
	var each []string
	for _, e := range targets(endpoint{addrs, ports}) {
		t := *p
		t.natted = Yes
		if s.Kind != NATRedirect && s.Addr == nil {
			t.local = p.local && p.orig.addr == p.now.addr // unchanged
		} else {
			t.local = local
		}
		t.reply = e
		switch {
		case e == p.orig && e.known():
			// No translation: header and status of the connection stay as they are.
		case e == p.orig && s.Addr == nil && s.Port == nil:
		default:
			t.now, t.rewritten = e, p.headerUnknown
			t.moved = true
			t.status = Bits{p.status.Value.Or(Number(ctDNAT)), p.status.Known.Or(Number(ctDNAT))}
			if e.meets(p.orig) { // it may be unchanged
				t.status = t.status.Join(p.status)
				if p.now != p.orig {
					t.now, t.rewritten = t.now.join(p.now), p.rewritten
				}
			}
		}
		packets = append(packets, &t)
		each = append(each, fmt.Sprintf("%v %s", s.Kind, targetText(width, e)))
	}
	return w.alternatives(c, r, f, "which target of "+what, packets, toAccept, each)
}

// targets returns the endpoints of a range, one by one if they are few.
func targets(e endpoint) []endpoint {
	addrs, ports := each(e.addr), each(e.port)
	if len(addrs)*len(ports) > maxTargets {
		return []endpoint{e}
	}
	var out []endpoint
	for _, a := range addrs {
		for _, p := range ports {
			out = append(out, endpoint{a, p})
		}
	}
	return out
}

// each returns the values of a small range one by one, or the range itself.
func each(r Range) []Range {
	var out []Range
	for v := r.From; len(out) < maxTargets; {
		out = append(out, One(v))
		if v == r.To {
			return out
		}
		v, _ = v.next()
	}
	return []Range{r}
}

// shifted is a range of ports shifted by the old port's distance from a base:
// nf_nat_l4proto_unique_tuple in net/netfilter/nf_nat_core.c.
func shifted(ports Range, base view, old Range) Range {
	from, _ := ports.From.Uint64()
	to, _ := ports.To.Uint64()
	b, ok := base.single()
	port, known := view{within: old}.single()
	if !ok || !known || to < from {
		return ports
	}
	x, _ := b.Uint64()
	y, _ := port.Uint64()
	return One(Number(from + uint64(uint16(y-x))%(to-from+1)))
}

// redirect is the address that redirect sends to: the first one of the incoming interface
// (nf_nat_redirect_ipv4 and ..._ipv6 in net/netfilter/nf_nat_redirect.c). It is false if the
// interface has none.
func (w *walk) redirect() (Range, bool) {
	width := addressWidth(w.q.Family)
	if w.in == nil {
		return Full(width), true
	}
	near := w.q.Destination.IsValid() && w.q.Destination.IsLinkLocalUnicast()
	for _, a := range w.in.Addresses {
		// IPv6 takes an address of the same scope as what was dialled.
		if a.Addr().Is4() == w.isFour() && (w.isFour() || a.Addr().IsLinkLocalUnicast() == near) {
			return One(Address(a.Addr())), true
		}
	}
	return Range{}, false
}

func targetText(width int, e endpoint) string {
	text := func(v Value) string {
		if width == 32 {
			return v.IPv4().String()
		}
		return v.IPv6().String()
	}
	switch {
	case e.known():
		port, _ := e.port.From.Uint64()
		a := e.addr.From.IPv6()
		if width == 32 {
			a = e.addr.From.IPv4()
		}
		return "to " + netip.AddrPortFrom(a, uint16(port)).String()
	case e.addr == Full(width):
		return "to an address that isn't known"
	}
	from, _ := e.port.From.Uint64()
	to, _ := e.port.To.Uint64()
	addr, ports := text(e.addr.From), fmt.Sprint(from)
	if e.addr.From != e.addr.To {
		addr += "-" + text(e.addr.To)
	}
	if to != from {
		ports += fmt.Sprintf("-%d", to)
	}
	if width == 128 {
		addr = "[" + addr + "]"
	}
	return fmt.Sprintf("to %s:%s", addr, ports)
}

// proxy hands packets to a transparent proxy, if it has a socket.
func (w *walk) proxy(c *chain, r *rule, s TProxy, f flow) []branch {
	if s.Family != FamilyInet && s.Family != FamilyUnspec &&
		(s.Family == FamilyIPv4) != w.isFour() {
		return []branch{{flow: f, do: toNextRule}}
	}
	if w.hook != HookPrerouting || w.q.Protocol == firewall.SCTP {
		return []branch{{flow: f, do: toNextRule}} // TCP and UDP only (nft_tproxy.c)
	}
	to := endpoint{Full(addressWidth(w.q.Family)), f.packet.now.port}
	if a, ok := w.redirect(); ok {
		to.addr = a
	}
	if s.Addr != nil {
		to.addr = w.operand(f.packet, *s.Addr).view.within
	}
	if s.Port != nil {
		to.port = w.operand(f.packet, *s.Port).view.within
	}
	if s.Addr != nil && s.Addr.Field == FieldMap || s.Port != nil && s.Port.Field == FieldMap {
		to = endpoint{Full(addressWidth(w.q.Family)), Full(16)}
	}
	if w.nobodyAt(to) {
		if s.OrDrop {
			return []branch{{flow: f, do: toDrop, by: "tproxy: no socket"}}
		}
		return []branch{{flow: f, do: toNextRule}}
	}
	branches := w.mayHold(
		c, r, f, "whether a transparent proxy listens at "+targetText(addressWidth(w.q.Family), to),
	)
	p := *f.packet
	p.tproxy, p.proxy = Yes, to
	branches[0].packet = &p
	if s.OrDrop {
		branches[1].do, branches[1].by = toDrop, "tproxy: no socket"
	}
	return branches
}

// nobodyAt reports whether certainly no socket listens at an endpoint.
func (w *walk) nobodyAt(to endpoint) bool {
	if w.e.host == nil || w.e.host.NobodyAt == nil || w.in == nil || !to.known() {
		return false
	}
	port, _ := to.port.From.Uint64()
	at := netip.AddrPortFrom(to.addr.From.IPv6(), uint16(port))
	if w.isFour() {
		at = netip.AddrPortFrom(to.addr.From.IPv4(), uint16(port))
	}
	return w.e.host.NobodyAt(w.q.Protocol, at, w.in.Name)
}
