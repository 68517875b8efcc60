package nftables

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall/backendtest"
	"github.com/portgrave/portgrave/firewall/exposure"
)

func BenchmarkRead(b *testing.B) {
	elements := func(n int) string {
		var s strings.Builder
		for i := range n {
			fmt.Fprintf(&s, "10.%d.%d.%d/31,", i>>14&255, i>>6&255, i<<2&255)
		}
		return s.String()
	}
	hosts := func(n int) string {
		var s strings.Builder
		for i := range n {
			fmt.Fprintf(&s, "10.%d.%d.%d,", i>>16&255, i>>8&255, i&255)
		}
		return s.String()
	}
	rules := func(n int, rule string) string {
		var s strings.Builder
		s.WriteString("table inet a {\nchain c { type filter hook input priority 0;\n")
		for i := range n {
			fmt.Fprintf(&s, rule+"\n", i>>8&255, i&255, 1+i%60000)
		}
		return s.String() + "}\n}\n"
	}
	for _, c := range []struct{ name, script string }{
		{"10000 rules", rules(10000, "ip saddr 10.0.%d.%d tcp dport %d accept")},
		// An anonymous set a rule. The kernel finds a set by walking the table's list of them,
		// three times a dump: the time grows with the square of their number, here and in nft
		// alike.
		{"1000 rules with sets", rules(1000, "ip saddr 10.0.%d.%d tcp dport { %d, 22 } accept")},
		{"100000 intervals", "table ip a {\nset s { type ipv4_addr; flags interval; elements = { " + elements(100000) + " } }\n}\n"},
		{"100000 hosts", "table ip a {\nset s { type ipv4_addr; elements = { " + hosts(100000) + " } }\n}\n"},
	} {
		b.Run(c.name, func(b *testing.B) {
			backendtest.Isolate(b)
			nft(b, c.script)
			conn := dial(b)
			d, err := Take(context.Background(), conn)
			if err != nil {
				b.Fatal(err)
			}
			b.ResetTimer()
			b.ReportAllocs()
			for range b.N {
				if err := Read(context.Background(), conn, &exposure.Ruleset{}, Options{}); err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			b.ReportMetric(float64(len(d.Rules)), "rules")
		})
		b.Run(c.name+", decoding", func(b *testing.B) {
			backendtest.Isolate(b)
			nft(b, c.script)
			d, err := Take(context.Background(), dial(b))
			if err != nil {
				b.Fatal(err)
			}
			b.ResetTimer()
			b.ReportAllocs()
			for range b.N {
				if _, err := Decode(d, Options{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
