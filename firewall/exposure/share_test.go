package exposure

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Equal statements of several rules are one in memory, and mean what they did.
func TestSharedStatements(t *testing.T) {
	named := Match{
		Key: []Operand{Of(FieldDport)},
		In:  &Set{Name: "s", Width: 1, Keys: []Range{One(Number(80))}},
	}
	noted := In(Of(FieldDport), One(Number(80)))
	noted.In.Notes = map[int]Note{0: {Condition: "limit"}}
	for name, c := range map[string]struct {
		make   func() Statement
		shared bool
	}{
		"a port":          {func() Statement { return dport(80, 80) }, true},
		"not a port":      {func() Statement { return NotIn(Of(FieldDport), One(Number(80))) }, true},
		"ports":           {func() Statement { return In(Of(FieldDport), One(Number(80)), Numbers(90, 99)) }, true},
		"a named set":     {func() Statement { named := named; in := *named.In; named.In = &in; return named }, false},
		"with a note":     {func() Statement { noted := noted; in := *noted.In; noted.In = &in; return noted }, false},
		"no elements yet": {func() Statement { return In(Of(FieldDport)) }, false},
	} {
		s := NewShared()
		s.Statements(
			[]Statement{
				dport(80, 81),
				In(Of(FieldDport), One(Number(80)), One(Number(91))),
				In(Of(FieldSport), One(Number(80))),
			},
		)
		a := s.Statements([]Statement{c.make(), accept})[0].(Match)
		b := s.Statements([]Statement{NoEffect{Text: "counter"}, c.make(), drop})[1].(Match)
		if (a.In == b.In) != c.shared {
			t.Errorf("%s: shared: %v", name, a.In == b.In)
		}
		if d := cmp.Diff(c.make(), Statement(b), cmp.AllowUnexported(Value{})); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}
