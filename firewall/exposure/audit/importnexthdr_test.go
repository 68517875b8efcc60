package audit

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/nfttext"
)

// Ordinary clients send no IPv6 extension headers, so rules that look at the next header let in
// whom they let in without any, and the import says so.
func TestImportTakesPacketsWithoutExtensionHeaders(t *testing.T) {
	everyone := address.Must("::/0")
	office := address.Must("2001:db8:7::/48")
	for _, tt := range []struct {
		rules string
		want  address.Set // who reaches tcp/5000
		note  bool
	}{
		{"ip6 nexthdr tcp tcp dport 5000 accept", everyone, true},
		{"ip6 nexthdr { tcp, udp } th dport 5000 ip6 saddr 2001:db8:7::/48 accept", office, true},
		{"ip6 nexthdr != tcp drop; tcp dport 5000 accept", everyone, true},
		{"ip6 nexthdr udp accept", address.Set{}, true},
		{"ip6 nexthdr 0 accept", address.Set{}, true},
		{"ip6 nexthdr & 0xfe == 6 tcp dport 5000 accept", everyone, true},
		{"meta l4proto tcp th dport 5000 accept", everyone, false},
	} {
		rs := &exposure.Ruleset{}
		text := "table ip6 f {\n chain c {\n  type filter hook input priority 0; policy drop;\n  " +
			strings.ReplaceAll(tt.rules, "; ", "\n  ") + "\n }\n}\n"
		if err := nfttext.Read("f", strings.NewReader(text), rs); err != nil {
			t.Fatal(err)
		}
		in := Input{Rules: rs, Host: world(), Sockets: listening("web [::]:5000"), Now: time.Now()}
		out, err := Import(context.Background(), in, ImportOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var got address.Set
		for _, s := range out.Services {
			if s.Ports[0].Contains(firewall.TCP, 5000) {
				got = s.Sources.Minus(address.Must("0.0.0.0/0"))
				if len(s.Unknown) > 0 {
					t.Errorf("%s: unknown %q", tt.rules, s.Unknown)
				}
			}
		}
		if !got.Equal(tt.want) {
			t.Errorf("%s: %v, want %v", tt.rules, got.Strings(), tt.want.Strings())
		}
		notes := strings.Join(out.Notes, "\n")
		if strings.Contains(notes, "without extension headers") != tt.note ||
			tt.note && !strings.Contains(notes, "nexthdr") {
			t.Errorf("%s: notes %q", tt.rules, out.Notes)
		}
	}
}
