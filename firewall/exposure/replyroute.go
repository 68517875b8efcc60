package exposure

import (
	"fmt"
	"slices"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

// replyWay is one route that the answers to some clients may take.
type replyWay struct {
	clients Ranges
	out     int // index; 0: unknown
	lost    string
	// noSuchClient: no client has such an address, so the answer isn't judged.
	noSuchClient bool
	// doubtful: other routes are possible for the same clients.
	doubtful bool
	// tunnelled: see tunnelTakesReply.
	tunnelled bool
}

// NoRouteBack is the reason of a Decider where the host has no route to the client.
const NoRouteBack = "no route back"

// routeReply routes answers: ip_route_output_key for this host's, ip_route_input for others.
func (w *walk) routeReply(flows []flow) []flow {
	w.routing = true
	defer func() { w.routing = false }()
	var out []flow
	for _, f := range flows {
		if w.e.fib == nil {
			out = append(out, w.leaves(f, 0))
			continue
		}
		if f.packet.headerSource != sourceOwn || f.packet.headerUnknown || w.reply.vrf {
			out = append(out, w.routeUnknown(f)...)
			continue
		}
		// A client has one certain way, or several doubtful ones.
		var mine []replyWay
		for _, way := range w.replyWays(f.packet) {
			if way.clients = way.clients.Intersect(f.sources); !way.clients.Empty() {
				mine = append(mine, way)
			}
		}
		pick := w.pick(len(mine))
		for i, way := range mine {
			if pick >= 0 && i != pick {
				continue
			}
			g := f
			g.sources = way.clients
			by := Decider{Reason: way.lost}
			if way.doubtful {
				g.doubts = w.doubt(
					f.doubts,
					Decider{Reason: "which route the answer takes isn't known"},
					i+2,
				)
			}
			if way.noSuchClient {
				w.finish(g, Forwarded, Decider{})
				continue
			}
			if way.lost != "" {
				w.step(&g, nil, "lost: "+way.lost, Yes)
				w.finish(g, Dropped, by)
				continue
			}
			g = w.leaves(g, way.out)
			if way.tunnelled {
				p := *g.packet
				p.tunnelled = true
				g.packet = &p
			}
			out = append(out, g)
		}
	}
	return w.merge(out)
}

// leaves is an answer that routing sends out of an interface.
func (w *walk) leaves(f flow, index int) flow {
	p := *f.packet
	p.out, p.outIndex, p.tunnelled = outUnknown, 0, false
	effect := "answered"
	if out := w.e.host.ByIndex(index); index != 0 && out != nil {
		p.out, p.outIndex = outKnown, index
		effect = "answered by " + out.Name
	}
	f.packet = &p
	w.step(&f, nil, effect, Yes)
	return f
}

// routeUnknown routes an answer whose destination isn't known.
func (w *walk) routeUnknown(f flow) []flow {
	by := Decider{Reason: "where the answer is addressed to isn't known"}
	if w.reply.vrf {
		by.Reason = "routing in a VRF isn't followed for answers"
	}
	pick := w.pick(2)
	if pick != 0 {
		g := f
		g.doubts = w.doubt(f.doubts, by, 1)
		w.step(&g, nil, "may be lost: "+by.Reason, Maybe)
		w.finish(g, Dropped, by)
	}
	if pick == 1 {
		return nil
	}
	f.doubts = w.doubt(f.doubts, by, 0)
	return []flow{w.leaves(f, 0)}
}

// replyWays returns where routing may send the answers to each client.
func (w *walk) replyWays(p *packet) []replyWay {
	type key struct {
		fib       fibKey
		in        string
		arrived   string
		source    Range
		forwarded bool
	}
	k := fibKey{
		family:   w.q.Family,
		in:       "lo",
		inKnown:  true,
		mark:     p.mark,
		protocol: uint8(w.q.number()),
		port:     p.sport,
		from:     p.now.port,
	}
	if w.reply.forwarded {
		k.in, k.inKnown = w.q.Interface, w.q.Interface != ""
	}
	// A UDP socket usually lets routing choose its address.
	if w.reply.forwarded || w.q.Protocol != firewall.UDP {
		k.other, k.otherKnown = view{within: p.now.addr}.single()
	}
	k = w.e.fib.canonical(k)
	if k.port != (Range{}) { // routing rules select by it
		w.reply.readsClient = true
	}
	about := key{fib: k, in: w.q.Interface, arrived: w.reply.arrived, forwarded: w.reply.forwarded}
	if w.reply.forwarded && w.in != nil && w.isFour() && w.e.host.RPFilter(w.in) != 0 {
		about.source = p.now.addr
	}
	return w.e.remember(about, func() any { return w.computeReplyWays(p, k) }).([]replyWay)
}

func (w *walk) computeReplyWays(p *packet, k fibKey) []replyWay {
	var out []replyWay
	type plain struct {
		out              int
		lost             string
		nobody, doubtful bool
		tunnelled        bool
	}
	var order []plain
	clients := map[plain][]Range{}
	for _, c := range w.e.cuts(w.q.Family) {
		ways := w.replyWay(p, k, c.From)
		for _, x := range ways {
			y := plain{x.out, x.lost, x.noSuchClient, len(ways) > 1, x.tunnelled}
			if clients[y] == nil {
				order = append(order, y)
			}
			clients[y] = append(clients[y], c)
		}
	}
	for _, y := range order {
		out = append(
			out,
			replyWay{NewRanges(clients[y]...), y.out, y.lost, y.nobody, y.doubtful, y.tunnelled},
		)
	}
	return out
}

// replyWay returns every route of the answer to one client.
func (w *walk) replyWay(p *packet, k fibKey, client Value) []replyWay {
	var out []replyWay
	add := func(x replyWay) {
		if !slices.ContainsFunc(
			out,
			func(o replyWay) bool {
				return o.out == x.out && o.lost == x.lost &&
					o.noSuchClient == x.noSuchClient && o.tunnelled == x.tunnelled
			},
		) {
			out = append(out, x)
		}
	}
	if linkLocal(w.q.Family, client) &&
		!w.reply.forwarded { // out of the link that the packet came by
		in := w.e.host.Interface(w.reply.arrived)
		switch {
		case in == nil:
			return []replyWay{{}}
		case !w.e.host.routesBy(client, in.Index):
			return []replyWay{{lost: NoRouteBack}}
		}
		return []replyWay{{out: in.Index}}
	}
	for _, g := range w.e.fib.lookup(k, client) {
		switch g = w.e.fib.asClient(g, client); g.kind {
		case RouteUnspec:
			add(replyWay{lost: NoRouteBack})
		case RouteBlackhole, RouteUnreachable, RouteProhibit:
			add(replyWay{lost: refusal(g)})
		case RouteUnicast:
			some := false
			for _, n := range g.route.NextHops {
				if n.Dead {
					continue
				}
				some = true
				tunnelled := w.tunnelTakesReply(g.route, n.Index)
				for _, x := range w.forwardsReply(p, client, n.Index) {
					x.tunnelled = tunnelled && x.lost == ""
					add(x)
				}
				if why := w.e.host.cutOff(n.Index); why != "" && !tunnelled {
					add(replyWay{lost: why})
				}
			}
			if !some {
				add(replyWay{})
			}
		default: // the host's own, broadcast and multicast addresses
			add(replyWay{noSuchClient: true})
		}
	}
	return out
}

// routesBy reports whether some route by the interface leads to an IPv6 address. The kernel asks
// for such a route alone where the address is link-local (rt6_need_strict in net/ipv6/route.c).
func (h *Host) routesBy(to Value, index int) bool {
	address := to.IPv6()
	return slices.ContainsFunc(h.Routes, func(r Route) bool {
		return r.Type == RouteUnicast && r.Dest.Contains(address) && r.uses(index)
	})
}

// asClient is the route to one of the host's own addresses, or to a broadcast or multicast address,
// as if a client had it. No client has, so such an address is treated as its neighbours are.
func (f *fib) asClient(g found, client Value) found {
	family := address.IPv4
	switch g.kind {
	case RouteUnspec, RouteUnicast, RouteBlackhole, RouteUnreachable, RouteProhibit:
		return g
	}
	if g.route != nil && g.route.Dest.Addr().Is6() {
		family = address.IPv6
	}
	main := f.inTable(
		&RoutingRule{Table: tableMain, SuppressPrefixLength: -1},
		fibKey{family: family},
		client,
	)
	if len(main) == 0 {
		return g
	}
	return main[0]
}

// refusal names a route or routing rule that refuses.
func refusal(g found) string {
	kind := map[RouteType]string{
		RouteBlackhole:   "blackhole",
		RouteUnreachable: "unreachable",
		RouteProhibit:    "prohibit",
	}[g.kind]
	if g.route == nil {
		return "a routing rule refuses: " + kind
	}
	dest := g.route.Dest.String()
	if g.route.Dest.Bits() == 0 {
		dest = "default"
	}
	if g.route.Table != tableMain {
		return fmt.Sprintf("%s %s in table %d", kind, dest, g.route.Table)
	}
	return kind + " " + dest
}

// forwardsReply returns the outcome of an answer that a route leads out of an interface. An answer
// from another machine is validated like any incoming packet.
func (w *walk) forwardsReply(p *packet, client Value, out int) []replyWay {
	sent := replyWay{out: out}
	if !w.reply.forwarded {
		return []replyWay{sent}
	}
	if w.in == nil {
		return []replyWay{sent, {lost: "whether the answer is forwarded isn't known"}}
	}
	if !w.e.host.Forwards(w.in, w.q.Family) {
		return []replyWay{{lost: "forwarding is off on " + w.in.Name}}
	}
	filter := w.e.host.RPFilter(w.in)
	if !w.isFour() || filter == 0 {
		return []replyWay{sent}
	}
	lost := replyWay{lost: "rp_filter: no route to the target through " + w.in.Name}
	source, known := view{within: p.now.addr}.single()
	if !known {
		return []replyWay{sent, lost}
	}
	k := fibKey{
		family:     address.IPv4,
		in:         "lo",
		inKnown:    true,
		mark:       Known(Value{}, 32),
		other:      client,
		otherKnown: true,
		protocol:   uint8(w.q.number()),
		port:       p.now.port,
		from:       p.sport,
		turned:     true,
	}
	if i := w.e.host.ByIndex(out); i != nil {
		k.in = i.Name
	}
	if w.e.host.SrcValidMark(w.in) {
		k.mark = p.mark
	}
	var ways []replyWay
	for _, g := range w.e.fib.lookup(w.e.fib.canonical(k), source) {
		way := lost
		if w.reverse(g, filter) == 2 {
			way = sent
		}
		if !slices.ContainsFunc(ways, func(o replyWay) bool { return o.lost == way.lost }) {
			ways = append(ways, way)
		}
	}
	return ways
}

// tunnelKinds are the kinds of interfaces that lead into a tunnel.
var tunnelKinds = []string{
	"wireguard",
	"tun",
	"ppp",
	"ipip",
	"gre",
	"sit",
	"vti",
	"vti6",
	"xfrm",
	"ip6tnl",
	"ip6gre",
}

// fullTunnel is the longest prefix of a route that counts as one for all traffic: some programs
// split the default route into a few.
const fullTunnel = 4

// Tunnel reports whether an interface leads into a tunnel, by its kind.
func (i *Interface) Tunnel() bool { return slices.Contains(tunnelKinds, i.Kind) }

// tunnelTakesReply reports whether an answer probably doesn't reach the client: a tunnel for all
// traffic takes it, though the client came another way. Also where the client dialled the tunnel's
// own address: the tunnel's other end rarely sends that on as it is. It isn't certain: a tunnel may
// be an ordinary uplink, as with PPPoE. What leaves output may be routed otherwise, so it counts
// only where the answer leaves.
func (w *walk) tunnelTakesReply(r *Route, out int) bool {
	i := w.e.host.ByIndex(out)
	return i != nil && w.e.host.takesAll(r, i) && w.reply.arrived != "" &&
		w.reply.arrived != i.Name
}

// lostInTunnel ends the way of an answer that leaves into a tunnel.
func (w *walk) lostInTunnel(f flow) {
	name := "that isn't known"
	if i := w.e.host.ByIndex(f.packet.outIndex); i != nil {
		name = i.Name
	}
	by := Decider{Reason: fmt.Sprintf(
		"the route for all traffic leads into the tunnel %s, and packets come by %s",
		name, w.reply.arrived,
	)}
	f.doubts = w.doubt(
		f.doubts, Decider{Reason: "whether that tunnel leads back to the client isn't known"}, 0,
	)
	w.step(&f, nil, "lost: "+by.Reason, Yes)
	w.finish(f, Dropped, by)
	if n := len(w.ended); n > 0 {
		w.ended[n-1].likely = true
	}
}

// takesAll reports whether a route leads all traffic into a tunnel: an interface of such a kind, or
// any where routing rules keep the default route of the main table for the tunnel's own packets, as
// wg-quick has them.
func (h *Host) takesAll(r *Route, i *Interface) bool {
	if r.Dest.Bits() > fullTunnel {
		return false
	}
	return i.Tunnel() || r.Table != tableMain &&
		slices.ContainsFunc(h.Rules, func(rule RoutingRule) bool {
			return rule.Action == RuleTable && rule.Table == tableMain &&
				rule.SuppressPrefixLength == 0 &&
				(rule.Family == address.IPv4) == r.Dest.Addr().Is4()
		})
}

// tunnels reports whether the host routes all traffic into a tunnel.
func (h *Host) tunnels() bool {
	return h != nil && slices.ContainsFunc(h.Routes, func(r Route) bool {
		return slices.ContainsFunc(r.NextHops, func(n NextHop) bool {
			i := h.ByIndex(n.Index)
			return i != nil && h.takesAll(&r, i)
		})
	})
}
