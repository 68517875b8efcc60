package exposure

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// Rules that only look at the source, with rules for other ports between them, are evaluated
// together. The answer is the same as one by one.
func TestPlainRulesTogether(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for round := range 200 {
		b := build()
		c := b.base(FamilyIPv4, "filter", "INPUT", Base{Hook: HookInput, Policy: VerdictDrop})
		c.user("other").does(from("10.1.0.0/16"), back).does(from("10.0.0.0/8"), drop)
		for range 1 + r.IntN(40) {
			m := from(
				fmt.Sprintf("10.%d.%d.0/%d", r.IntN(4), r.IntN(4), []int{8, 16, 22, 24}[r.IntN(4)]),
			)
			m.Not = r.IntN(8) == 0
			if r.IntN(16) == 0 { // a long list
				for i := range 2 * maxSwept {
					m.In.Keys = append(m.In.Keys, from(fmt.Sprintf("10.2.%d.0/24", 2*i)).In.Keys[0])
				}
			}
			v := []Verdict{accept, drop, back, accept, jump("other")}[r.IntN(5)]
			if port := uint64(78 + r.IntN(4)); r.IntN(8) == 0 {
				c.does(m, dport(port, port), limit, v)
			} else {
				c.does(m, dport(port, 80+uint64(r.IntN(3))), v)
			}
		}
		together, single := NewEvaluator(b.rs, nil), NewEvaluator(b.rs, nil)
		for _, c := range single.chains {
			for n := range c.plains {
				clear(c.plains[n])
				clear(c.runs[n])
			}
		}
		for port := uint16(78); port < 83; port++ {
			q := tcp80
			q.Port = port
			a, err := together.Evaluate(q)
			if err != nil {
				t.Fatal(err)
			}
			b, _ := single.Evaluate(q)
			if x, y := decided(a), decided(b); !slices.Equal(x, y) {
				t.Fatalf(
					"round %d, port %d:\n%s\none by one:\n%s",
					round,
					port,
					strings.Join(x, "\n"),
					strings.Join(y, "\n"),
				)
			}
		}
	}
}

// decided are an answer's ways in words, in some order.
func decided(a Answer) (out []string) {
	for _, p := range a.Pieces {
		out = append(
			out,
			fmt.Sprint(
				p.Outcome,
				p.DecidedBy.Describe(),
				p.Unknowns,
				a.Prefixes(p.Sources).Strings(),
			),
		)
	}
	slices.Sort(out)
	return out
}

// Many rules for one port among others don't exceed a question's budget.
func TestManyRulesForOnePort(t *testing.T) {
	b := build()
	c := b.base(FamilyIPv4, "filter", "INPUT", Base{Hook: HookInput, Policy: VerdictDrop})
	const n = 20_000
	for i := range n {
		port := uint64(80 + i%2)
		c.does(
			from(fmt.Sprintf("10.%d.%d.%d/32", i>>15, i>>7&255, i<<1&255)),
			dport(port, port),
			accept,
		)
	}
	a, err := NewEvaluator(b.rs, nil).Evaluate(tcp80)
	if err != nil {
		t.Fatal(err)
	}
	certain, possible := a.Through()
	if certain.Len() != n/2 || possible.Len() != n/2 {
		t.Errorf(
			"%d networks certain, %d possible; %d steps",
			certain.Len(),
			possible.Len(),
			a.Work,
		)
	}
}
