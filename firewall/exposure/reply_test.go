package exposure

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

func to(cidr string) Match {
	p := netip.MustParsePrefix(cidr)
	if p.Addr().Is6() {
		return In(Of(FieldDest6), Prefix(p))
	}
	return In(Of(FieldDest4), Prefix(p))
}

// multihomed is a host with two links, a container network and a default route by the first.
func multihomed() *Host {
	link := func(name string, index int, address string) Interface {
		return Interface{
			Name:      name,
			Index:     index,
			Up:        true,
			Ethernet:  true,
			Addresses: []netip.Prefix{netip.MustParsePrefix(address)},
			Sysctls:   InterfaceSysctls{Forwarding4: true},
		}
	}
	route := func(dest string, index int) Route {
		return Route{
			Table:    tableMain,
			Type:     RouteUnicast,
			Dest:     netip.MustParsePrefix(dest),
			NextHops: []NextHop{{Index: index}},
		}
	}
	h := &Host{
		Interfaces: []Interface{
			link("eth0", 1, "192.0.2.10/24"),
			link("eth1", 2, "198.51.100.10/24"),
			link("br0", 3, "172.17.0.1/16"),
		},
	}
	for n, own := range []string{"192.0.2.10/32", "198.51.100.10/32", "172.17.0.1/32"} {
		r := route(own, n+1)
		r.Type, r.Table = RouteLocal, tableLocal
		h.Routes = append(h.Routes, r)
	}
	h.Routes = append(
		h.Routes,
		route("192.0.2.0/24", 1),
		route("198.51.100.0/24", 2),
		route("172.17.0.0/16", 3),
		route("0.0.0.0/0", 1),
	)
	return h
}

// routesByMark marks answers at a priority of output.
func routesByMark(priority int32) func(b builder) {
	return func(b builder) {
		b.base(FamilyIPv4, "a", "in", Base{Hook: HookInput, Policy: VerdictAccept}).
			does(AnyBit(FieldCTState, ctEstablished), accept)
		b.base(FamilyIPv4, "a", "out", Base{Type: TypeRoute, Hook: HookOutput, Priority: priority, Policy: VerdictAccept}).
			does(markSet(1))
	}
}

// blackholeMark1 drops marked packets in routing.
func blackholeMark1(h *Host) {
	h.Rules = []RoutingRule{
		{Family: address.IPv4, Action: RuleTable, Table: tableLocal, SuppressPrefixLength: -1},
		{
			Family:               address.IPv4,
			Priority:             10,
			Action:               RuleBlackhole,
			Mark:                 1,
			MarkMask:             1,
			SuppressPrefixLength: -1,
		},
		{
			Family:               address.IPv4,
			Priority:             32766,
			Action:               RuleTable,
			Table:                tableMain,
			SuppressPrefixLength: -1,
		},
	}
}

// fullTunnelByMark has a tunnel for all traffic but the tunnel's own, as wg-quick makes it.
func fullTunnelByMark(h *Host) {
	h.Interfaces = append(
		h.Interfaces,
		Interface{Name: "wg0", Index: 4, Up: true, Kind: "wireguard"},
	)
	h.Routes = append(h.Routes, Route{
		Table: 51820, Type: RouteUnicast, Dest: netip.MustParsePrefix("0.0.0.0/0"),
		NextHops: []NextHop{{Index: 4}},
	})
	rule := func(priority, table uint32, suppressed int) RoutingRule {
		return RoutingRule{
			Family: address.IPv4, Priority: priority, Action: RuleTable, Table: table,
			SuppressPrefixLength: suppressed,
		}
	}
	own := rule(20, 51820, -1)
	own.Not, own.Mark, own.MarkMask = true, 51820, 0xffffffff
	h.Rules = []RoutingRule{
		rule(0, tableLocal, -1), rule(10, tableMain, 0), own, rule(32766, tableMain, -1),
	}
}

