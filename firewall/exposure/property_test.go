package exposure

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// drawer draws small rulesets with few values: sixteen sources, two ports, marks up to three.
type drawer struct {
	*rapid.T
	unknowns bool // unknown statements may be drawn
	unknown  bool // an unknown was drawn
}

func oneIn[T any](d *drawer, list ...T) T {
	return list[rapid.IntRange(0, len(list)-1).Draw(d.T, "pick")]
}

func (d *drawer) n(from, to int) int { return rapid.IntRange(from, to).Draw(d.T, "n") }

var smallBase = Address(netip.MustParseAddr("10.0.0.0"))

func (d *drawer) sources() Range {
	from := d.n(0, 15)
	to := d.n(from, 15)
	return Range{smallBase.Or(Number(uint64(from))), smallBase.Or(Number(uint64(to)))}
}

func (d *drawer) set(column func() Range, width int) *Set {
	s := &Set{Width: width}
	for range d.n(0, 2) {
		for range width {
			s.Keys = append(s.Keys, column())
		}
	}
	if d.unknowns && d.n(0, 5) == 0 {
		d.unknown = true
		switch d.n(0, 2) {
		case 0:
			s.Grows = true
		case 1:
			s.Shrinks = true
		default:
			s.Notes = map[int]Note{0: {Condition: "limit"}}
		}
	}
	return s
}

func (d *drawer) number(max int) func() Range {
	return func() Range {
		from := d.n(0, max)
		return Numbers(uint64(from), uint64(d.n(from, max)))
	}
}

func (d *drawer) ports() Range {
	return oneIn(d, Numbers(80, 80), Numbers(81, 81), Numbers(80, 81), Numbers(0, 1023))
}

func (d *drawer) dests() Range {
	return oneIn(
		d,
		One(Address(netip.MustParseAddr("192.0.2.10"))),
		One(Address(netip.MustParseAddr("172.17.0.2"))),
		Prefix(netip.MustParsePrefix("172.17.0.0/24")),
	)
}

func (d *drawer) markOperand(f Field) Operand {
	o := Of(f)
	switch d.n(0, 5) {
	case 0:
		o = o.And(Number(uint64(d.n(0, 3))))
	case 1:
		o = o.Or(Number(uint64(d.n(0, 3))))
	case 2:
		o = o.XorWith(Number(uint64(d.n(0, 3))))
	case 3:
		o = o.ShiftBy(d.n(-1, 1))
	}
	return o
}

func (d *drawer) match() Statement {
	m := Match{Not: d.n(0, 3) == 0}
	one := func(o Operand, column func() Range) {
		m.Key, m.In = []Operand{o}, d.set(column, 1)
	}
	switch d.n(0, 11) {
	case 0, 1, 2:
		one(Of(FieldSource4), d.sources)
	case 3:
		one(
			Of(FieldSource4).And(Number(oneIn[uint64](d, 0xfffffff0, 0xfffffffe, 0xfffffffd))),
			d.sources,
		)
	case 4:
		one(Of(FieldDport), d.ports)
	case 5:
		one(Of(FieldDest4), d.dests)
	case 6:
		one(d.markOperand(FieldMark), d.number(3))
	case 7:
		one(d.markOperand(FieldCTMark), d.number(3))
	case 8:
		one(
			Of(FieldCTState).And(Number(oneIn[uint64](d, 1, 8, 64, 6, 9))),
			func() Range { return One(Value{}) },
		)
	case 9:
		if d.n(0, 1) == 0 {
			one(
				Of(FieldCTStatus).And(Number(ctDNAT)),
				func() Range { return oneIn(d, One(Value{}), One(Number(ctDNAT))) },
			)
		} else {
			one(Of(FieldCTOrigDport), d.ports)
		}
	case 10:
		m.Key = []Operand{Of(FieldSource4), Of(FieldDport)}
		m.In = d.set(func() Range { return Range{} }, 2)
		for i := range m.In.Keys {
			if i%2 == 0 {
				m.In.Keys[i] = d.sources()
			} else {
				m.In.Keys[i] = d.ports()
			}
		}
	default:
		if !d.unknowns {
			one(
				Operand{Field: FieldFib, Fib: Fib{Of: FibDest}},
				func() Range { return One(Number(2)) },
			)
			break
		}
		d.unknown = true
		switch d.n(0, 4) {
		case 4:
			one(
				Operand{Field: FieldRaw, Raw: Raw{Base: RawNetwork, Offset: 64, Bits: 8}},
				func() Range { return oneIn(d, Numbers(0, 1), Numbers(2, 255), Numbers(64, 64)) },
			)
		case 0:
			one(
				Of(FieldSport),
				func() Range {
					return oneIn(d, Numbers(0, 1023), Numbers(1024, 65535), Numbers(50000, 65535))
				},
			)
		case 1:
			one(
				Of(FieldTCPFlags),
				func() Range { return oneIn(d, One(Number(2)), Numbers(64, 255)) },
			)
		case 2:
			one(Operand{Field: FieldUnknown, Text: "numgen", Max: Number(1)}, d.number(1))
		default:
			return Unknown{Text: "limit"}
		}
	}
	return m
}

