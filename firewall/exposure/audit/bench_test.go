package audit

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/xtables"
)

// BenchmarkAudit audits 1 000 sockets behind 10 000 foreign rules: alone, with rules about loopback
// addresses, and with 500 addresses, one of them named by a rule.
func BenchmarkAudit(b *testing.B) {
	var many []string
	for i := range 500 {
		many = append(many, fmt.Sprintf("203.0.%d.%d/24", i/250, 1+i%250))
	}
	var open []string
	for i := range 1000 {
		open = append(open, fmt.Sprintf("web 0.0.0.0:%d", 1+i))
	}
	for _, c := range []struct{ name, first, more string }{
		{"plain", "", ""},
		{"loopback", "-A INPUT -d 127.0.0.0/8 ! -i lo -j REJECT\n", ""},
		{"addresses", "-A INPUT -d 203.0.1.7/32 -j ACCEPT\n", strings.Join(many, " ")},
	} {
		b.Run(c.name, func(b *testing.B) {
			var save strings.Builder
			save.WriteString("*filter\n:INPUT DROP [0:0]\n-A INPUT -i lo -j ACCEPT\n" + c.first)
			for i := range 10_000 {
				fmt.Fprintf(&save, "-A INPUT -s 10.%d.%d.0/24 -p tcp -m tcp --dport %d -j ACCEPT\n",
					i>>8, i&255, 1+i%1000)
			}
			save.WriteString("COMMIT\n")
			rs := &exposure.Ruleset{}
			if err := xtables.ReadSave("rules", exposure.FamilyIPv4, strings.NewReader(save.String()),
				xtables.NewSets(), rs); err != nil {
				b.Fatal(err)
			}
			in := Input{
				Rules: rs, Host: withAddresses(strings.Fields(c.more)...), Sockets: listening(open...), Now: time.Now(),
			}
			for b.Loop() {
				if _, err := Run(context.Background(), in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
