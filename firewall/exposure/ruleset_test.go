package exposure

import (
	"slices"
	"testing"

	"github.com/portgrave/portgrave/firewall/address"
)

func TestOrderMergesBothSystems(t *testing.T) {
	rs := &Ruleset{}
	add := func(f Family, table, chain string, b *Base) *Table {
		tbl := rs.AddTable(&Table{Family: f, Name: table})
		tbl.AddChain(&Chain{Name: chain, Base: b})
		return tbl
	}
	add(FamilyIPv4, "nat", "PREROUTING", XTablesBase("nat", "PREROUTING", VerdictAccept))
	add(FamilyInet, "own", "late-nat", &Base{Type: TypeNAT, Hook: HookPrerouting, Priority: 50})
	add(FamilyInet, "own", "filter", &Base{Hook: HookPrerouting, Priority: 0})
	add(FamilyInet, "portgrave", "prerouting", &Base{Hook: HookPrerouting, Priority: -110})
	add(FamilyIPv6, "raw", "PREROUTING", XTablesBase("raw", "PREROUTING", VerdictAccept))
	add(FamilyIPv4, "first", "a", &Base{Hook: HookPrerouting, Priority: -110, Rank: 1})
	add(FamilyInet, "sleeping", "a", &Base{Hook: HookPrerouting, Priority: -400}).Dormant = true
	add(FamilyARP, "arp", "a", &Base{Hook: HookPrerouting})
	add(FamilyIPv4, "filter", "INPUT", XTablesBase("filter", "INPUT", VerdictDrop))
	for v, want := range map[address.Family][]string{
		address.IPv4: {"inet portgrave prerouting", "ip first a", "ip nat PREROUTING", "inet own late-nat", "inet own filter"},
		address.IPv6: {"ip6 raw PREROUTING", "inet portgrave prerouting", "inet own late-nat", "inet own filter"},
	} {
		var got []string
		for _, c := range rs.Order(HookPrerouting, v) {
			got = append(got, c.Where())
		}
		if !slices.Equal(got, want) {
			t.Errorf("%v: %v, want %v", v, got, want)
		}
	}
}

func TestXTablesBase(t *testing.T) {
	for _, c := range []struct {
		table, chain string
		want         *Base
	}{
		{"security", "FORWARD", &Base{Hook: HookForward, Priority: 50, Policy: VerdictDrop}},
		{"nat", "INPUT", &Base{Type: TypeNAT, Hook: HookInput, Priority: 100, Policy: VerdictDrop}},
		{"raw", "INPUT", nil}, {"filter", "DOCKER", nil}, {"broute", "BROUTING", nil},
	} {
		got := XTablesBase(c.table, c.chain, VerdictDrop)
		if (got == nil) != (c.want == nil) ||
			got != nil &&
				(got.Type != c.want.Type || got.Hook != c.want.Hook || got.Priority != c.want.Priority || got.Policy != c.want.Policy) {
			t.Errorf("%s %s: %+v", c.table, c.chain, got)
		}
	}
}

func TestOwner(t *testing.T) {
	for _, c := range []struct{ table, chain, jump, want string }{
		{"filter", "ufw-user-input", "", "ufw"},
		{"filter", "INPUT", "f2b-sshd", "fail2ban"},
		{"filter", "INPUT", "", ""},
		{"nat", "DOCKER", "", "docker"},
		{"nat", "KUBE-SVC-ABC", "KUBE-SEP-DEF", "kube-proxy"},
		{"firewalld", "filter_INPUT", "", "firewalld"},
		{"portgrave", "prerouting", "", "portgrave"},
		{"mangle", "PREROUTING", "PORTGRAVE", "portgrave"},
	} {
		chain := (&Ruleset{}).AddTable(&Table{Name: c.table}).AddChain(&Chain{Name: c.chain})
		r := chain.AddRule(
			&Rule{Statements: []Statement{Verdict{Kind: VerdictJump, Chain: c.jump}}},
		)
		if got := r.Owner(); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

func TestSubtractLeavesTheRestOfABox(t *testing.T) {
	box := []Range{Numbers(0, 9), Numbers(0, 9)}
	for _, hole := range [][]Range{
		{Numbers(3, 4), Numbers(5, 20)}, {Numbers(0, 9), Numbers(0, 9)}, {Numbers(20, 30), Numbers(0, 9)}, {Numbers(0, 0), Numbers(9, 9)},
	} {
		rest := Subtract(box, hole)
		for x := range uint64(10) {
			for y := range uint64(10) {
				inHole := hole[0].Contains(Number(x)) && hole[1].Contains(Number(y))
				in := 0
				for _, b := range rest {
					if b[0].Contains(Number(x)) && b[1].Contains(Number(y)) {
						in++
					}
				}
				if in > 1 || (in == 1) == inHole {
					t.Fatalf("hole %v: (%d, %d) is in %d boxes of %v", hole, x, y, in, rest)
				}
			}
		}
	}
}

func TestAnswerKeepsBothBounds(t *testing.T) {
	a := Answer{Question: Question{Family: address.IPv4}, Pieces: []Piece{
		{Sources: NewRanges(Numbers(0, 99)), Outcome: Delivered},
		{Sources: NewRanges(Numbers(50, 199)), Outcome: Dropped},
		{Sources: NewRanges(Numbers(180, 189)), Outcome: Forwarded},
	}}
	certain, possible := a.Through()
	if !certain.Equal(NewRanges(Numbers(0, 49))) ||
		!possible.Equal(NewRanges(Numbers(0, 99), Numbers(180, 189))) {
		t.Errorf("certain %v, possible %v", certain.List(), possible.List())
	}
}

func TestMarkDynamic(t *testing.T) {
	s := SetOf()
	rs := &Ruleset{}
	c := rs.AddTable(&Table{}).AddChain(&Chain{})
	c.AddRule(&Rule{Statements: []Statement{SetUpdate{Set: s, Op: SetAdd}}})
	rs.MarkDynamic()
	if !s.Grows || s.Shrinks {
		t.Errorf("%+v", s)
	}
}