func (d *drawer) verdict(chains []string) Verdict {
	if len(chains) > 0 && d.n(0, 2) == 0 {
		return Verdict{Kind: oneIn(d, VerdictJump, VerdictGoto), Chain: oneIn(d, chains...)}
	}
	return Verdict{Kind: oneIn(d, VerdictAccept, VerdictDrop, VerdictReturn, VerdictContinue)}
}

func (d *drawer) action(nat bool, chains []string) Statement {
	if nat && d.n(0, 1) == 0 {
		addr, port := Const(
			Address(netip.MustParseAddr("172.17.0.2")),
		), Const(
			Number(uint64(80+d.n(0, 1))),
		)
		s := NAT{Family: FamilyIPv4, Port: &port}
		switch d.n(0, 3) {
		case 0:
			s.Addr = &addr
		case 1:
			set := &Set{
				Width:     1,
				Keys:      []Range{d.sources()},
				Data:      []Value{Address(netip.MustParseAddr("172.17.0.3"))},
				DataWidth: 1,
			}
			s.Addr = &Operand{
				Field:  FieldMap,
				Lookup: &Lookup{Key: []Operand{Of(FieldSource4)}, In: set},
			}
		case 2:
			if d.unknowns {
				d.unknown = true
				last := Const(Number(82))
				s.PortMax = &last
			}
		}
		return s
	}
	switch d.n(0, 9) {
	case 0:
		return Assign{
			To:    FieldMark,
			Value: []Operand{d.markOperand(FieldMark), d.markOperand(FieldCTMark)}[:d.n(1, 2)],
		}
	case 1:
		return Assign{To: FieldMark, Value: []Operand{Const(Number(uint64(d.n(0, 3))))}}
	case 2:
		return Assign{To: FieldCTMark, Value: []Operand{oneIn(d, Of(FieldMark), Const(Number(1)))}}
	case 3:
		return NoTrack{}
	case 4:
		m := VerdictMap{
			Key: []Operand{Of(FieldSource4)},
			In: &Set{
				Width:    1,
				Keys:     []Range{d.sources()},
				Verdicts: []Verdict{d.verdict(chains), d.verdict(chains)},
				Default:  d.n(0, 1) == 0,
			},
		}
		if d.unknowns && d.n(0, 2) == 0 {
			d.unknown = true
			m.Key, m.In.Keys[0] = []Operand{
				{Field: FieldUnknown, Text: "numgen", Max: Number(1)},
			}, d.number(
				1,
			)()
		}
		return m
	case 5:
		if d.unknowns && d.n(0, 3) == 0 {
			d.unknown = true
			return Unknown{Text: "odd", Effect: true}
		}
	}
	return d.verdict(chains)
}

func (d *drawer) rules(c *Chain, nat bool, chains []string) {
	if d.n(0, 3) == 0 { // neighbours that make a run
		var with []Statement
		if d.n(0, 1) == 0 {
			with = []Statement{
				oneIn(
					d,
					Statement(dport(80, 80)),
					Statement(markIs(1)),
					Statement(AnyBit(FieldCTState, ctNew)),
				),
			}
		}
		for range d.n(3, 6) {
			c.does(
				append(
					with[:len(with):len(with)],
					Match{
						Key: []Operand{Of(FieldSource4)},
						In:  SetOf(d.sources()),
						Not: d.n(0, 3) == 0,
					},
					Verdict{
						Kind: oneIn(d, VerdictAccept, VerdictDrop, VerdictReject, VerdictReturn),
					},
				)...)
		}
	}
	for range d.n(0, 4) {
		var s []Statement
		for range d.n(0, 2) {
			s = append(s, d.match())
		}
		for range d.n(1, 2) {
			s = append(s, d.action(nat, chains))
		}
		c.does(s...)
	}
}

func (d *drawer) ruleset() *Ruleset {
	b := build()
	// A rule that enables connection tracking.
	b.rs.AddTable(&Table{Family: FamilyIPv4, Name: "ct"}).
		AddChain(&Chain{Name: "unused"}).
		does(AnyBit(FieldCTState, ctNew))
	for n := range d.n(1, 2) {
		t := b.rs.AddTable(
			&Table{Family: oneIn(d, FamilyIPv4, FamilyInet), Name: fmt.Sprint("t", n)},
		)
		var users []string
		for i := range d.n(0, 2) {
			c := t.AddChain(&Chain{Name: fmt.Sprint("u", i)})
			d.rules(c, false, users)
			users = append(users, c.Name)
		}
		for i := range d.n(1, 3) {
			base := &Base{
				Hook:   oneIn(d, HookPrerouting, HookPrerouting, HookInput, HookForward),
				Policy: oneIn(d, VerdictAccept, VerdictAccept, VerdictDrop),
				Priority: int32(
					oneIn(d, -300, -150, 0, 10),
				),
				Rank:      d.n(0, 9) + 10*(10*n+i),
				RankKnown: true,
			}
			if base.Hook == HookPrerouting && d.n(0, 1) == 0 {
				base.Type, base.Priority = TypeNAT, int32(oneIn(d, -100, -90))
			}
			d.rules(
				t.AddChain(&Chain{Name: fmt.Sprint("b", i), Base: base}),
				base.Type == TypeNAT,
				users,
			)
		}
	}
	return b.rs
}

