package exposure

import (
	"net/netip"
	"testing"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

func TestRouting(t *testing.T) {
	container := tcp80
	container.Destination = netip.MustParseAddr("172.17.0.2")
	loopback := tcp80
	loopback.Destination = netip.MustParseAddr("127.0.0.1")
	route := func(h *Host, dest string, index int, table uint32) {
		h.Routes = append(
			h.Routes,
			Route{
				Table:    table,
				Type:     RouteUnicast,
				Dest:     netip.MustParsePrefix(dest),
				NextHops: []NextHop{{Index: index}},
			},
		)
	}
	rules := func(h *Host, mark uint32) {
		h.Rules = []RoutingRule{
			{
				Family:               address.IPv4,
				Priority:             0,
				Action:               RuleTable,
				Table:                tableLocal,
				SuppressPrefixLength: -1,
			},
			{
				Family:               address.IPv4,
				Priority:             100,
				Action:               RuleTable,
				Table:                7,
				Mark:                 mark,
				MarkMask:             0xff,
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
	hairpin := tcp80
	hairpin.Interface = "eth1"
	bridged := func(h *Host) {
		h.BridgeCallIPTables, h.Interfaces[2].Kind = true, "bridge"
		h.Interfaces = append(h.Interfaces, Interface{Name: "port", Index: 9, Master: 3})
	}
	toItself := func(b builder) {
		b.base(FamilyIPv4, "n", "p", Base{Type: TypeNAT, Hook: HookPrerouting, Priority: -100}).
			does(NAT{
				Kind: NATDestination, Family: FamilyIPv4,
				Addr: &Operand{Xor: Address(netip.MustParseAddr("172.17.0.2"))},
			})
	}
	for name, c := range map[string]struct {
		q    Question
		host func(h *Host)
		rs   func(b builder)
		// The outcome of a packet from each source: delivered, forwarded by an interface, dropped,
		// or both ("maybe").
		want map[string]string
	}{
		"martians": {q: tcp80, want: map[string]string{
			"0.0.0.0": "dropped", "0.0.0.1": "delivered", "127.0.0.1": "dropped",
			"224.0.0.1": "dropped", "239.255.255.255": "dropped", "240.0.0.1": "delivered",
			"255.255.255.255": "dropped", "192.0.2.10": "dropped", "172.17.0.1": "dropped",
			"8.8.8.8": "delivered",
		}},
		"accept_local": {
			q:    tcp80,
			host: func(h *Host) { h.All.AcceptLocal = true },
			want: map[string]string{"192.0.2.10": "delivered"},
		},
		"strict": {
			q:    tcp80,
			host: func(h *Host) { h.All.RPFilter = 1 },
			want: map[string]string{"172.17.0.9": "dropped", "8.8.8.8": "delivered"},
		},
		"loose": {
			q:    tcp80,
			host: func(h *Host) { h.All.RPFilter = 2 },
			want: map[string]string{"172.17.0.9": "delivered", "8.8.8.8": "delivered"},
		},
		"forwarded": {q: container, want: map[string]string{"8.8.8.8": "forwarded eth1"}},
		"forwarding off": {
			q:    container,
			host: func(h *Host) { h.Interfaces[1].Sysctls.Forwarding4 = false },
			want: map[string]string{"8.8.8.8": "dropped"},
		},
		"127/8": {q: loopback, want: map[string]string{"8.8.8.8": "dropped"}},
		"route_localnet": {
			q:    loopback,
			host: func(h *Host) { h.All.RouteLocalnet = true },
			want: map[string]string{"8.8.8.8": "delivered"},
		},
		"no interface": {
			q:    func() Question { q := tcp80; q.Interface = ""; return q }(),
			host: func(h *Host) { h.All.RPFilter = 1 },
			want: map[string]string{"8.8.8.8": "maybe", "224.0.0.1": "dropped"},
		},
		"a table by mark": {
			q:    container,
			host: func(h *Host) { rules(h, 1); route(h, "172.17.0.0/24", 2, 7) },
			rs: func(b builder) {
				pre := Base{Hook: HookPrerouting, Priority: -150}
				b.base(FamilyIPv4, "m", "p", pre).does(from("8.0.0.0/8"), markSet(1))
			},
			want: map[string]string{"8.8.8.8": "forwarded eth0", "9.9.9.9": "forwarded eth1"},
		},
		"a mark not known": {
			q:    container,
			host: func(h *Host) { rules(h, 1); route(h, "172.17.0.0/24", 2, 7) },
			rs: func(b builder) {
				pre := Base{Hook: HookPrerouting, Priority: -150}
				b.base(FamilyIPv4, "m", "p", pre).does(limit, markSet(1))
			},
			want: map[string]string{"8.8.8.8": "forwarded eth0, forwarded eth1"},
		},
		"no carrier": {
			q: container, host: func(h *Host) { h.Interfaces[2].NoCarrier = true },
			want: map[string]string{"8.8.8.8": "maybe"},
		},
		"back to its sender": {q: hairpin, host: bridged, rs: toItself,
			want: map[string]string{"172.17.0.2": "dropped", "172.17.0.3": "forwarded eth1"}},
		"back to its sender, in hairpin mode": {q: hairpin, rs: toItself,
			host: func(h *Host) { bridged(h); h.Interfaces[3].Hairpin = true },
			want: map[string]string{"172.17.0.2": "forwarded eth1"}},
		"back to its sender, routed": {q: hairpin, rs: toItself,
			host: func(h *Host) { bridged(h); h.BridgeCallIPTables = false },
			want: map[string]string{"172.17.0.2": "forwarded eth1"}},
		"a dead route": {
			q:    container,
			host: func(h *Host) { h.Routes[6].NextHops = []NextHop{{Index: 3, Dead: true}} },
			want: map[string]string{"8.8.8.8": "forwarded eth0"},
		},
	} {
		h, b := smallHost(true), build()
		if c.host != nil {
			c.host(h)
		}
		if c.rs != nil {
			c.rs(b)
			b.rs.Tables[0].Chains[0].Base.Policy = VerdictAccept
		}
		a, err := Evaluate(b.rs, h, c.q)
		if err != nil {
			t.Fatal(err)
		}
		for source, want := range c.want {
			if got := fates(a, netip.MustParseAddr(source)); got != want {
				t.Errorf("%s: %s is %s, want %s", name, source, got, want)
			}
		}
	}
}

// fates are an answer's outcomes for a source.
func fates(a Answer, source netip.Addr) string {
	got := map[string]bool{}
	for _, p := range a.Pieces {
		if p.Sources.Contains(Address(source)) {
			s := p.Outcome.String()
			if p.Out != "" && p.Outcome == Forwarded {
				s += " " + p.Out
			}
			got[s] = true
		}
	}
	switch {
	case (got["delivered"] || got["forwarded eth1"]) && got["dropped"]:
		return "maybe"
	case got["forwarded eth0"] && got["forwarded eth1"]:
		return "forwarded eth0, forwarded eth1"
	}
	for s := range got {
		return s
	}
	return "nothing"
}

// A routing rule that selects by protocol and port concerns packets that it can match, and no
// others: neither other ports, nor checks of sources, nor rules that look a source up.
func TestRoutingByPort(t *testing.T) {
	const (
		kept = "delivered"
		lost = "dropped"
	)
	udp := tcp80
	udp.Protocol = firewall.UDP
	other := tcp80
	other.Port = 22
	for name, c := range map[string]struct {
		rule RoutingRule
		want map[*Question]string
	}{
		"dport 22": {
			RoutingRule{Protocol: 6, Dport: Numbers(22, 22)},
			map[*Question]string{&tcp80: kept, &udp: kept, &other: "maybe"}, // for how it is checked
		},
		"sport 22": {
			RoutingRule{Protocol: 6, Sport: Numbers(22, 22)},
			map[*Question]string{&tcp80: kept, &udp: kept, &other: "maybe"},
		},
		"udp": {RoutingRule{Protocol: 17}, map[*Question]string{&tcp80: kept, &udp: lost, &other: kept}},
	} {
		h := smallHost(true)
		h.All.RPFilter = 1
		h.Interfaces[0].Up, h.Interfaces[1].Up, h.Interfaces[2].Up = true, true, true
		h.Routes = append(h.Routes, Route{
			Table: 7, Type: RouteUnicast, Dest: netip.MustParsePrefix("0.0.0.0/0"),
			NextHops: []NextHop{{Index: 3}},
		})
		rule := func(r RoutingRule, priority uint32, table uint32) RoutingRule {
			r.Family, r.Priority, r.Action, r.Table = address.IPv4, priority, RuleTable, table
			r.SuppressPrefixLength = -1
			return r
		}
		h.Rules = []RoutingRule{
			rule(RoutingRule{}, 0, tableLocal), rule(c.rule, 100, 7), rule(RoutingRule{}, 200, tableMain),
		}
		for q, want := range c.want {
			b := build()
			raw := b.base(FamilyIPv4, "r", "pre",
				Base{Hook: HookPrerouting, Priority: PriorityRaw, Policy: VerdictAccept})
			reverse := Operand{Field: FieldFib, Fib: Fib{Of: FibSource, Want: FibExists, ByIn: true}}
			if c.rule.Protocol == 6 { // of others the kernel may look at the protocol
				raw.does(In(reverse, One(Value{})), drop)
			}
			a, err := Evaluate(b.rs, h, *q)
			if err != nil {
				t.Fatal(err)
			}
			certain, possible := a.Connects(func(p Piece) bool { return p.Outcome.Passes() })
			client, got := Address(netip.MustParseAddr("8.8.8.8")), "maybe"
			switch {
			case certain.Contains(client):
				got = kept
			case !possible.Contains(client):
				got = lost
			}
			if got != want {
				t.Errorf("%s, %v/%d: %s, want %s", name, q.Protocol, q.Port, got, want)
			}
		}
	}
}

func TestIPv6ChecksFewSources(t *testing.T) {
	h := &Host{
		All:        InterfaceSysctls{Forwarding6: true},
		Interfaces: []Interface{{Name: "eth0", Index: 2, Ethernet: true}, {Name: "eth1", Index: 3}},
		Routes: []Route{
			{
				Table:    tableLocal,
				Type:     RouteLocal,
				Dest:     netip.MustParsePrefix("2001:db8::10/128"),
				NextHops: []NextHop{{Index: 2}},
			},
			{
				Table:    tableMain,
				Type:     RouteUnicast,
				Dest:     netip.MustParsePrefix("fd00::/64"),
				NextHops: []NextHop{{Index: 3}},
			}},
	}
	for dest, sources := range map[string]map[string]string{
		"2001:db8::10": {
			"2600::1": "delivered", "fe80::1": "delivered", "::1": "dropped",
			"ff02::1": "dropped", "::ffff:1.2.3.4": "dropped",
		},
		"fd00::2": {"2600::1": "forwarded eth1", "fe80::1": "dropped", "::": "dropped"},
		"fd01::2": {"2600::1": "dropped"},
	} {
		a, err := Evaluate(
			&Ruleset{},
			h,
			Question{
				Family:      address.IPv6,
				Protocol:    firewall.UDP,
				Interface:   "eth0",
				Destination: netip.MustParseAddr(dest),
				Port:        53,
			},
		)
		if err != nil {
			t.Fatal(err)
		}
		for s, want := range sources {
			if got := fates(a, netip.MustParseAddr(s)); got != want {
				t.Errorf("%s to %s: %s, want %s", s, dest, got, want)
			}
		}
	}
}
