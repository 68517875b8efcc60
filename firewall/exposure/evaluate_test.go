package exposure

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

// builder makes rulesets for tests.
type builder struct{ rs *Ruleset }

func build() builder { return builder{&Ruleset{}} }

func (b builder) base(f Family, table, name string, base Base) *Chain {
	for _, t := range b.rs.Tables {
		if t.Family == f && t.Name == table {
			return t.AddChain(&Chain{Name: name, Base: &base})
		}
	}
	return b.rs.AddTable(&Table{Family: f, Name: table}).AddChain(&Chain{Name: name, Base: &base})
}

func (c *Chain) user(name string) *Chain { return c.Table.AddChain(&Chain{Name: name}) }

// does appends a rule.
func (c *Chain) does(s ...Statement) *Chain {
	c.AddRule(&Rule{Statements: s, Number: len(c.Rules) + 1})
	return c
}

func from(cidr string) Match {
	p := netip.MustParsePrefix(cidr)
	if p.Addr().Is6() {
		return In(Of(FieldSource6), Prefix(p))
	}
	return In(Of(FieldSource4), Prefix(p))
}

func dport(from, to uint64) Match { return In(Of(FieldDport), Numbers(from, to)) }

var (
	accept = Verdict{Kind: VerdictAccept}
	drop   = Verdict{Kind: VerdictDrop}
	back   = Verdict{Kind: VerdictReturn}
	limit  = Unknown{Text: "limit 5/s"}
)

func jump(chain string) Verdict { return Verdict{Kind: VerdictJump, Chain: chain} }
func goTo(chain string) Verdict { return Verdict{Kind: VerdictGoto, Chain: chain} }

func markSet(v uint64) Assign { return Assign{To: FieldMark, Value: []Operand{Const(Number(v))}} }
func markIs(v uint64) Match   { return In(Of(FieldMark), One(Number(v))) }

var tcp80 = Question{
	Family:      address.IPv4,
	Protocol:    firewall.TCP,
	Interface:   "eth0",
	Destination: netip.MustParseAddr("192.0.2.10"),
	Port:        80,
}

// bounds are the certain and the possible sources that get through, as text.
func bounds(t *testing.T, rs *Ruleset, h *Host, q Question) (string, string) {
	t.Helper()
	a, err := Evaluate(rs, h, q)
	if err != nil {
		t.Fatal(err)
	}
	var all Ranges
	for _, p := range a.Pieces {
		all = all.Union(p.Sources)
		if p.Sources.Empty() {
			t.Errorf("an empty piece: %+v", p)
		}
	}
	if !all.Equal(q.Universe()) {
		t.Errorf("the pieces don't cover the question: %v", all.Prefixes(q.Family).Strings())
	}
	certain, possible := a.Through()
	return strings.Join(
			a.Prefixes(certain).Strings(),
			" ",
		), strings.Join(
			a.Prefixes(possible).Strings(),
			" ",
		)
}

