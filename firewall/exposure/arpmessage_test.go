package exposure

import (
	"net/netip"
	"slices"
	"testing"
)

// Chains of netdev that may drop messages of ARP leave IPv4 undecided on the links that they see,
// also where only the answer, or the way to the target, takes that link.
func TestARPInNetdev(t *testing.T) {
	arp := In(Of(FieldEtherType), One(Number(etherARP)))
	ip := In(Of(FieldEtherType), One(Number(0x0800)))
	linkType := In(Operand{Field: FieldRaw, Raw: Raw{Base: RawLink, Offset: 96, Bits: 16}},
		One(Number(etherARP)))
	at := func(h Hook, policy VerdictKind, device string) func(b builder) *Chain {
		return func(b builder) *Chain {
			return b.base(FamilyNetdev, "n", h.String(), Base{
				Hook: h, Policy: policy, Devices: []string{device},
			})
		}
	}
	open := at(HookIngress, VerdictAccept, "eth0")
	closed := at(HookIngress, VerdictDrop, "eth0")
	verdicts := func(v ...Verdict) VerdictMap {
		return VerdictMap{Key: []Operand{Of(FieldEtherType)}, In: &Set{
			Width: 1, Keys: []Range{One(Number(0x0800)), One(Number(etherARP))}, Verdicts: v,
		}}
	}
	partly := func(change func(s *Set), v ...Verdict) VerdictMap {
		m := verdicts(v...)
		change(m.In)
		return m
	}
	for name, c := range map[string]struct {
		rules     func(b builder)
		undecided bool
	}{
		"a rule":      {func(b builder) { open(b).does(arp, drop) }, true},
		"by its type": {func(b builder) { open(b).does(linkType, drop) }, true},
		"egress": {func(b builder) {
			at(HookEgress, VerdictAccept, "eth0")(b).does(arp, drop)
		}, true},
		"any device": {func(b builder) {
			at(HookIngress, VerdictAccept, "eth*")(b).does(arp, drop)
		}, true},
		"elsewhere": {func(b builder) {
			at(HookIngress, VerdictAccept, "eth1")(b).does(arp, drop)
		}, false},
		"policy":           {func(b builder) { closed(b).does(ip, accept) }, true},
		"policy, accepted": {func(b builder) { closed(b).does(ip, accept).does(arp, accept) }, false},
		"policy, at times": {func(b builder) {
			closed(b).does(ip, accept).does(arp, limit, accept)
		}, true},
		"another port": {func(b builder) { open(b).does(ip, dport(81, 81), drop) }, false},
		"a port alone": {func(b builder) { open(b).does(dport(81, 81), drop) }, false},
		"IPv6": {func(b builder) {
			open(b).does(In(Of(FieldEtherType), One(Number(0x86dd))), drop)
		}, false},
		"a map that drops": {func(b builder) {
			open(b).does(verdicts(accept, drop))
		}, true},
		"a map that accepts": {func(b builder) {
			closed(b).does(verdicts(accept, accept))
		}, false},
		"a map that jumps": {func(b builder) {
			in := open(b)
			in.does(verdicts(accept, jump("own")))
			in.user("own").does(drop)
		}, true},
		"a map at a rate": {func(b builder) {
			closed(b).does(partly(func(s *Set) {
				s.Notes = map[int]Note{1: {Condition: "limit rate 1/minute"}}
			}, accept, accept))
		}, true},
		"a map with a comment": {func(b builder) {
			closed(b).does(partly(func(s *Set) {
				s.Notes = map[int]Note{1: {Comment: "neighbours"}}
			}, accept, accept))
		}, false},
		"a map cut short": {func(b builder) {
			open(b).does(partly(func(s *Set) {
				s.Keys, s.Unknown = s.Keys[:1], "cut short"
			}, accept))
		}, true},
		"a map that grows": {func(b builder) {
			open(b).does(partly(func(s *Set) { s.Keys, s.Grows = s.Keys[:1], true }, accept))
		}, true},
		"a map that shrinks": {func(b builder) {
			closed(b).does(partly(func(s *Set) { s.Shrinks = true }, accept, accept))
		}, true},
		"a map of all values, of a field that may be absent": {func(b builder) {
			closed(b).does(ip, accept).does(VerdictMap{Key: []Operand{Of(FieldCTMark)}, In: &Set{
				Width: 1, Keys: []Range{Full(32)}, Verdicts: []Verdict{accept},
			}})
		}, true},
		"a map's rest, of a field that may be absent": {func(b builder) {
			open(b).does(VerdictMap{Key: []Operand{Of(FieldCTMark)}, In: &Set{
				Width: 1, Default: true, Verdicts: []Verdict{drop},
			}})
		}, true},
		"behind return": {func(b builder) {
			in := open(b)
			in.does(jump("own"))
			in.user("own").does(arp, Verdict{Kind: VerdictReturn}).does(ip, accept).does(drop)
		}, false},
		"behind goto, policy": {func(b builder) {
			in := closed(b)
			in.does(arp, Verdict{Kind: VerdictGoto, Chain: "own"}).does(accept)
			in.user("own").does(ip, drop)
		}, true},
		"a mark that it hasn't": {func(b builder) { open(b).does(arp, markIs(1), drop) }, false},
		"a mark that it may have": {func(b builder) {
			open(b).does(Assign{To: FieldMark, Value: []Operand{Const(Number(1))}}).
				does(arp, markIs(1), drop)
		}, true},
		"a mark from a rule of ARP": {func(b builder) {
			b.base(FamilyARP, "a", "o", Base{Hook: HookOutput, Policy: VerdictAccept}).
				does(markSet(1))
			at(HookEgress, VerdictAccept, "eth0")(b).does(arp, markIs(1), drop)
		}, true},
		"a mark from a rule of a bridge": {func(b builder) {
			b.base(FamilyBridge, "a", "o", Base{Hook: HookOutput, Policy: VerdictAccept}).
				does(markSet(1))
			at(HookEgress, VerdictAccept, "eth0")(b).does(arp, markIs(1), drop)
		}, true},
		"asleep": {func(b builder) { closed(b).Table.Dormant = true }, false},
	} {
		b := build()
		c.rules(b)
		q := tcp80
		q.Interface, q.Destination = "eth0", netip.MustParseAddr("192.0.2.10")
		client := Address(netip.MustParseAddr("192.0.2.77"))
		for _, known := range []bool{false, true} {
			e := NewEvaluator(b.rs, smallHost(true))
			if known {
				e.NeighboursKnown()
			}
			a, err := e.Evaluate(q)
			if err != nil {
				t.Fatal(err)
			}
			certain, possible := a.Through()
			if name == "asleep" || !known {
				undecided := !certain.Contains(client) && possible.Contains(client)
				named := slices.ContainsFunc(a.piecesOf(client), func(p Piece) bool {
					return slices.ContainsFunc(p.Unknowns, func(d Decider) bool {
						return d.Chain != nil && d.Chain.Table.Family == FamilyNetdev
					})
				})
				if undecided != c.undecided || named != c.undecided {
					t.Errorf("%s: certain %v, named %v", name, !undecided, named)
				}
			} else if undecided := !certain.Contains(client); undecided && name == "a rule" {
				t.Errorf("%s: undecided though neighbours are known", name)
			}
		}
	}
}

