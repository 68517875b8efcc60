package exposure

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// hostile are rulesets that take an evaluator to its limits. A file may contain what a kernel
// wouldn't load.
func hostile() map[string]func(b builder) {
	input := Base{Hook: HookInput, Policy: VerdictDrop}
	return map[string]func(b builder){
		"a jump to itself": func(b builder) {
			in := b.base(FamilyIPv4, "f", "in", input)
			in.does(jump("x"))
			in.user("x").does(jump("x")).does(jump("x")).does(jump("x"))
		},
		"a base chain that jumps to itself": func(b builder) { b.base(FamilyIPv4, "f", "in", input).does(jump("in")) },
		"a jump to nowhere":                 func(b builder) { b.base(FamilyIPv4, "f", "in", input).does(goTo("nowhere")) },
		"chains that double 60 times": func(b builder) {
			in := b.base(FamilyIPv4, "f", "in", input)
			in.does(jump("c0")).does(accept)
			for i := range 60 {
				next := fmt.Sprint("c", i+1)
				in.user(fmt.Sprint("c", i)).does(markSet(uint64(i)), jump(next)).does(jump(next))
			}
			in.user("c60").does(limit)
		},
		"a very deep one": func(b builder) {
			in := b.base(FamilyIPv4, "f", "in", input)
			in.does(jump("c0"))
			for i := range 1000 {
				in.user(fmt.Sprint("c", i)).does(jump(fmt.Sprint("c", i+1)))
			}
			in.user("c1000").does(accept)
		},
		"thousands of limits that set marks": func(b builder) {
			in := b.base(FamilyIPv4, "f", "in", input)
			for i := range 5000 {
				in.does(
					limit,
					Assign{
						To:    FieldMark,
						Value: []Operand{Of(FieldMark).XorWith(Number(1 << (i % 32)))},
					},
				)
			}
			in.does(markIs(7), accept)
		},
		"a mark of each address": func(b builder) {
			in := b.base(FamilyIPv4, "f", "in", input)
			set := &Set{Width: 1, DataWidth: 1}
			for i := range uint64(20000) {
				set.Keys, set.Data = append(set.Keys, One(Number(i*2))), append(set.Data, Number(i))
			}
			in.does(Assign{To: FieldMark, Value: []Operand{{Field: FieldMap, Lookup: &Lookup{Key: []Operand{Of(FieldSource4)}, In: set}}}}).
				does(markIs(7), accept)
		},
		"a verdict map of ten thousand chains": func(b builder) {
			in := b.base(FamilyIPv4, "f", "in", input)
			set := &Set{Width: 1}
			for i := range 10000 {
				name := fmt.Sprint("c", i)
				in.user(name).does(limit, accept)
				set.Keys, set.Verdicts = append(
					set.Keys,
					Numbers(uint64(i)*10, uint64(i)*10+3),
				), append(
					set.Verdicts,
					jump(name),
				)
			}
			in.does(VerdictMap{Key: []Operand{Of(FieldSource4)}, In: set})
		},
		"a verdict map of anything": func(b builder) {
			in := b.base(FamilyIPv4, "f", "in", input)
			set := &Set{Width: 1}
			for i := range 3000 {
				set.Keys, set.Verdicts = append(
					set.Keys,
					One(Number(uint64(i))),
				), append(
					set.Verdicts,
					goTo("x"),
				)
			}
			in.user("x").does(accept)
			in.does(VerdictMap{Key: []Operand{{Field: FieldUnknown}}, In: set})
		},
		"boxes and boxes": func(b builder) {
			in := b.base(FamilyIPv4, "f", "in", input)
			set := &Set{Width: 3}
			for i := range 30000 {
				set.Keys = append(
					set.Keys,
					Numbers(uint64(i)*5, uint64(i)*5+2),
					Numbers(0, 65535),
					Full(32),
				)
			}
			for range 200 {
				in.does(
					Match{Key: []Operand{Of(FieldSource4), Of(FieldDport), Of(FieldMark)}, In: set},
					limit,
					accept,
				)
			}
		},
		"sets that don't fit": func(b builder) {
			in := b.base(FamilyIPv4, "f", "in", input)
			in.does(
				Match{
					Key: []Operand{Of(FieldSource4)},
					In:  &Set{Width: 2, Keys: []Range{Full(32)}},
				},
				accept,
			)
			in.does(
				Match{
					Key: []Operand{Of(FieldSource4), Of(FieldDport)},
					In:  &Set{Width: 1, Keys: []Range{Full(32)}},
				},
				accept,
			)
			in.does(Match{Key: []Operand{Of(FieldSource4)}, In: &Set{}}, accept).
				does(Match{}, accept)
			in.does(
				VerdictMap{
					Key: []Operand{Of(FieldSource4)},
					In:  &Set{Width: 1, Keys: []Range{Full(32)}, Verdicts: []Verdict{}},
				},
			)
			in.does(
				VerdictMap{
					Key: []Operand{Of(FieldSource4)},
					In: &Set{
						Width:    1,
						Keys:     []Range{Full(32)},
						Default:  true,
						Verdicts: []Verdict{accept},
					},
				},
			)
			in.does(
				Assign{
					To: FieldMark,
					Value: []Operand{
						{
							Field: FieldMap,
							Lookup: &Lookup{
								Key:    []Operand{Of(FieldDport)},
								In:     &Set{Width: 1, Keys: []Range{Full(16)}, DataWidth: 2},
								Column: 7,
							},
						},
					},
				},
			)
			in.does(Assign{To: 250}).
				does(Match{Key: []Operand{{Field: 251}}, In: SetOf(Full(8))}, accept).
				does(NAT{}, NAT{Kind: 9}).
				does(Verdict{Kind: 77}).
				does(nil)
			in.does(SetUpdate{}, TProxy{})
		},
		"a look-up in itself": func(b builder) {
			in := b.base(FamilyIPv4, "f", "in", input)
			l := &Lookup{
				In: &Set{Width: 1, Keys: []Range{Full(32)}, Data: []Value{Number(1)}, DataWidth: 1},
			}
			l.Key = []Operand{{Field: FieldMap, Lookup: l}}
			in.does(Assign{To: FieldMark, Value: []Operand{{Field: FieldMap, Lookup: l}}}).
				does(markIs(1), accept)
		},
		"orders, marks and source ports": func(b builder) {
			at := []Base{
				{Hook: HookPrerouting, Priority: -300, Policy: VerdictAccept},
				{Hook: HookPrerouting, Priority: -150, Policy: VerdictAccept},
				{Hook: HookInput, Priority: -10, Policy: VerdictAccept},
				{Hook: HookInput, Policy: VerdictAccept},
			}
			for i := range 12 {
				c := b.base(FamilyIPv4, fmt.Sprint("t", i), "c", at[i/3])
				for n := range 2 {
					c.does(
						In(Of(FieldSport), One(Number(uint64(1000+3*i+n)))),
						from(fmt.Sprintf("%d.0.0.0/8", 20+2*i+n)),
						Assign{
							To:    FieldMark,
							Value: []Operand{Of(FieldMark).XorWith(Number(1 << ((i + n) % 5)))},
						},
					)
				}
				c.does(markIs(3), from(fmt.Sprintf("%d.0.0.0/8", 60+i/3)), drop)
			}
		},
		"many rules that accept, in every order": func(b builder) {
			for i := range 12 {
				c := b.base(
					FamilyIPv4,
					fmt.Sprint("t", i),
					"c",
					Base{Hook: HookInput, Priority: int32(i / 4), Policy: VerdictAccept},
				)
				for n := range 300 {
					c.does(
						limit,
						from(fmt.Sprintf("%d.%d.0.0/16", 20+i, n%256)),
						markSet(uint64(n)),
						accept,
					)
				}
			}
		},
		"a verdict map under thousands of operands": func(b builder) {
			in := b.base(FamilyIPv4, "f", "in", input)
			in.user("x").does(limit, accept)
			set := &Set{Width: 1, Name: "m"}
			for i := range uint64(20000) {
				set.Keys = append(set.Keys, One(Number(i*2)))
				set.Verdicts = append(set.Verdicts, []Verdict{drop, jump("x")}[i%2])
			}
			for n := range uint64(3000) {
				key := []Operand{Of(FieldSource4).XorWith(Number(n << 16))}
				in.does(VerdictMap{Key: key, In: set})
			}
		},
		"a list under thousands of operands": func(b builder) {
			in := b.base(FamilyIPv4, "f", "in", input)
			set := &Set{Width: 1, Name: "s"}
			for i := range uint64(20000) {
				set.Keys = append(set.Keys, One(Number(i*2)))
			}
			for n := range uint64(3000) {
				key := []Operand{Of(FieldSource4).XorWith(Number(n << 16))}
				in.does(Match{Key: key, In: set}, markSet(n)).
					does(from("10.0.0.0/8"), Match{Key: key, In: set}, drop)
			}
			in.does(markIs(7), accept)
		},
		"masks with holes": func(b builder) {
			in := b.base(FamilyIPv4, "f", "in", input)
			set := &Set{Width: 1, Name: "m"}
			list := &Set{Width: 1, Name: "s"}
			for i := range uint64(2000) {
				list.Keys = append(list.Keys, One(Number(i<<12)))
				set.Keys = append(set.Keys, One(Number(i<<12)))
				set.Verdicts = append(set.Verdicts, []Verdict{drop, accept}[i%2])
			}
			for n := range uint64(500) {
				key := []Operand{Of(FieldSource4).And(Number(0xfffff000 | n)).XorWith(Number(n))}
				in.does(VerdictMap{Key: key, In: set}).
					does(Match{Key: key, In: list}, markSet(n))
			}
		},
		"a long list in many rules": func(b builder) {
			in := b.base(FamilyIPv4, "f", "in", input)
			set := &Set{Width: 1, Name: "s"}
			for i := range uint64(50000) {
				set.Keys = append(set.Keys, One(Number(i*2)))
			}
			for n := range 1000 {
				in.does(
					Match{Key: []Operand{Of(FieldSource4)}, In: set, Not: n%2 == 0},
					from(fmt.Sprintf("10.%d.0.0/16", n%256)),
					drop,
				)
				in.does(Match{Key: []Operand{Of(FieldSource4)}, In: set}, accept)
				in.does(Match{Key: []Operand{Of(FieldSource4)}, In: set, Not: true}, accept)
			}
		},
		"a long map": func(b builder) {
			in := b.base(FamilyIPv4, "f", "in", input)
			set := &Set{Width: 1, DataWidth: 1}
			for i := range uint64(200000) {
				set.Keys, set.Data = append(set.Keys, One(Number(i*2))), append(set.Data, Number(i))
			}
			for range 3 {
				in.does(Assign{To: FieldMark, Value: []Operand{{Field: FieldMap, Lookup: &Lookup{Key: []Operand{Of(FieldSource4)}, In: set}}}}).
					does(markIs(7), accept)
			}
		},
		"long lists after limits": func(b builder) {
			in := b.base(FamilyIPv4, "f", "in", input)
			for n := range 40 {
				set := &Set{Width: 1}
				for i := range uint64(20000) {
					set.Keys = append(set.Keys, One(Number(i*64+uint64(n))))
				}
				in.does(limit, Match{Key: []Operand{Of(FieldSource4)}, In: set}, markSet(uint64(n)))
				in.does(limit, Match{Key: []Operand{Of(FieldSource4)}, In: set}, accept)
			}
		},
		"answers that are limited one network at a time": func(b builder) {
			out := b.base(FamilyIPv4, "f", "out", Base{Hook: HookOutput, Policy: VerdictAccept})
			post := b.base(
				FamilyIPv4,
				"f",
				"post",
				Base{Hook: HookPostrouting, Policy: VerdictAccept},
			)
			for i := range 3000 {
				out.does(to(fmt.Sprintf("10.%d.%d.0/24", i/250, i%250)), limit, drop)
				post.does(to(fmt.Sprintf("11.%d.%d.0/24", i/250, i%250)), limit, markSet(uint64(i)))
			}
			post.does(markIs(7), drop)
		},
		"many ways in, times many ways out": func(b builder) {
			in := b.base(FamilyIPv4, "f", "in", input)
			for range 300 {
				in.does(limit, accept)
			}
			out := b.base(FamilyIPv4, "f", "out", Base{Hook: HookOutput, Policy: VerdictAccept})
			for range 5000 {
				out.does(limit, drop)
			}
		},
		"answers by every client port": func(b builder) {
			out := b.base(
				FamilyIPv4,
				"f",
				"out",
				Base{
					Type:     TypeRoute,
					Hook:     HookOutput,
					Priority: PriorityNATDestination,
					Policy:   VerdictDrop,
				},
			)
			for i := range uint64(2000) {
				out.does(dport(i*32, i*32+7), limit, markSet(i), accept)
			}
			b.base(FamilyIPv4, "n", "post", Base{Hook: HookPostrouting, Priority: PriorityNATSource, Policy: VerdictAccept}).
				does(AnyBit(FieldCTState, ctEstablished), limit, drop)
		},
		"jumps of answers that double 60 times": func(b builder) {
			out := b.base(FamilyIPv4, "f", "out", Base{Hook: HookOutput, Policy: VerdictDrop})
			out.does(jump("o0")).does(accept)
			post := b.base(
				FamilyIPv4,
				"f",
				"post",
				Base{Hook: HookPostrouting, Policy: VerdictAccept},
			)
			post.does(jump("o0")).does(drop)
			for i := range 60 {
				next := fmt.Sprint("o", i+1)
				out.user(fmt.Sprint("o", i)).
					does(limit, markSet(uint64(i)), jump(next)).
					does(to("10.0.0.0/8"), jump(next))
			}
			out.user("o60").does(limit, NoTrack{})
		},
		"many chains of one priority at output": func(b builder) {
			for i := range 50 {
				b.base(FamilyIPv4, fmt.Sprint("t", i), "out", Base{Type: TypeRoute, Hook: HookOutput, Priority: PriorityNATDestination, Policy: VerdictAccept}).
					does(limit, markSet(uint64(i))).
					does(markIs(3), AnyBit(FieldCTState, ctNew), drop)
				b.base(FamilyIPv4, fmt.Sprint("t", i), "post", Base{Hook: HookPostrouting, Priority: PriorityNATSource, Policy: VerdictAccept}).
					does(limit, markSet(uint64(i))).
					does(markIs(3), drop)
			}
		},
		"many chains of one priority": func(b builder) {
			for i := range 50 {
				b.base(FamilyIPv4, fmt.Sprint("t", i), "in", Base{Hook: HookInput, Policy: VerdictAccept}).
					does(limit, markSet(uint64(i))).
					does(markIs(3), drop)
			}
		},
	}
}

// Each must be answered soon, and everything undecided must be possible.
func TestHostileRulesetsEnd(t *testing.T) {
	for name, make := range hostile() {
		t.Run(name, func(t *testing.T) {
			b := build()
			make(b)
			b.rs.MarkDynamic()
			begin := time.Now()
			for _, host := range []*Host{nil, smallHost(true)} {
				e := NewEvaluator(b.rs, host)
				a, err := e.Evaluate(tcp80)
				if err != nil {
					t.Fatal(err)
				}
				a.Through()
				if _, err := e.Explain(tcp80, netip.MustParseAddr("10.0.0.1")); err != nil {
					t.Fatal(err)
				}
			}
			t.Logf("took %v", time.Since(begin)) // go test ends one that doesn't end
		})
	}
}