func TestReplies(t *testing.T) {
	output := func(policy VerdictKind) Base { return Base{Hook: HookOutput, Policy: policy} }
	established := AnyBit(FieldCTState, 6)
	for name, c := range map[string]struct {
		rules             func(b builder)
		host              func(h *Host)
		q                 Question
		certain, possible string
		lost              string // the reason in one of the pieces
	}{
		"no carrier to answer by": {
			host:    func(h *Host) { h.Interfaces[0].NoCarrier = true },
			certain: "198.51.100.0/24 172.17.0.0/16", possible: "0.0.0.0/0", lost: "no carrier",
		},
		"nothing": {certain: "0.0.0.0/0", possible: "0.0.0.0/0"},
		"output lets established connections out": {rules: func(b builder) {
			b.base(FamilyIPv4, "a", "out", output(VerdictDrop)).does(established, accept)
		}, certain: "0.0.0.0/0", possible: "0.0.0.0/0"},
		"output for a few": {rules: func(b builder) {
			b.base(FamilyIPv4, "a", "out", output(VerdictDrop)).does(to("10.0.0.0/8"), established, accept)
		}, certain: "10.0.0.0/8", possible: "10.0.0.0/8", lost: "policy drop"},
		"the direction": {rules: func(b builder) {
			b.base(FamilyIPv4, "a", "out", output(VerdictDrop)).does(to("10.0.0.0/8"), In(Of(FieldCTDirection), One(Number(1))), accept)
		}, certain: "10.0.0.0/8", possible: "10.0.0.0/8"},
		"new connections alone": {rules: func(b builder) {
			b.base(FamilyIPv4, "a", "out", output(VerdictAccept)).does(AnyBit(FieldCTState, ctNew), drop).does(to("10.0.0.0/8"), drop)
		}, certain: "0.0.0.0/5 8.0.0.0/7 11.0.0.0/8 12.0.0.0/6 16.0.0.0/4 32.0.0.0/3 64.0.0.0/2 128.0.0.0/1",
			possible: "0.0.0.0/5 8.0.0.0/7 11.0.0.0/8 12.0.0.0/6 16.0.0.0/4 32.0.0.0/3 64.0.0.0/2 128.0.0.0/1"},
		"the port that is answered from": {rules: func(b builder) {
			b.base(FamilyIPv4, "a", "out", output(VerdictDrop)).does(In(Of(FieldSport), Numbers(80, 80)), to("0.0.0.0/1"), accept)
		}, certain: "0.0.0.0/1", possible: "0.0.0.0/1"},
		"ports that no client has": {rules: func(b builder) {
			b.base(FamilyIPv4, "a", "out", output(VerdictAccept)).does(dport(25, 25), drop).does(dport(6660, 6669), drop)
		}, certain: "0.0.0.0/0", possible: "0.0.0.0/0"},
		"ports that a client may have": {rules: func(b builder) {
			b.base(FamilyIPv4, "a", "out", output(VerdictAccept)).does(dport(51820, 51820), drop)
		}, possible: "0.0.0.0/0"},
		"ports of Linux that other systems don't use": {rules: func(b builder) {
			b.base(FamilyIPv4, "a", "out", output(VerdictAccept)).does(dport(32768, 49151), drop)
		}, possible: "0.0.0.0/0"},
		"ports of others that Linux doesn't use": {rules: func(b builder) {
			b.base(FamilyIPv4, "a", "out", output(VerdictAccept)).does(dport(49152, 60999), drop)
		}, possible: "0.0.0.0/0"},
		"answers to an unusual port alone": {rules: func(b builder) {
			b.base(FamilyIPv4, "a", "out", output(VerdictDrop)).does(to("128.0.0.0/1"), dport(25, 25), accept).
				does(to("64.0.0.0/2"), accept)
		}, certain: "64.0.0.0/2", possible: "64.0.0.0/2 128.0.0.0/1", lost: "policy drop"},
		"a routing rule for an unusual port": {host: func(h *Host) {
			h.Rules = []RoutingRule{
				{Family: address.IPv4, Action: RuleTable, Table: tableLocal, SuppressPrefixLength: -1},
				{Family: address.IPv4, Priority: 10, Action: RuleTable, Table: tableMain, Dport: Numbers(25, 25), SuppressPrefixLength: -1},
				{Family: address.IPv4, Priority: 20, Action: RuleBlackhole, SuppressPrefixLength: -1},
			}
		}, possible: "0.0.0.0/0", lost: "a routing rule refuses"},
		"many bans": {rules: func(b builder) {
			out := b.base(FamilyIPv4, "a", "out", output(VerdictAccept))
			for _, p := range []string{"0.0.0.0/2", "64.0.0.0/2", "128.0.0.0/3", "160.0.0.0/3", "192.0.0.0/3"} {
				out.does(to(p), drop)
			}
		}, certain: "224.0.0.0/3", possible: "224.0.0.0/3"},
		"postrouting": {rules: func(b builder) {
			b.base(FamilyIPv4, "a", "post", Base{Hook: HookPostrouting, Priority: -150, Policy: VerdictAccept}).
				does(In(Of(FieldOutName), One(Name("eth0"))), to("128.0.0.0/1"), drop)
		}, certain: "0.0.0.0/1 172.17.0.0/16 198.51.100.0/24", possible: "0.0.0.0/1 172.17.0.0/16 198.51.100.0/24"},
		"what isn't known": {rules: func(b builder) {
			b.base(FamilyIPv4, "a", "out", output(VerdictAccept)).does(to("128.0.0.0/1"), limit, drop)
		}, certain: "0.0.0.0/1", possible: "0.0.0.0/0"},
		"NAT isn't asked about answers": {rules: func(b builder) {
			b.base(FamilyIPv4, "a", "post", Base{Type: TypeNAT, Hook: HookPostrouting, Priority: 100, Policy: VerdictAccept}).
				does(NAT{Kind: NATMasquerade, Family: FamilyIPv4})
		}, certain: "0.0.0.0/0", possible: "0.0.0.0/0"},
		"an answer that isn't tracked": {rules: func(b builder) {
			b.base(FamilyIPv4, "a", "raw", Base{Hook: HookOutput, Priority: -300, Policy: VerdictAccept}).does(to("128.0.0.0/1"), NoTrack{})
			b.base(FamilyIPv4, "a", "out", output(VerdictDrop)).does(established, accept)
		}, certain: "0.0.0.0/1", possible: "0.0.0.0/1"},
		"a first packet that isn't tracked": {rules: func(b builder) {
			b.base(FamilyIPv4, "a", "raw", Base{Hook: HookPrerouting, Priority: -300, Policy: VerdictAccept}).does(from("128.0.0.0/1"), NoTrack{})
			b.base(FamilyIPv4, "a", "out", output(VerdictAccept)).does(AnyBit(FieldCTState, ctInvalid), drop)
		}, certain: "0.0.0.0/1", possible: "0.0.0.0/1"},
		"no default route": {host: func(h *Host) { h.Routes = h.Routes[:len(h.Routes)-1] },
			certain: "172.17.0.0/16 192.0.2.0/24 198.51.100.0/24", possible: "172.17.0.0/16 192.0.2.0/24 198.51.100.0/24", lost: NoRouteBack},
		"a blackhole": {host: func(h *Host) {
			h.Routes = append(h.Routes, Route{Table: tableMain, Type: RouteBlackhole, Dest: netip.MustParsePrefix("128.0.0.0/1")})
		}, certain: "0.0.0.0/1 192.0.2.0/24 198.51.100.0/24 172.17.0.0/16", lost: "blackhole 128.0.0.0/1"},
		"a table by mark": {rules: func(b builder) {
			b.base(FamilyIPv4, "m", "pre", Base{Hook: HookPrerouting, Priority: -150, Policy: VerdictAccept}).
				does(from("128.0.0.0/1"), Assign{To: FieldCTMark, Value: []Operand{Const(Number(1))}})
			b.base(FamilyIPv4, "m", "out", Base{Type: TypeRoute, Hook: HookOutput, Priority: -150, Policy: VerdictAccept}).
				does(Assign{To: FieldMark, Value: []Operand{Of(FieldCTMark)}})
		}, host: func(h *Host) {
			h.Rules = []RoutingRule{{Family: address.IPv4, Action: RuleTable, Table: tableLocal, SuppressPrefixLength: -1},
				{Family: address.IPv4, Priority: 10, Mark: 1, MarkMask: 1, Action: RuleUnreachable},
				{Family: address.IPv4, Priority: 20, Action: RuleTable, Table: tableMain, SuppressPrefixLength: -1}}
		}, certain: "0.0.0.0/1", possible: "0.0.0.0/1", lost: "a routing rule refuses: unreachable"},
		"a full tunnel": {host: func(h *Host) {
			h.Interfaces = append(h.Interfaces, Interface{Name: "wg0", Index: 9, Up: true, Kind: "wireguard",
				Addresses: []netip.Prefix{netip.MustParsePrefix("10.64.0.2/32")}})
			h.Routes[len(h.Routes)-1].NextHops[0].Index = 9
		}, certain: "172.17.0.0/16 192.0.2.0/24 198.51.100.0/24", possible: "0.0.0.0/0", lost: "tunnel wg0"},
		"the address of a full tunnel": {host: func(h *Host) {
			h.Interfaces = append(h.Interfaces, Interface{Name: "wg0", Index: 9, Up: true, Kind: "wireguard",
				Addresses: []netip.Prefix{netip.PrefixFrom(tcp80.Destination, 24)}})
			h.Routes[len(h.Routes)-1].NextHops[0].Index = 9
		}, certain: "172.17.0.0/16 192.0.2.0/24 198.51.100.0/24", possible: "0.0.0.0/0", lost: "tunnel wg0"},
		"an uplink that is named like a tunnel": {host: func(h *Host) {
			h.Interfaces = append(h.Interfaces, Interface{Name: "ppp0", Index: 9, Up: true,
				Addresses: []netip.Prefix{netip.MustParsePrefix("203.0.113.9/32")}})
			h.Routes[len(h.Routes)-1].NextHops[0].Index = 9
		}, certain: "0.0.0.0/0"},
		"a destination that isn't known, and an uplink over PPP": {host: func(h *Host) {
			h.Interfaces = append(h.Interfaces, Interface{Name: "ppp0", Index: 9, Up: true, Kind: "ppp",
				Addresses: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/32")}})
			h.Routes[len(h.Routes)-1].NextHops[0].Index = 9
		}, q: Question{Family: address.IPv4, Protocol: firewall.TCP, Port: 80, Interface: "eth0"},
			certain: "172.17.0.0/16 192.0.2.0/24 198.51.100.0/24", possible: "0.0.0.0/0", lost: "tunnel ppp0"},
		"the container's answers": {rules: func(b builder) {
			b.base(FamilyIPv4, "n", "pre", Base{Type: TypeNAT, Hook: HookPrerouting, Priority: -100, Policy: VerdictAccept}).
				does(dport(80, 80), NAT{Kind: NATDestination, Family: FamilyIPv4, Addr: &Operand{Xor: Address(netip.MustParseAddr("172.17.0.2"))}})
			b.base(FamilyIPv4, "f", "fwd", Base{Hook: HookForward, Policy: VerdictDrop}).
				does(In(Of(FieldOutName), One(Name("br0"))), accept).
				does(In(Of(FieldInName), One(Name("br0"))), from("172.17.0.2/32"), to("0.0.0.0/1"), established, AnyBit(FieldCTStatus, ctDNAT), accept)
		}, certain: "0.0.0.0/1 172.17.0.0/16", possible: "0.0.0.0/1 172.17.0.0/16", lost: "policy drop"},
		"a port rewritten behind conntrack": {rules: func(b builder) {
			b.base(FamilyIPv4, "r", "pre", Base{Hook: HookPrerouting, Priority: -50, Policy: VerdictAccept}).
				does(dport(80, 80), Assign{To: FieldDport, Value: []Operand{Const(Number(8080))}})
			b.base(FamilyIPv4, "f", "in", Base{Hook: HookInput, Policy: VerdictAccept}).does(AnyBit(FieldCTState, ctEstablished), accept)
		}, lost: "isn't translated back"},
		"a port perhaps rewritten behind conntrack": {rules: func(b builder) {
			b.base(FamilyIPv4, "r", "pre", Base{Hook: HookPrerouting, Priority: -50, Policy: VerdictAccept}).
				does(from("128.0.0.0/1"), Assign{To: FieldDport, Value: []Operand{{Field: FieldUnknown, Text: "numgen", Max: Number(80)}}})
			b.base(FamilyIPv4, "f", "in", Base{Hook: HookInput, Policy: VerdictAccept}).does(AnyBit(FieldCTState, ctEstablished), accept)
		}, certain: "0.0.0.0/1", possible: "0.0.0.0/0"},
		"a mark before NAT of the same priority": {rules: routesByMark(-101), host: blackholeMark1, lost: "a routing rule refuses"},
		"a mark at the priority of NAT":          {rules: routesByMark(-100), host: blackholeMark1, lost: "a routing rule refuses"},
		"a mark behind NAT":                      {rules: routesByMark(-99), host: blackholeMark1, lost: "a routing rule refuses"},
		"a chain at the priority of NAT": {rules: func(b builder) {
			b.base(FamilyIPv4, "n", "pre", Base{Type: TypeNAT, Hook: HookPrerouting, Priority: -100, Policy: VerdictAccept}).
				does(dport(80, 80), NAT{Kind: NATDestination, Family: FamilyIPv4, Addr: &Operand{Xor: Address(netip.MustParseAddr("172.17.0.2"))}})
			b.base(FamilyIPv4, "f", "post", Base{Hook: HookPostrouting, Priority: PriorityNATSource, Policy: VerdictAccept}).does(NoEffect{Text: "counter"})
		}, certain: "0.0.0.0/0"},
		"a chain at the priority of NAT, beside chains of NAT": {rules: func(b builder) {
			b.base(FamilyIPv4, "n", "pre", Base{Type: TypeNAT, Hook: HookPrerouting, Priority: -100, Policy: VerdictAccept}).
				does(dport(80, 80), NAT{Kind: NATDestination, Family: FamilyIPv4, Addr: &Operand{Xor: Address(netip.MustParseAddr("172.17.0.2"))}})
			post := Base{Hook: HookPostrouting, Priority: PriorityNATSource, Policy: VerdictAccept}
			b.base(FamilyIPv4, "f", "post", post).does(NoEffect{Text: "counter"})
			post.Type = TypeNAT
			b.base(FamilyIPv4, "n", "post", post).does(from("172.17.0.0/16"), NAT{Kind: NATMasquerade, Family: FamilyIPv4})
		}, certain: "0.0.0.0/0"},
		"a mark set before a chain of type route that changes the TOS": {rules: func(b builder) {
			b.base(FamilyIPv4, "a", "early", Base{Hook: HookOutput, Priority: -200, Policy: VerdictAccept}).does(markSet(1))
			b.base(FamilyIPv4, "a", "o", Base{Type: TypeRoute, Hook: HookOutput, Priority: PriorityMangle, Policy: VerdictAccept}).
				does(to("8.0.0.0/8"), NoEffect{Text: "ip dscp set cs3", Header: true})
		}, host: blackholeMark1, lost: "blackhole", possible: "0.0.0.0/0",
			certain: "0.0.0.0/5 9.0.0.0/8 10.0.0.0/7 12.0.0.0/6 16.0.0.0/4 32.0.0.0/3 64.0.0.0/2 128.0.0.0/1"},
		"the same in the table mangle": {rules: func(b builder) {
			b.base(FamilyIPv4, "a", "early", Base{Hook: HookOutput, Priority: -200, Policy: VerdictAccept}).does(markSet(1))
			b.base(FamilyIPv4, "mangle", "OUTPUT", Base{Hook: HookOutput, Priority: PriorityMangle, Policy: VerdictAccept}).
				does(to("8.0.0.0/8"), NoEffect{Text: "-j TOS", Header: true})
			b.rs.Tables[1].System = XTables
		}, host: blackholeMark1, lost: "blackhole", possible: "0.0.0.0/0",
			certain: "0.0.0.0/5 9.0.0.0/8 10.0.0.0/7 12.0.0.0/6 16.0.0.0/4 32.0.0.0/3 64.0.0.0/2 128.0.0.0/1"},
		"a filter chain marks beside a chain of type route": {rules: func(b builder) {
			b.base(FamilyIPv4, "a", "o", Base{Type: TypeRoute, Hook: HookOutput, Priority: PriorityMangle, Policy: VerdictAccept}).
				does(to("8.0.0.0/8"), markSet(3))
			b.base(FamilyIPv4, "a", "f", Base{Hook: HookOutput, Priority: PriorityMangle, Policy: VerdictAccept}).
				does(to("10.0.0.0/8"), markSet(1))
		}, host: blackholeMark1, lost: "blackhole",
			certain: "0.0.0.0/5 9.0.0.0/8 10.0.0.0/7 12.0.0.0/6 16.0.0.0/4 32.0.0.0/3 64.0.0.0/2 128.0.0.0/1"},
		"a tunnel for all traffic": {host: fullTunnelByMark, lost: "into the tunnel wg0",
			certain: "192.0.2.0/24 198.51.100.0/24 172.17.0.0/16", possible: "0.0.0.0/0"},
		"a tunnel, and answers keep the connection's mark": {host: fullTunnelByMark,
			rules: func(b builder) {
				b.base(FamilyIPv4, "a", "p", Base{Hook: HookPrerouting, Priority: PriorityMangle, Policy: VerdictAccept}).
					does(Assign{To: FieldCTMark, Value: []Operand{Const(Number(51820))}})
				b.base(FamilyIPv4, "a", "o", Base{Type: TypeRoute, Hook: HookOutput, Priority: PriorityMangle, Policy: VerdictAccept}).
					does(Assign{To: FieldMark, Value: []Operand{Of(FieldCTMark)}})
			}, certain: "0.0.0.0/0"},
		"a tunnel, and a filter chain that marks": {host: fullTunnelByMark,
			rules: func(b builder) {
				b.base(FamilyIPv4, "a", "o", Base{Hook: HookOutput, Priority: PriorityMangle, Policy: VerdictAccept}).
					does(markSet(51820))
			}, lost: "into the tunnel wg0",
			certain: "192.0.2.0/24 198.51.100.0/24 172.17.0.0/16", possible: "0.0.0.0/0"},
		"ping": {rules: func(b builder) {
			b.base(FamilyIPv4, "a", "out", output(VerdictAccept)).does(In(Of(FieldICMPType), One(Number(0))), to("128.0.0.0/1"), drop).
				does(In(Of(FieldICMPType), One(Number(8))), drop)
		}, q: Question{Family: address.IPv4, Protocol: firewall.Ping, Interface: "eth0", Destination: tcp80.Destination},
			certain: "0.0.0.0/1", possible: "0.0.0.0/1"},
	} {
		t.Run(name, func(t *testing.T) {
			b, h, q := build(), multihomed(), c.q
			if c.rules != nil {
				c.rules(b)
			}
			if c.host != nil {
				c.host(h)
			}
			if q.Family == 0 {
				q = tcp80
			}
			a, err := Evaluate(b.rs, h, q)
			if err != nil {
				t.Fatal(err)
			}
			certain, possible := a.Connects(func(p Piece) bool { return p.Outcome.Passes() })
			world := AllSources(
				address.IPv4,
			).Minus(NewRanges(
				loopback4,
				multicast4,
				One(Value{}),
				One(Ones(32)),
				One(
					Address(netip.MustParseAddr("192.0.2.10")),
				),
				One(Address(netip.MustParseAddr("198.51.100.10"))),
				One(Address(netip.MustParseAddr("172.17.0.1"))),
			))
			want := func(s string) Ranges {
				var list []Range
				for _, p := range strings.Fields(s) {
					list = append(list, Prefix(netip.MustParsePrefix(p)))
				}
				return NewRanges(list...).Intersect(world)
			}
			if w := want(c.certain); !certain.Intersect(world).Equal(w) {
				t.Errorf(
					"certain %v, want %v",
					a.Prefixes(certain.Intersect(world)).Strings(),
					a.Prefixes(w).Strings(),
				)
			}
			if c.possible == "" {
				c.possible = c.certain
			}
			if w := want(c.possible); !possible.Intersect(world).Equal(w) {
				t.Errorf(
					"possible %v, want %v",
					a.Prefixes(possible.Intersect(world)).Strings(),
					a.Prefixes(w).Strings(),
				)
			}
			found := c.lost == ""
			for _, p := range a.Pieces {
				found = found ||
					p.Reply != nil && p.Reply.Lost && strings.Contains(p.Reply.By.Reason, c.lost)
			}
			if !found {
				t.Errorf("nothing says that answers are lost to %q", c.lost)
			}
		})
	}
}

// The steps of an answer follow those of the packet, and are marked.
func TestExplainedReply(t *testing.T) {
	b := build()
	b.base(FamilyIPv4, "a", "out", Base{Hook: HookOutput, Policy: VerdictDrop}).
		does(to("10.0.0.0/8"), accept)
	for client, want := range map[string]Replies{
		"10.1.1.1": {Interface: "eth0"},
		"8.8.8.8":  {Lost: Yes},
	} {
		x, err := NewEvaluator(b.rs, multihomed()).Explain(tcp80, netip.MustParseAddr(client))
		if err != nil {
			t.Fatal(err)
		}
		if x.Verdict != "allow" || x.Replies == nil || x.Replies.Interface != want.Interface ||
			x.Replies.Lost != want.Lost {
			t.Errorf("%s: %+v", client, x)
		}
		if last := x.Steps[len(x.Steps)-1]; !last.Reply || last.Hook != "output" ||
			last.Chain != "out" {
			t.Errorf("%s: the last step is %+v", client, last)
		}
		if x.Steps[0].Reply || len(x.Targets) != 1 || x.Targets[0].Address != "192.0.2.10:80" {
			t.Errorf("%s: %+v", client, x)
		}
	}
}

// Every target of a translation is followed.
func TestTargets(t *testing.T) {
	addr, port, last := Const(
		Address(netip.MustParseAddr("172.17.0.2")),
	), Const(
		Number(80),
	), Const(
		Number(81),
	)
	endpoints := Operand{
		Field: FieldMap,
		Lookup: &Lookup{
			Key: []Operand{{Field: FieldUnknown, Text: "numgen random mod 3", Max: Number(2)}},
			In: &Set{
				Width:     1,
				Keys:      []Range{One(Number(0)), One(Number(1)), One(Number(2))},
				DataWidth: 1,
				Data: []Value{
					Address(netip.MustParseAddr("172.17.0.2")),
					Address(netip.MustParseAddr("172.17.0.3")),
					Address(netip.MustParseAddr("172.17.0.4")),
				},
			},
		},
	}
	for name, c := range map[string]struct {
		nat  NAT
		want string
	}{
		"ports":     {NAT{Family: FamilyIPv4, Addr: &addr, Port: &port, PortMax: &last}, "172.17.0.2:80 allow, 172.17.0.2:81 allow"},
		"redirect":  {NAT{Kind: NATRedirect, Family: FamilyIPv4, Port: &port, PortMax: &last}, "192.0.2.10:80 allow, 192.0.2.10:81 allow"},
		"endpoints": {NAT{Family: FamilyIPv4, Addr: &endpoints, Port: &port}, "172.17.0.2:80 allow, 172.17.0.3:80 allow, 172.17.0.4:80 deny"},
		"too many": {NAT{Family: FamilyIPv4, Addr: &addr, AddrMax: &Operand{Xor: Address(netip.MustParseAddr("172.17.255.255"))}, Port: &port},
			"172.17.0.2-172.17.255.255:80 allow, 172.17.0.2-172.17.0.3:80 allow, 172.17.0.5-172.17.255.255:80 allow, 172.17.0.4:80 deny"},
	} {
		b := build()
		b.base(FamilyIPv4, "n", "pre", Base{Type: TypeNAT, Hook: HookPrerouting, Priority: -100, Policy: VerdictAccept}).
			does(dport(8080, 8080), c.nat)
		b.base(FamilyIPv4, "f", "fwd", Base{Hook: HookForward, Policy: VerdictAccept}).
			does(to("172.17.0.4/32"), drop)
		q := tcp80
		q.Port = 8080
		x, err := NewEvaluator(b.rs, multihomed()).Explain(q, netip.MustParseAddr("8.8.8.8"))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, target := range x.Targets {
			got = append(got, target.Address+" "+target.Verdict)
		}
		if s := strings.Join(got, ", "); s != c.want {
			t.Errorf("%s: %s, want %s", name, s, c.want)
		}
	}
}

// Assumptions about answers are listed only where they mattered, and also when the question is
// repeated.
func TestRepliesSayWhatTheyAssume(t *testing.T) {
	out := Base{Hook: HookOutput, Policy: VerdictAccept}
	unicast := In(
		Operand{Field: FieldFib, Fib: Fib{Of: FibDest, Want: FibType}},
		One(Number(uint64(RouteUnicast))),
	)
	for name, c := range map[string]struct {
		rule []Statement
		want string
	}{
		"a client's port":    {[]Statement{dport(25, 25), drop}, assumedPorts},
		"a client's address": {[]Statement{unicast, accept}, "sources are addresses of other machines"},
		"neither":            {[]Statement{to("10.0.0.0/8"), drop}, ""},
	} {
		b := build()
		b.base(FamilyIPv4, "a", "out", out).does(c.rule...)
		e := NewEvaluator(b.rs, nil)
		q := tcp80
		q.Interface, q.Outside = "", true
		for range 2 {
			a, err := e.Evaluate(q)
			if err != nil {
				t.Fatal(err)
			}
			said := strings.Join(a.Assumed, "; ")
			for _, s := range []string{assumedPorts, "sources are addresses of other machines"} {
				if strings.Contains(said, s) != (c.want == s) {
					t.Errorf("%s: assumed %s", name, said)
				}
			}
		}
	}
}

// The caller gets every target to judge, and the list is cut afterwards.
func TestTargetsAreCutOnceJudged(t *testing.T) {
	first, last := Const(Number(1)), Const(Number(32))
	near, far := Const(
		Address(netip.MustParseAddr("172.17.1.1")),
	), Const(
		Address(netip.MustParseAddr("172.17.1.32")),
	)
	b := build()
	b.base(FamilyIPv4, "n", "pre", Base{Type: TypeNAT, Hook: HookPrerouting, Priority: -100, Policy: VerdictAccept}).
		does(limit, NAT{Kind: NATRedirect, Family: FamilyIPv4, Port: &first, PortMax: &last}).
		does(NAT{Family: FamilyIPv4, Addr: &near, AddrMax: &far})
	b.base(FamilyIPv4, "f", "fwd", Base{Hook: HookForward, Policy: VerdictAccept}).
		does(limit, Assign{To: FieldDport, Value: []Operand{Const(Number(81))}})
	x, err := NewEvaluator(b.rs, multihomed()).Explain(tcp80, netip.MustParseAddr("8.8.8.8"))
	if err != nil {
		t.Fatal(err)
	}
	if x.Verdict != "allow" || len(x.Targets) != 96 {
		t.Fatalf("%s, %d targets", x.Verdict, len(x.Targets))
	}
	if x.CutTargets(); len(x.Targets) != maxListed ||
		!strings.Contains(strings.Join(x.Assumed, "; "), "96 targets") {
		t.Errorf("%d targets: %q", len(x.Targets), x.Assumed)
	}
}

// A link-local client is answered by the interface that it came by, if a route of that interface
// leads to it: fe80::/64 is one address in 2^54 of fe80::/10.
func TestRepliesToLinkLocalClients(t *testing.T) {
	h := smallHost(false)
	own := netip.MustParsePrefix("fe80::1/64")
	h.Interfaces[1].Addresses = append(h.Interfaces[1].Addresses, own)
	for _, r := range []Route{
		{Table: tableLocal, Type: RouteLocal, Dest: netip.MustParsePrefix("fe80::1/128")},
		{Table: tableMain, Type: RouteUnicast, Dest: own.Masked()},
	} {
		r.NextHops = []NextHop{{Index: 2}}
		h.Routes = append(h.Routes, r)
	}
	a, err := NewEvaluator(&Ruleset{}, h).Evaluate(Question{
		Family:      address.IPv6,
		Protocol:    firewall.TCP,
		Interface:   "eth0",
		Destination: own.Addr(),
		Port:        22,
	})
	if err != nil {
		t.Fatal(err)
	}
	certain, possible := a.Connects(func(p Piece) bool { return p.Outcome == Delivered })
	for client, want := range map[string]bool{
		"fe80::5": true, "fe80:0:0:1::5": false, "fe81::5": false, "febf:ffff::5": false,
	} {
		v := Address(netip.MustParseAddr(client))
		if certain.Contains(v) != want || possible.Contains(v) != want {
			t.Errorf("%s is answered: certain %v, possible %v, want %v", client,
				certain.Contains(v), possible.Contains(v), want)
		}
	}
}