// An answer that leaves by another interface has to find the next host there.
func TestARPOnTheAnswersLink(t *testing.T) {
	for _, c := range []struct {
		device string
		client string
		lost   bool
	}{
		{"eth1", "172.17.0.9", true}, {"eth1", "192.0.2.77", false}, {"eth2", "172.17.0.9", false},
	} {
		b := build()
		b.base(FamilyNetdev, "n", "i", Base{
			Hook: HookIngress, Policy: VerdictAccept, Devices: []string{c.device},
		}).does(In(Of(FieldEtherType), One(Number(etherARP))), drop)
		q := tcp80
		q.Interface, q.Destination = "eth0", netip.MustParseAddr("192.0.2.10")
		a, err := Evaluate(b.rs, smallHost(true), q)
		if err != nil {
			t.Fatal(err)
		}
		certain, possible := a.Connects(func(p Piece) bool { return p.Outcome.Passes() })
		v := Address(netip.MustParseAddr(c.client))
		if certain.Contains(v) == c.lost || !possible.Contains(v) {
			t.Errorf("%s, %s: certain %v, possible %v", c.device, c.client, certain.Contains(v),
				possible.Contains(v))
		}
	}
}

// Rules of ARP concern an answer on another link where the first packet needed no neighbour.
func TestRulesOfARPOnTheAnswersLink(t *testing.T) {
	for client, lost := range map[string]bool{"172.17.0.9": true, "192.0.2.77": false} {
		b := build()
		b.base(FamilyARP, "n", "i", Base{Hook: HookInput, Policy: VerdictDrop})
		host := smallHost(true)
		host.Interface("eth0").NoNeighbours = true
		q := tcp80
		q.Interface, q.Destination = "eth0", netip.MustParseAddr("192.0.2.10")
		a, err := Evaluate(b.rs, host, q)
		if err != nil {
			t.Fatal(err)
		}
		certain, possible := a.Connects(func(p Piece) bool { return p.Outcome.Passes() })
		v := Address(netip.MustParseAddr(client))
		if certain.Contains(v) == lost || !possible.Contains(v) {
			t.Errorf("%s: certain %v, possible %v", client, certain.Contains(v),
				possible.Contains(v))
		}
	}
}

