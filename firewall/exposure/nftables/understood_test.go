package nftables

import (
	"os"
	"testing"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/backendtest"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// Rules that look at the next header, or at protocol and port together, decide.
func TestUnderstood(t *testing.T) {
	const testdata = "../rulesetfile/testdata/"
	for _, c := range []struct {
		file, rules       string
		family            address.Family
		port              uint16
		certain, possible bool
	}{
		{testdata + "nexthdr.nft", "", address.IPv4, 22, false, false},
		{testdata + "nexthdr.nft", "", address.IPv6, 22, false, false},
		{testdata + "proto-port-intervals.nft", "", address.IPv4, 8080, true, true},
		{testdata + "proto-port-intervals.nft", "", address.IPv6, 8080, true, true},
		{testdata + "proto-port-intervals.nft", "", address.IPv6, 8081, false, false},
		{"", "ip6 nexthdr { udp, esp, icmpv6 } accept", address.IPv6, 22, false, false},
		{"", "ip6 nexthdr != { udp, esp, icmpv6 } accept", address.IPv6, 22, true, true},
		{"", "ip6 nexthdr tcp accept", address.IPv6, 22, true, true},
		{"", "ip6 nexthdr tcp ip6 saddr 2001:db8::/32 tcp dport 22 accept", address.IPv6, 22, true, true},
		{"", "exthdr frag exists drop; accept", address.IPv6, 22, true, true},
		{"", "exthdr hbh exists accept", address.IPv6, 22, false, true},
		{"", "exthdr frag missing tcp dport 22 accept", address.IPv6, 22, true, true},
		{"", "ip option rr exists drop; accept", address.IPv4, 22, true, true},
		{"", "meta length 40-1500 accept", address.IPv6, 22, true, true},
		{"", "ip length 40-1500 accept", address.IPv4, 22, true, true},
		{"", "ip ttl > 1 accept", address.IPv4, 22, true, true},
		{"", "ip ttl 255 accept", address.IPv4, 22, false, true},
		{"", "ip6 hoplimit < 2 drop; accept", address.IPv6, 22, true, true},
		{"", "tcp sport 1-1023 drop; accept", address.IPv4, 22, true, true},
		{"", "tcp sport { 22, 53 } accept", address.IPv4, 22, false, true},
		{"", "ip6 nexthdr { 0, 43, 44, ah, 60, tcp } accept", address.IPv6, 22, true, true},
		{"", "ip6 nexthdr hopopt accept", address.IPv6, 22, false, true},
		{"", "ip6 nexthdr tcp accept", address.IPv4, 22, false, false},
		{"", "ip6 nexthdr & 0x10 != 0 accept", address.IPv6, 22, false, true},
		{"", "meta l4proto . th dport { tcp . 20-30, udp . 50-60 } accept", address.IPv6, 22, true, true},
		{"", "meta l4proto . th dport { tcp . 20-30, udp . 50-60 } accept", address.IPv6, 55, false, false},
		{"", "ip protocol . th dport { tcp . 20-30 } accept", address.IPv4, 22, true, true},
		{"", "ip saddr . meta l4proto . th dport { 0.0.0.0/0 . tcp . 20-30 } accept", address.IPv4, 22, true, true},
		{"", "meta l4proto . th dport vmap { tcp . 20-30 : accept, udp . 22 : drop }", address.IPv4, 22, true, true},
		{"", "ip6 nexthdr vmap { tcp : accept, udp : drop }", address.IPv6, 22, true, true},
		{"", "ip ttl 64 accept", address.IPv4, 22, false, true},
		{"", "ip version 4 accept", address.IPv4, 22, true, true},
	} {
		t.Run(c.file+c.rules, func(t *testing.T) {
			backendtest.Isolate(t)
			script := "table inet t { chain c { type filter hook input priority 0; policy drop; " + c.rules + "; }; }"
			if c.file != "" {
				b, err := os.ReadFile(c.file)
				if err != nil {
					t.Fatal(err)
				}
				script = string(b)
			}
			nft(t, script)
			rs := read(t, Options{})
			a, err := exposure.NewEvaluator(rs, nil).NeighboursKnown().Evaluate(
				exposure.Question{Family: c.family, Protocol: firewall.TCP,
					Interface: "eth0", Port: c.port},
			)
			if err != nil {
				t.Fatal(err)
			}
			certain, possible := a.Through()
			if certain.Empty() == c.certain || possible.Empty() == c.possible {
				t.Errorf(
					"certain %v, possible %v; rules %q",
					certain,
					possible,
					rulesOf(rs)[0].Text,
				)
			}
		})
	}
}
