package exposure

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall/address"
)

// neighbourDiscovery matches solicitations and advertisements.
var neighbourDiscovery = In(
	Of(FieldICMPType), Numbers(neighbourSolicitation, neighbourAdvertisement),
)

// Rules that refuse neighbour discovery leave IPv6 undecided, name themselves, and concern nothing
// else.
func TestNeighbourDiscovery(t *testing.T) {
	const onLink, routed = "2001:db8::7", "2001:db8:5::1"
	established := In(Of(FieldCTState), One(Number(ctEstablished)))
	solicits := In(Of(FieldICMPType), One(Number(neighbourSolicitation)))
	hops := In(
		Operand{Field: FieldRaw, Raw: Raw{Base: RawNetwork, Offset: 56, Bits: 8}}, One(Number(255)),
	)
	input := Base{Hook: HookInput, Policy: VerdictDrop}
	output := Base{Hook: HookOutput, Policy: VerdictDrop}
	open := Base{Hook: HookOutput}
	open.Policy = VerdictAccept
	for name, c := range map[string]struct {
		rules func(b builder)
		lost  []string
	}{
		"none": {func(builder) {}, nil},
		"output: established": {func(b builder) {
			b.base(FamilyIPv6, "n", "o", output).does(established, accept)
		}, []string{onLink, routed}},
		"output: open": {func(b builder) {
			b.base(FamilyIPv6, "n", "o", output).does(established, accept).
				does(neighbourDiscovery, accept)
		}, nil},
		"output: solicitations": {func(b builder) {
			b.base(FamilyInet, "n", "o", open).does(solicits, drop)
		}, []string{onLink, routed}},
		"output: untracked": {func(b builder) {
			b.base(FamilyIPv6, "n", "o", output).does(established, accept).
				does(In(Of(FieldCTState), One(Number(ctUntracked))), accept)
		}, nil},
		"egress": {func(b builder) {
			b.base(FamilyNetdev, "n", "e", Base{
				Hook: HookEgress, Policy: VerdictAccept, Devices: []string{"eth0"},
			}).does(neighbourDiscovery, drop)
		}, []string{onLink, routed}},
		"egress elsewhere": {func(b builder) {
			b.base(FamilyNetdev, "n", "e", Base{
				Hook: HookEgress, Policy: VerdictAccept, Devices: []string{"eth1"},
			}).does(neighbourDiscovery, drop)
		}, nil},
		"ingress": {func(b builder) {
			b.base(FamilyNetdev, "n", "e", Base{
				Hook: HookIngress, Policy: VerdictAccept, Devices: []string{"eth0"},
			}).does(neighbourDiscovery, drop)
		}, []string{onLink, routed}},
		"input: a service": {func(b builder) {
			b.base(FamilyIPv6, "n", "i", input).does(dport(80, 80), accept)
		}, []string{onLink, routed}},
		"input: half": {func(b builder) {
			b.base(FamilyIPv6, "n", "i", input).does(dport(80, 80), accept).does(solicits, accept)
		}, []string{onLink, routed}},
		"input: open, as ufw does": {func(b builder) {
			b.base(FamilyIPv6, "n", "i", input).does(dport(80, 80), accept).
				does(neighbourDiscovery, hops, accept)
		}, nil},
		"input: at a rate": {func(b builder) {
			b.base(FamilyIPv6, "n", "i", input).does(dport(80, 80), accept).
				does(neighbourDiscovery, limit, accept)
		}, []string{onLink, routed}},
		"input: link-local": {func(b builder) {
			b.base(FamilyIPv6, "n", "i", input).does(dport(80, 80), accept).
				does(from("fe80::/10"), neighbourDiscovery, accept)
		}, []string{onLink}},
		"asleep": {func(b builder) {
			b.base(FamilyIPv6, "n", "o", output).Table.Dormant = true
		}, nil},
	} {
		host := smallHost(true)
		host.Interfaces[slices.IndexFunc(host.Interfaces, func(i Interface) bool {
			return i.Name == "eth0"
		})].Addresses = []netip.Prefix{
			netip.MustParsePrefix("2001:db8::10/64"), netip.MustParsePrefix("fe80::10/64"),
		}
		index := host.Interface("eth0").Index
		for _, dest := range []string{"2001:db8::/64", "fe80::/64", "::/0"} {
			host.Routes = append(host.Routes, Route{
				Table: tableMain, Type: RouteUnicast, Dest: netip.MustParsePrefix(dest),
				NextHops: []NextHop{{Index: index}},
			})
		}
		for _, own := range []string{"2001:db8::10/128", "fe80::10/128"} {
			host.Routes = append(host.Routes, Route{
				Table: tableLocal, Type: RouteLocal, Dest: netip.MustParsePrefix(own),
				NextHops: []NextHop{{Index: index}},
			})
		}
		for _, kind := range []string{"", "wireguard"} {
			host.Interface("eth0").Kind = kind
			b := build()
			c.rules(b)
			q := tcp80
			q.Family, q.Destination = address.IPv6, netip.MustParseAddr("2001:db8::10")
			a, err := Evaluate(b.rs, host, q)
			if err != nil {
				t.Fatal(err)
			}
			certain, possible := a.Connects(func(p Piece) bool { return p.Outcome.Passes() })
			for _, s := range []string{onLink, routed} {
				v := Address(netip.MustParseAddr(s))
				want := slices.Contains(c.lost, s) && kind == ""
				named := slices.ContainsFunc(a.piecesOf(v), func(p Piece) bool {
					return slices.ContainsFunc(p.Unknowns, func(d Decider) bool {
						return strings.Contains(d.Reason, RefusesNeighbours) && d.Chain != nil
					})
				})
				if certain.Contains(v) == want || !possible.Contains(v) || named != want {
					t.Errorf("%s, %q, %s: certain %v, possible %v, named %v", name, kind, s,
						certain.Contains(v), possible.Contains(v), named)
				}
			}
		}
	}
}