// The device below a VLAN may see its tag where a frame has its type.
func TestARPInATaggedFrame(t *testing.T) {
	for kind, refused := range map[string]bool{"vlan": true, "": false} {
		b := build()
		b.base(FamilyNetdev, "n", "i", Base{
			Hook: HookIngress, Policy: VerdictDrop, Devices: []string{"eth0"},
		}).does(In(Operand{Field: FieldRaw, Raw: Raw{Base: RawLink, Offset: 96, Bits: 16}},
			One(Number(etherARP))), accept)
		host, on := smallHost(true), "eth0"
		if kind != "" {
			on = "eth1"
			host.Interface(on).Kind, host.Interface(on).Link = kind, host.Interface("eth0").Index
		}
		if by := NewEvaluator(b.rs, host).refusedARP(host.Interface(on), on); (by.Chain != nil) !=
			refused {
			t.Errorf("%q: %v", kind, by.Reason)
		}
	}
}

// A packet that is forwarded has to find its target.
func TestARPOnTheTargetsLink(t *testing.T) {
	for device, lost := range map[string]bool{"eth1": true, "eth2": false} {
		b := build()
		b.base(FamilyNetdev, "n", "e", Base{
			Hook: HookEgress, Policy: VerdictAccept, Devices: []string{device},
		}).does(In(Of(FieldEtherType), One(Number(etherARP))), drop)
		q := tcp80
		q.Interface, q.Destination = "eth0", netip.MustParseAddr("172.17.0.9")
		a, err := Evaluate(b.rs, smallHost(true), q)
		if err != nil {
			t.Fatal(err)
		}
		certain, possible := a.Through()
		v := Address(netip.MustParseAddr("192.0.2.77"))
		if certain.Contains(v) == lost || !possible.Contains(v) {
			t.Errorf("%s: certain %v, possible %v", device, certain.Contains(v),
				possible.Contains(v))
		}
	}
}