func TestConstructs(t *testing.T) {
	input := Base{Hook: HookInput, Policy: VerdictDrop}
	open := Base{Hook: HookInput, Policy: VerdictAccept}
	pre := func(priority int32) Base {
		return Base{Hook: HookPrerouting, Priority: priority, Policy: VerdictAccept}
	}
	nat := Base{
		Type:     TypeNAT,
		Hook:     HookPrerouting,
		Priority: PriorityNATDestination,
		Policy:   VerdictAccept,
	}
	for name, c := range map[string]struct {
		make              func(b builder)
		certain, possible string
	}{
		"nothing": {func(b builder) {}, "0.0.0.0/0", "0.0.0.0/0"},
		"accept ends its own chain only": {func(b builder) {
			b.base(FamilyIPv4, "a", "in", open).does(from("10.0.0.0/8"), accept).does(drop)
			late := open
			late.Priority = 10
			b.base(FamilyInet, "b", "in", late).does(from("10.0.0.0/9"), drop)
		}, "10.128.0.0/9", "10.128.0.0/9"},
		"policy": {func(b builder) { b.base(FamilyIPv4, "a", "in", input).does(from("10.0.0.0/8"), accept) }, "10.0.0.0/8", "10.0.0.0/8"},
		"limit": {func(b builder) {
			b.base(FamilyIPv4, "a", "in", input).does(from("10.0.0.0/8"), limit, accept).does(from("10.0.0.0/9"), accept)
		},
			"10.0.0.0/9", "10.0.0.0/8"},
		"what senders leave out stops nobody": {func(b builder) {
			routing := Unknown{Text: "routing header", Optional: true}
			extension := In(Operand{Field: FieldRaw, Raw: Raw{Base: RawExtension, Offset: 16, Bits: 8, Header: 43}}, One(Number(0)))
			in := b.base(FamilyIPv4, "a", "in", open).does(routing, drop).does(extension, from("10.0.0.0/8"), drop).does(routing, Verdict{Kind: VerdictReject})
			in.does(from("0.0.0.0/1"), limit, routing, drop).does(from("192.0.0.0/2"), drop)
		}, "0.0.0.0/1 128.0.0.0/2", "0.0.0.0/1 128.0.0.0/2"},
		"what senders may put in lets them in": {func(b builder) {
			routing := Unknown{Text: "routing header", Optional: true}
			in := b.base(FamilyIPv4, "a", "in", input).does(from("10.0.0.0/8"), routing, accept).does(from("11.0.0.0/8"), routing, jump("x"))
			in.user("x").does(accept)
		}, "", "10.0.0.0/7"},
		"marks": {func(b builder) {
			b.base(FamilyIPv4, "m", "pre", pre(-150)).does(from("10.0.0.0/8"), Assign{To: FieldMark, Value: []Operand{Of(FieldMark).Or(Number(2))}}).
				does(from("10.0.0.0/9"), Assign{To: FieldMark, Value: []Operand{Of(FieldMark).Or(Number(1))}})
			b.base(FamilyIPv4, "a", "in", input).does(markIs(3), accept)
		}, "10.0.0.0/9", "10.0.0.0/9"},
		"connection marks": {func(b builder) {
			b.base(FamilyIPv4, "m", "pre", pre(-150)).does(from("10.0.0.0/8"), Assign{To: FieldCTMark, Value: []Operand{Const(Number(7))}})
			b.base(FamilyIPv4, "m", "raw", pre(-300)).does(Assign{To: FieldCTMark, Value: []Operand{Const(Number(7))}})
			b.base(FamilyIPv4, "a", "in", input).does(Assign{To: FieldMark, Value: []Operand{Of(FieldCTMark)}}).does(markIs(7), accept)
		}, "10.0.0.0/8", "10.0.0.0/8"},
		"goto returns past its caller": {func(b builder) {
			in := b.base(FamilyIPv4, "a", "in", input)
			in.does(jump("one")).does(accept)
			in.user("one").does(from("10.0.0.0/8"), goTo("two")).does(drop)
			in.user("two").does(from("10.0.0.0/9"), back).does(drop)
		}, "10.0.0.0/9", "10.0.0.0/9"},
		"goto from a base chain": {func(b builder) {
			in := b.base(FamilyIPv4, "a", "in", open)
			in.does(from("10.0.0.0/8"), goTo("two")).does(drop)
			in.user("two").does(from("10.0.0.0/9"), drop)
		}, "10.128.0.0/9", "10.128.0.0/9"},
		"states": {func(b builder) {
			b.base(FamilyIPv4, "r", "raw", pre(-300)).does(from("10.0.0.0/8"), NoTrack{})
			b.base(FamilyIPv4, "a", "in", input).does(AnyBit(FieldCTState, 2|4), accept).does(AnyBit(FieldCTState, 1), drop).does(AnyBit(FieldCTState, ctUntracked), drop).does(AnyBit(FieldCTState, 8), accept)
		}, "0.0.0.0/5 8.0.0.0/7 11.0.0.0/8 12.0.0.0/6 16.0.0.0/4 32.0.0.0/3 64.0.0.0/2 128.0.0.0/1", "0.0.0.0/5 8.0.0.0/7 11.0.0.0/8 12.0.0.0/6 16.0.0.0/4 32.0.0.0/3 64.0.0.0/2 128.0.0.0/1"},
		"a packet with a template stays tracked": {func(b builder) {
			b.base(FamilyIPv4, "r", "raw", pre(-300)).does(from("10.0.0.0/8"), Assign{To: FieldCTZone, Value: []Operand{Const(Number(0))}}).does(NoTrack{})
			b.base(FamilyIPv4, "a", "in", input).does(AnyBit(FieldCTState, 8), accept)
		}, "10.0.0.0/8", "10.0.0.0/8"},
		"a template for an untracked packet, which the two systems treat differently": {func(b builder) {
			b.base(FamilyIPv4, "r", "raw", pre(-300)).does(NoTrack{}).does(from("10.0.0.0/8"), Assign{To: FieldCTZone, Value: []Operand{Const(Number(1))}})
			b.base(FamilyIPv4, "a", "in", input).does(AnyBit(FieldCTState, 8), accept)
		}, "", "10.0.0.0/8"},
		"dnat to another port": {func(b builder) {
			port := Const(Number(8080))
			b.base(FamilyIPv4, "n", "pre", nat).does(from("10.0.0.0/8"), dport(80, 80), NAT{Kind: NATRedirect, Family: FamilyIPv4, Port: &port})
			b.base(FamilyIPv4, "a", "in", input).does(dport(8080, 8080), accept)
		}, "10.0.0.0/8", "10.0.0.0/8"},
		"source ports of all kinds": {func(b builder) {
			b.base(FamilyIPv4, "a", "in", input).
				does(In(Of(FieldSport), Numbers(50000, 65535)), accept).
				does(In(Of(FieldSport), Numbers(0, 49999)), from("10.0.0.0/8"), accept)
		}, "10.0.0.0/8", "0.0.0.0/0"},
		"an unknown effect": {func(b builder) {
			b.base(FamilyIPv4, "a", "in", open).does(from("10.0.0.0/8"), Unknown{Text: "-j WEIRD", Effect: true})
		}, "0.0.0.0/5 8.0.0.0/7 11.0.0.0/8 12.0.0.0/6 16.0.0.0/4 32.0.0.0/3 64.0.0.0/2 128.0.0.0/1", "0.0.0.0/0"},
		"a verdict map": {func(b builder) {
			in := b.base(FamilyIPv4, "a", "in", input)
			in.does(VerdictMap{Key: []Operand{Of(FieldSource4), Of(FieldDport)}, In: &Set{Width: 2,
				Keys:     []Range{Prefix(netip.MustParsePrefix("10.0.0.0/8")), One(Number(80)), Prefix(netip.MustParsePrefix("11.0.0.0/8")), One(Number(81))},
				Verdicts: []Verdict{jump("yes"), accept}}})
			in.user("yes").does(accept)
		}, "10.0.0.0/8", "10.0.0.0/8"},
		"not of what is absent": {func(b builder) {
			raw := b.base(FamilyIPv4, "r", "raw", pre(-300))
			raw.does(NotIn(Of(FieldCTMark), One(Number(5))), drop).does(NotIn(Of(FieldICMPType), One(Number(8))), drop).does(NotIn(Of(FieldDest6), One(Number(1))), drop)
		}, "0.0.0.0/0", "0.0.0.0/0"},
		"translated, and known to be": {func(b builder) {
			port := Const(Number(80)) // unchanged
			b.base(FamilyIPv4, "n", "pre", nat).does(from("10.0.0.0/9"), NAT{Kind: NATDestination, Family: FamilyIPv4, Port: &port})
			other := Const(Number(81))
			b.base(FamilyIPv4, "n", "late", Base{Type: TypeNAT, Hook: HookPrerouting, Priority: -90, Policy: VerdictAccept}).does(from("10.0.0.0/8"), NAT{Kind: NATRedirect, Family: FamilyIPv4, Port: &other})
			b.base(FamilyIPv4, "a", "in", input).does(AnyBit(FieldCTStatus, ctDNAT), In(Of(FieldCTOrigDport), One(Number(80))), accept)
		}, "10.128.0.0/9", "10.128.0.0/9"},
		"elements with conditions": {func(b builder) {
			b.base(FamilyIPv4, "a", "in", input).does(VerdictMap{Key: []Operand{Of(FieldSource4)}, In: &Set{Width: 1, Keys: []Range{Prefix(netip.MustParsePrefix("10.0.0.0/8")), Prefix(netip.MustParsePrefix("11.0.0.0/8"))},
				Verdicts: []Verdict{accept, accept}, Notes: map[int]Note{1: {Condition: "limit"}}}}).
				does(Match{Key: []Operand{Of(FieldSource4), Of(FieldDport)}, In: &Set{Width: 2, Keys: []Range{Prefix(netip.MustParsePrefix("12.0.0.0/8")), One(Number(80))}, Notes: map[int]Note{0: {Condition: "quota"}}}}, accept)
		}, "10.0.0.0/8", "10.0.0.0/7 12.0.0.0/8"},
		"a loop": {func(b builder) {
			in := b.base(FamilyIPv4, "a", "in", input)
			in.does(from("10.0.0.0/8"), jump("x"))
			in.user("x").does(jump("y"))
			in.user("y").does(jump("x"))
		}, "", "10.0.0.0/8"},
		"an order that isn't known": {func(b builder) {
			b.base(FamilyIPv4, "a", "one", pre(-150)).does(from("10.0.0.0/8"), markSet(1))
			b.base(FamilyIPv4, "b", "two", pre(-150)).does(markIs(0), drop)
		}, "", "10.0.0.0/8"},
	} {
		b := build()
		c.make(b)
		certain, possible := bounds(t, b.rs, nil, tcp80)
		if certain != c.certain || possible != c.possible {
			t.Errorf(
				"%s: certain %s, possible %s; want %s and %s",
				name,
				certain,
				possible,
				c.certain,
				c.possible,
			)
		}
	}
}

