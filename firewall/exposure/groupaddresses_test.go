package exposure

import (
	"net/netip"
	"testing"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

// Every question has the same answer for all addresses of one group.
func TestGroupedAddressesHaveOneAnswer(t *testing.T) {
	port80 := Const(Number(80))
	last := Of(FieldDest4).And(Number(0xff))
	last.Xor = Address(netip.MustParseAddr("10.0.0.0"))
	pre := func(priority int32) Base {
		return Base{Hook: HookPrerouting, Priority: priority, Policy: VerdictAccept}
	}
	nat := Base{Type: TypeNAT, Hook: HookPrerouting, Priority: -100, Policy: VerdictAccept}
	toPort80 := NAT{Family: FamilyIPv4, Port: &port80}
	input := Base{Hook: HookInput, Policy: VerdictDrop}
	markOf := Assign{To: FieldMark, Value: []Operand{Of(FieldDest4).And(Number(1))}}
	for name, rules := range map[string]func(b builder){
		"a network mapped to another": func(b builder) {
			b.base(FamilyIPv4, "n", "pre", nat).does(to("192.0.2.0/24"), NAT{Family: FamilyIPv4, Addr: &last})
			b.base(FamilyIPv4, "f", "fwd", Base{Hook: HookForward, Policy: VerdictDrop}).does(to("10.0.0.10/32"), accept)
		},
		"a mark of the address": func(b builder) {
			b.base(FamilyIPv4, "m", "pre", pre(-150)).does(markOf)
			b.base(FamilyIPv4, "f", "in", input).does(markIs(1), accept)
		},
		"a mark of the address, before a match": func(b builder) {
			b.base(FamilyIPv4, "m", "pre", pre(-150)).does(markOf, dport(22, 22), accept)
			b.base(FamilyIPv4, "f", "in", input).does(markIs(1), accept)
		},
		"a mark from a map, before a match": func(b builder) {
			set := &Set{Width: 1, Keys: []Range{One(Address(netip.MustParseAddr("192.0.2.10")))}, DataWidth: 1, Data: []Value{Number(1)}}
			b.base(FamilyIPv4, "m", "pre", pre(-150)).
				does(Assign{To: FieldMark, Value: []Operand{{Field: FieldMap, Lookup: &Lookup{Key: []Operand{Of(FieldDest4)}, In: set}}}}, dport(22, 22), accept)
			b.base(FamilyIPv4, "f", "in", input).does(markIs(1), accept)
		},
		"a port changed before prerouting": func(b builder) {
			b.base(FamilyIPv4, "n", "pre", nat).does(dport(8080, 8080), toPort80)
			b.base(FamilyIPv4, "f", "late", pre(-50)).does(to("192.0.2.10/32"), dport(80, 80), drop)
		},
		"a port changed before postrouting": func(b builder) {
			b.base(FamilyIPv4, "n", "pre", nat).does(dport(8080, 8080), toPort80)
			b.base(FamilyIPv4, "f", "post", Base{Hook: HookPostrouting, Policy: VerdictAccept}).
				does(from("192.0.2.10/32"), In(Of(FieldSport), Numbers(80, 80)), drop)
		},
		"a port rewritten before NAT": func(b builder) {
			b.base(FamilyIPv4, "r", "raw", pre(-300)).does(dport(8080, 8080), Assign{To: FieldDport, Value: []Operand{port80}})
			b.base(FamilyIPv4, "f", "early", pre(-200)).does(to("192.0.2.10/32"), dport(80, 80), drop)
		},
	} {
		t.Run(name, func(t *testing.T) {
			b, h := build(), multihomed()
			rules(b)
			second := netip.MustParsePrefix("192.0.2.11/24")
			h.Interfaces[0].Addresses = append(h.Interfaces[0].Addresses, second)
			h.Routes = append(
				h.Routes,
				Route{
					Table:    tableLocal,
					Type:     RouteLocal,
					Dest:     netip.PrefixFrom(second.Addr(), 32),
					NextHops: []NextHop{{Index: 1}},
				},
			)
			e := NewEvaluator(b.rs, h)
			own := []netip.Addr{netip.MustParseAddr("192.0.2.10"), second.Addr()}
			var through, possible [2]Ranges
			for i, a := range own {
				q := tcp80
				q.Port, q.Destination = 8080, a
				answer, err := e.Evaluate(q)
				if err != nil {
					t.Fatal(err)
				}
				_, through[i] = answer.Through()
				_, possible[i] = answer.Connects(func(p Piece) bool { return p.Outcome.Passes() })
			}
			if possible[0].Equal(possible[1]) && through[0].Equal(through[1]) {
				t.Fatal("the rules don't tell the addresses apart")
			}
			if groups := e.GroupAddresses(address.IPv4, firewall.TCP, 8080, own); len(groups) != 2 {
				t.Errorf("alike are %v", groups)
			}
		})
	}
}

// Addresses that ARP answers for on different links are told apart, also where another interface
// answers for neither.
func TestGroupedAddressesAreFoundAlike(t *testing.T) {
	h := multihomed()
	h.Interface("eth0").Sysctls.ARPIgnore = 8
	var own []netip.Addr
	for _, p := range []string{"172.17.0.5/16", "172.17.0.6/16"} {
		br0 := h.Interface("br0")
		br0.Addresses = append(br0.Addresses, netip.MustParsePrefix(p))
		a := netip.MustParsePrefix(p).Addr()
		own = append(own, a)
		h.Routes = append(h.Routes, Route{
			Table: tableLocal, Type: RouteLocal, Dest: netip.PrefixFrom(a, 32),
			NextHops: []NextHop{{Index: 3}},
		})
	}
	group := func() int {
		e := NewEvaluator(build().rs, h)
		return len(e.GroupAddresses(address.IPv4, firewall.TCP, 80, own))
	}
	if n := group(); n != 1 {
		t.Errorf("%d groups, want 1", n)
	}
	br0 := h.Interface("br0")
	br0.HostScope, br0.Sysctls.ARPIgnore = own[:1], 3
	if n := group(); n != 2 {
		t.Errorf("%d groups, want 2", n)
	}
}

// NAT doesn't change ports before its own hook: earlier rules are indexed by the dialled port, so
// that a question doesn't meet thousands of published ports.
func TestRulesBeforeNATAreIndexedByPort(t *testing.T) {
	port80 := Const(Number(80))
	b := build()
	b.base(FamilyIPv4, "n", "pre", Base{Type: TypeNAT, Hook: HookPrerouting, Priority: -100, Policy: VerdictAccept}).
		does(to("192.0.2.10/32"), dport(8080, 8080), NAT{Family: FamilyIPv4, Port: &port80})
	b.base(FamilyIPv4, "f", "raw", Base{Hook: HookPrerouting, Priority: -300, Policy: VerdictAccept}).
		does(to("192.0.2.11/32"), dport(8080, 8080), drop)
	for port, want := range map[uint16]int{80: 1, 8080: 3} {
		if got, complete := NewEvaluator(b.rs, nil).Classes(address.IPv4, firewall.TCP, port, port); len(
			got,
		) != want ||
			!complete {
			t.Errorf("port %d: complete %v, %v", port, complete, got)
		}
	}
}

// Hundreds of published containers don't add classes to each other's ports.
func TestPublishedPortsMakeFewClasses(t *testing.T) {
	b, port := build(), Const(Number(80))
	nat := b.base(
		FamilyIPv4,
		"n",
		"pre",
		Base{Type: TypeNAT, Hook: HookPrerouting, Priority: -100, Policy: VerdictAccept},
	)
	fwd := b.base(FamilyIPv4, "f", "fwd", Base{Hook: HookForward, Policy: VerdictDrop})
	for i := range uint64(2 * maxClasses) {
		at := Number(0xac110002 + i)
		addr := Const(at)
		nat.does(dport(8000+i, 8000+i), NAT{Family: FamilyIPv4, Addr: &addr, Port: &port})
		fwd.does(In(Of(FieldDest4), One(at)), dport(80, 80), accept)
	}
	if got, complete := NewEvaluator(b.rs, nil).Classes(address.IPv4, firewall.TCP, 8000, 8000); len(
		got,
	) != 1 ||
		!complete {
		t.Errorf("complete %v, %d classes", complete, len(got))
	}
}