// Chains of a bridge concern what comes in by it or leaves by it, also by a VLAN on top of it, or
// on the way to a target.
func TestBridgeChainsConcernWhatIsOnTop(t *testing.T) {
	for _, c := range []struct {
		kind    string
		on      string // the interface that the bridge is below
		to      string
		unclear bool
	}{
		{"vlan", "eth0", "192.0.2.10", true}, {"macvlan", "eth0", "192.0.2.10", true},
		{"veth", "eth0", "192.0.2.10", false}, {"vlan", "eth1", "172.17.0.9", true},
		{"bridge", "eth1", "172.17.0.9", true}, {"veth", "eth1", "172.17.0.9", false},
	} {
		b := build()
		b.base(FamilyBridge, "b", "i", Base{Hook: HookInput, Policy: VerdictAccept}).
			does(In(Of(FieldEtherType), One(Number(etherARP))), drop)
		host := smallHost(true)
		host.Interfaces = append(host.Interfaces, Interface{Name: "br0", Index: 9, Kind: "bridge"})
		on := host.Interface(c.on)
		on.Kind, on.Link = c.kind, 9
		q := tcp80
		q.Interface, q.Destination = "eth0", netip.MustParseAddr(c.to)
		a, err := Evaluate(b.rs, host, q)
		if err != nil {
			t.Fatal(err)
		}
		certain, possible := a.Through()
		v := Address(netip.MustParseAddr("192.0.2.77"))
		if certain.Contains(v) == c.unclear || !possible.Contains(v) {
			t.Errorf("%v: certain %v, possible %v", c, certain.Contains(v), possible.Contains(v))
		}
	}
}

// A chain on a device concerns the interfaces above it, at any height.
func TestChainsConcernWhatIsAbove(t *testing.T) {
	vlan := func(name string, index, link, master int) Interface {
		return Interface{Name: name, Index: index, Kind: "vlan", Link: link, Master: master}
	}
	for name, c := range map[string]struct {
		device string
		below  []Interface // below eth0, a bridge of index 2
		want   Tri
	}{
		"a port":             {"p", []Interface{{Name: "p", Index: 8, Master: 2}}, Maybe},
		"a VLAN's device":    {"p", []Interface{{Name: "p", Index: 8}, vlan("v", 9, 8, 2)}, Maybe},
		"the VLAN as a port": {"v", []Interface{{Name: "p", Index: 8}, vlan("v", 9, 8, 2)}, Maybe},
		"a bond's port": {"p", []Interface{
			{Name: "p", Index: 8, Master: 9}, {Name: "b", Index: 9, Kind: "bond", Master: 2},
		}, Maybe},
		"a VLAN's, which isn't known": {"p", []Interface{
			{Name: "p", Index: 8}, vlan("v", 9, 0, 2),
		}, Maybe},
		"a VLAN above": {"v", []Interface{vlan("v", 9, 2, 0)}, No},
		"another":      {"p", []Interface{{Name: "p", Index: 8}, vlan("v", 9, 3, 2)}, No},
	} {
		b := build()
		chain := b.base(FamilyNetdev, "n", "i", Base{
			Hook: HookIngress, Policy: VerdictDrop, Devices: []string{c.device},
		})
		host := smallHost(true)
		eth0 := host.Interface("eth0")
		eth0.Kind = "bridge"
		host.Interfaces = append(host.Interfaces, c.below...)
		eth0 = host.Interface("eth0")
		if got := NewEvaluator(b.rs, host).onDevice(chain, eth0, "eth0"); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
		q := tcp80
		q.Interface, q.Destination = "eth0", netip.MustParseAddr("192.0.2.10")
		a, err := Evaluate(b.rs, host, q)
		if err != nil {
			t.Fatal(err)
		}
		certain, _ := a.Through()
		if client := Address(netip.MustParseAddr("192.0.2.77")); certain.Contains(client) !=
			(c.want == No) {
			t.Errorf("%s: certain %v", name, certain.Contains(client))
		}
	}
}