// Tried on Linux 6.18: the kernel doesn't consult a NAT chain that drops if nothing tracks
// connections.
func TestNATNeedsConnections(t *testing.T) {
	for _, tracked := range []bool{false, true} {
		b := build()
		b.base(
			FamilyInet,
			"n",
			"pre",
			Base{Type: TypeNAT, Hook: HookPrerouting, Priority: -100, Policy: VerdictDrop},
		)
		want := "0.0.0.0/0"
		if tracked {
			b.base(FamilyIPv4, "f", "out", Base{Hook: HookOutput, Policy: VerdictAccept}).
				does(AnyBit(FieldCTState, ctNew), accept)
			want = ""
		}
		if certain, possible := bounds(t, b.rs, nil, tcp80); certain != "" || possible != want {
			t.Errorf("tracked %v: certain %s, possible %s", tracked, certain, possible)
		}
	}
}

// kube-proxy's form: one of several targets, with address and port from one look-up.
func TestTargetsOfOneLookup(t *testing.T) {
	b := build()
	set := &Set{
		Width:     1,
		Keys:      []Range{One(Number(0)), One(Number(1))},
		DataWidth: 2,
		Data: []Value{
			Address(
				netip.MustParseAddr("172.17.0.2"),
			), Number(8080), Address(netip.MustParseAddr("172.17.0.3")), Number(9090)},
	}
	key := []Operand{{Field: FieldUnknown, Text: "numgen random mod 2", Max: Number(1)}}
	addr, port := Operand{
		Field:  FieldMap,
		Lookup: &Lookup{Key: key, In: set},
	}, Operand{
		Field:  FieldMap,
		Lookup: &Lookup{Key: key, In: set, Column: 1},
	}
	b.base(FamilyIPv4, "n", "pre", Base{Type: TypeNAT, Hook: HookPrerouting, Priority: -100, Policy: VerdictAccept}).
		does(NAT{Family: FamilyIPv4, Addr: &addr, Port: &port})
	b.base(FamilyIPv4, "f", "fwd", Base{Hook: HookForward, Policy: VerdictDrop}).
		does(In(Of(FieldDest4), One(Address(netip.MustParseAddr("172.17.0.2")))), dport(8080, 8080), accept).
		does(dport(9090, 9090), from("10.0.0.0/8"), accept)
	a, err := Evaluate(b.rs, smallHost(true), tcp80)
	if err != nil {
		t.Fatal(err)
	}
	targets := map[string]bool{}
	for _, p := range a.Pieces {
		if p.Outcome == Forwarded {
			targets[p.Target.String()+" "+p.Out] = true
		}
	}
	certain, possible := a.Through()
	got := strings.Join(a.Prefixes(certain).Strings(), " ")
	if len(targets) != 2 || !targets["172.17.0.2:8080 eth1"] || !targets["172.17.0.3:9090 eth1"] ||
		!strings.HasPrefix(got, "10.0.0.0/31 ") ||
		!possible.Contains(Number(1<<24)) {
		t.Errorf("targets %v; certain %s", targets, got)
	}
}

