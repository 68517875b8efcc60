package nftables

import (
	"testing"

	"github.com/portgrave/portgrave/firewall/backendtest"
)

// Rules from the kernel read as nft would write them.
func TestRuleTexts(t *testing.T) {
	backendtest.Isolate(t)
	rules := []struct{ rule, want string }{
		{"ip6 nexthdr icmpv6 accept", "ip6 nexthdr icmpv6 accept"},
		{"ip ttl < 5 drop", "ip ttl < 5 drop"},
		{"ip6 hoplimit 255 accept", "ip6 hoplimit 255 accept"},
		{"ip dscp cs1 accept", "ip dscp 8 accept"},
		{"ip version 4 accept", "ip version 4 accept"},
		{"meta mark and 0xff == 1 accept", "meta mark & 0xff == 0x1 accept"},
		{"meta mark set ct mark or 0x10", "meta mark set ct mark | 0x10"},
		{"tcp flags == syn accept", "tcp flags == syn accept"},
		{"fib saddr . iif oif missing drop", "fib saddr . iif oif missing drop"},
		{"exthdr frag exists drop", "meta nfproto ipv6 exthdr frag exists drop"},
		{"meta l4proto . th dport { tcp . 20-30 } accept", "meta l4proto . th dport tcp . 20-30 accept"},
		{"add @s { ip saddr limit rate 10/second }", "add @s { ip saddr limit rate 10/second burst 5 }"},
		{"icmpv6 type echo-request accept", "meta nfproto ipv6 icmpv6 type 128 accept"},
	}
	script := "table inet t { set s { type ipv4_addr; flags dynamic; size 9; }; chain c {\n"
	for _, r := range rules {
		script += r.rule + "\n"
	}
	nft(t, script+"}\n}\n")
	for i, r := range rulesOf(read(t, Options{})) {
		if r.Text != rules[i].want {
			t.Errorf("%s: %q", rules[i].rule, r.Text)
		}
	}
}
