package exposure

import (
	"fmt"
	"net/netip"
	"testing"
)

// foreign is a ruleset as programs write it: n rules of iptables for ports and sources, and a
// number of bans.
func foreign(n, bans int) *Ruleset {
	b := build()
	in := b.base(FamilyIPv4, "filter", "INPUT", Base{Hook: HookInput, Policy: VerdictDrop})
	in.does(AnyBit(FieldCTState, 2|4), accept).
		does(In(Of(FieldInName), One(Name("lo"))), accept).
		does(jump("f2b-sshd"))
	ban := in.user("f2b-sshd")
	for i := range bans {
		ban.does(
			from(fmt.Sprintf("100.%d.%d.%d/32", i>>16, i>>8&255, i&255)),
			NoEffect{Text: "counter"},
			drop,
		)
	}
	for i := range bans { // the same with a protocol
		in.does(
			from(fmt.Sprintf("101.%d.%d.%d/32", i>>16, i>>8&255, i&255)),
			In(Of(FieldProtocol), One(Number(6))),
			drop,
		)
	}
	for i := range n {
		in.does(
			from(fmt.Sprintf("10.%d.%d.0/24", i>>8&255, i&255)),
			In(Of(FieldProtocol), One(Number(6))),
			dport(uint64(1+i%1000), uint64(1+i%1000)),
			NoEffect{Text: "counter"},
			accept,
		)
	}
	return b.rs
}

// guarded is a ruleset for answers: bans of destinations, and n rules for source ports of answers.
func guarded(n, bans int) *Ruleset {
	b := build()
	out := b.base(FamilyIPv4, "filter", "OUTPUT", Base{Hook: HookOutput, Policy: VerdictDrop})
	for i := range bans {
		out.does(
			to(fmt.Sprintf("101.%d.%d.%d/32", i>>16, i>>8&255, i&255)),
			In(Of(FieldProtocol), One(Number(6))),
			drop,
		)
	}
	for i := range n {
		out.does(
			to(fmt.Sprintf("10.%d.%d.0/24", i>>8&255, i&255)),
			In(Of(FieldProtocol), One(Number(6))),
			In(Of(FieldSport), One(Number(uint64(1+i%1000)))),
			accept,
		)
	}
	out.does(AnyBit(FieldCTState, 2|4), accept)
	return b.rs
}

func BenchmarkThousandQuestions(b *testing.B) {
	for name, rs := range map[string]*Ruleset{"10000 rules by port": foreign(10000, 0), "twice 500 bans and 9000 rules": foreign(9000, 500), "twice 4500 bans and 1000 rules": foreign(1000, 4500),
		"answers: 10000 rules by port": guarded(10000, 0), "answers: 4500 bans and 5000 rules": guarded(5000, 4500)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				e := NewEvaluator(rs, nil)
				pieces := 0
				for i := range 1000 {
					q := tcp80
					q.Port, q.Destination = uint16(
						1+i,
					), netip.AddrFrom4(
						[4]byte{192, 0, 2, byte(i % 7)},
					)
					a, err := e.Evaluate(q)
					if err != nil {
						b.Fatal(err)
					}
					pieces += len(a.Pieces)
					a.Through()
				}
				b.ReportMetric(float64(pieces)/1000, "pieces/question")
			}
		})
	}
}