func TestExplainNamesDecider(t *testing.T) {
	b := build()
	in := b.base(FamilyIPv4, "filter", "INPUT", Base{Hook: HookInput, Policy: VerdictAccept})
	in.does(dport(22, 22), accept).does(jump("ufw-user-input"))
	in.user("ufw-user-input").
		does(from("10.0.0.0/8"), dport(80, 80), accept).
		does(limit, back).
		does(dport(80, 80), Verdict{Kind: VerdictReject, With: "tcp reset"})
	for source, want := range map[string]struct{ verdict, owner, rule string }{"10.1.1.1": {"allow", "ufw", ""}, "11.0.0.1": {"unknown", "ufw", ""}} {
		x, err := NewEvaluator(b.rs, nil).Explain(tcp80, netip.MustParseAddr(source))
		if err != nil {
			t.Fatal(err)
		}
		if x.Verdict != want.verdict || x.DecidedBy.Owner != want.owner || len(x.Steps) == 0 ||
			(x.Verdict == "unknown") != (len(x.Unknowns) > 0) {
			t.Errorf("%s: %+v", source, x)
		}
		ways := map[int]bool{}
		for _, s := range x.Steps {
			ways[s.Way] = true
		}
		if len(ways) != map[string]int{"allow": 1, "unknown": 2}[x.Verdict] {
			t.Errorf("%s: %d ways: %+v", source, len(ways), x.Steps)
		}
	}
}

func TestInvalidQuestions(t *testing.T) {
	for _, q := range []Question{{}, {Family: address.IPv6, Protocol: firewall.TCP, Destination: tcp80.Destination}, {Family: address.IPv4, Protocol: 1},
		{Family: address.IPv4, Protocol: firewall.TCP, Sources: NewRanges(One(Ones(33)))}} {
		if _, err := Evaluate(&Ruleset{}, nil, q); err == nil {
			t.Errorf("%+v: no error", q)
		}
	}
	if _, err := NewEvaluator(&Ruleset{}, nil).Explain(tcp80, netip.MustParseAddr("::1")); err == nil {
		t.Error("an IPv6 source of an IPv4 question")
	}
}