func checkAgainstBrute(t *rapid.T, unknowns bool) {
	d := &drawer{T: t, unknowns: unknowns}
	rs := d.ruleset()
	q := tcp80
	q.Sources = NewRanges(Range{smallBase, smallBase.Or(Number(15))})
	var host *Host
	if unknowns && d.n(0, 2) == 0 {
		d.unknown = true // whether a translated packet is for the host
	} else {
		host = smallHost(d.n(0, 2) > 0)
	}
	e := NewEvaluator(rs, host)
	a, err := e.Evaluate(q)
	if err != nil {
		t.Fatal(err)
	}
	again, _ := NewEvaluator(rs, host).Evaluate(q)
	if !reflect.DeepEqual(a, again) {
		t.Fatalf("two answers to one question: %+v and %+v", a, again)
	}
	certain, possible := a.Through()
	if !d.unknown && !certain.Equal(possible) {
		t.Fatalf(
			"nothing is unknown, but certain is %v and possible %v: %+v",
			certain.List(),
			possible.List(),
			a.Pieces,
		)
	}
	w := e.newWalk(q)
	w.run()
	checkCovered(t, w, a)
	for i := range uint64(16) {
		source := smallBase.Or(Number(i))
		n, _ := source.Uint64()
		ends, ok := (&brute{rs: rs, host: host, q: q}).ends(n)
		if !ok {
			return
		}
		passes := slices.ContainsFunc(ends, func(e bruteEnd) bool { return e.outcome.Passes() })
		stops := slices.ContainsFunc(ends, func(e bruteEnd) bool {
			return !e.outcome.Passes() && !e.unusual
		})
		if passes && !possible.Contains(source) || stops && certain.Contains(source) {
			t.Fatalf(
				"source %d: really passes %v, stops %v; certain %v, possible %v",
				i,
				passes,
				stops,
				certain.Contains(source),
				possible.Contains(source),
			)
		}
		for _, end := range ends {
			if end.unusual && !end.outcome.Passes() {
				continue // changes neither bound
			}
			if !slices.ContainsFunc(
				a.Pieces,
				func(p Piece) bool { return p.Sources.Contains(source) && covers(p, end) },
			) {
				t.Fatalf("source %d: %+v is in no piece of %+v", i, end, a.Pieces)
			}
		}
		if x, err := e.Explain(q, source.IPv4()); err != nil ||
			x.Verdict != verdictOf(certain.Contains(source), possible.Contains(source)) {
			t.Fatalf("source %d: explained as %s, %v", i, x.Verdict, err)
		}
	}
}

// checkCovered fails if sources are missing in an answer's pieces that the walk's endings have.
func checkCovered(t *rapid.T, w *walk, a Answer) {
	var all Ranges
	for _, p := range a.Pieces {
		all = all.Union(p.Sources)
	}
	if left := w.q.Universe().Minus(all); !left.Empty() {
		t.Fatalf("%v are in no piece of %+v", left.List(), a.Pieces)
	}
	for _, end := range w.ended {
		var credited, ways Ranges
		for _, c := range end.credits {
			credited = credited.Union(c.sources)
		}
		if left := end.sources.Minus(credited); len(end.credits) > 0 && !left.Empty() {
			t.Fatalf("nobody let %v through: %+v", left.List(), end)
		}
		for _, p := range a.Pieces {
			if p.Outcome == end.outcome {
				ways = ways.Union(p.Sources)
			}
		}
		if left := end.sources.Minus(ways); !left.Empty() {
			t.Fatalf("%v of %+v are in no piece of %+v", left.List(), end, a.Pieces)
		}
		if !end.outcome.Passes() {
			continue
		}
		replied := w.replies(end.flow, end.outcome)
		var answered Ranges
		for _, r := range replied {
			answered = answered.Union(r.sources)
		}
		if left := end.sources.Minus(answered); replied != nil && !left.Empty() {
			t.Fatalf("nothing is said of answers to %v: %+v", left.List(), replied)
		}
	}
}

func covers(p Piece, end bruteEnd) bool {
	if p.Outcome.Passes() != end.outcome.Passes() {
		return false
	}
	if !end.outcome.Passes() || p.Target == (netip.AddrPort{}) {
		return true
	}
	return p.Outcome == end.outcome &&
		(!p.Target.Addr().IsValid() || Address(p.Target.Addr()) == Number(end.dest)) &&
		uint64(p.Target.Port()) == end.dport
}

func verdictOf(certain, possible bool) string {
	switch {
	case certain:
		return "allow"
	case possible:
		return "unknown"
	}
	return "deny"
}

func TestAgreesWithAPlainInterpreter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { checkAgainstBrute(t, false) })
}

func TestBoundsHoldForEveryUnknown(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { checkAgainstBrute(t, true) })
}
