package exposure

import (
	"fmt"
	"runtime"
	"testing"
)

// Thousands of rules look up one map of many verdicts. The map is worked through once, the question
// is decided, and what all rules share takes no memory for each.
func TestRulesShareVerdictMaps(t *testing.T) {
	const elements, rules = 5_000, 4_000
	b := build()
	in := b.base(FamilyIPv4, "f", "in", Base{Hook: HookInput, Policy: VerdictDrop})
	in.user("x").does(drop)
	m := &Set{Name: "m", Width: 1}
	for i := range uint64(elements) {
		m.Keys = append(m.Keys, One(Number(2*i)))
		m.Verdicts = append(m.Verdicts, []Verdict{accept, drop, jump("x")}[i%3])
	}
	for i := range rules {
		in.does(NoEffect{Text: fmt.Sprint(i)}, VerdictMap{Key: []Operand{Of(FieldSource4)}, In: m})
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	a, err := Evaluate(b.rs, nil, tcp80)
	if err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	certain, possible := a.Through()
	if want := (elements + 2) / 3; certain.Len() != want || !certain.Equal(possible) {
		t.Errorf("%d sources certain, %d possible, want %d", certain.Len(), possible.Len(), want)
	}
	if a.Work > 2*elements*10+100*rules {
		t.Errorf("%d steps", a.Work)
	}
	if mib := (after.TotalAlloc - before.TotalAlloc) >> 20; mib > 64 {
		t.Errorf("%d MiB allocated", mib)
	}
}