// Without a host, only link-local addresses are known to be on the link.
func TestNeighbourDiscoveryOfADump(t *testing.T) {
	for name, c := range map[string]struct {
		rules []Statement
		lost  bool
	}{
		"nothing":         {[]Statement{markIs(1), accept}, true},
		"from link-local": {[]Statement{from("fe80::/10"), neighbourDiscovery, accept}, false},
		"all":             {[]Statement{neighbourDiscovery, accept}, false},
	} {
		b := build()
		b.base(FamilyIPv6, "n", "i", Base{Hook: HookInput, Policy: VerdictDrop}).
			does(dport(80, 80), accept).does(c.rules...)
		q := tcp80
		q.Family, q.Destination, q.Interface = address.IPv6, netip.Addr{}, ""
		a, err := Evaluate(b.rs, nil, q)
		if err != nil {
			t.Fatal(err)
		}
		if certain, possible := a.Through(); certain.Empty() != c.lost || possible.Empty() {
			t.Errorf("%s: certain %v", name, a.Prefixes(certain).Strings())
		}
	}
}

// What is found out about neighbours counts in a question's budget, also where it is remembered. A
// budget that doesn't suffice leaves the sources undecided.
func TestNeighbourDiscoveryIsPaidFor(t *testing.T) {
	b := build()
	out := b.base(FamilyIPv6, "n", "o", Base{Hook: HookOutput, Policy: VerdictAccept})
	for i := range uint64(200) {
		out.does(In(Of(FieldICMPCode), One(Number(i+1))), limit, drop)
	}
	q := tcp80
	q.Family, q.Destination, q.Interface = address.IPv6, netip.Addr{}, ""
	q.Answers = NoAnswers
	e := NewEvaluator(b.rs, nil)
	var work []int
	for range 2 {
		a, err := e.Evaluate(q)
		if err != nil {
			t.Fatal(err)
		}
		work = append(work, a.Work)
	}
	known, err := NewEvaluator(b.rs, nil).NeighboursKnown().Evaluate(q)
	if err != nil {
		t.Fatal(err)
	}
	if work[0] != work[1] || work[0] < known.Work+200 {
		t.Errorf("%v steps, and %d without", work, known.Work)
	}
	for range 2 {
		a, err := e.EvaluateWithin(q, &Budget{Steps: known.Work + 20})
		if err != nil {
			t.Fatal(err)
		}
		if certain, possible := a.Through(); !certain.Empty() || possible.Empty() {
			t.Errorf("certain %v, possible %v", certain, possible)
		}
	}
}
