package nftables

import (
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall/backendtest"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// Rules of the kernel read as nft writes them, but for those with words of ours.
func TestRuleTexts(t *testing.T) {
	backendtest.Isolate(t)
	for _, r := range []struct{ rule, ours string }{
		{"ip6 nexthdr ipv6-icmp accept", "ip6 nexthdr icmpv6 accept"},
		{"ip6 nexthdr tcp tcp dport 22 accept", ""},
		{"ip6 nexthdr vmap { tcp : accept, udp : drop }", ""},
		{"ip ttl vmap { 1 : drop, 64 : accept }", ""},
		{"ip protocol tcp tcp dport 22 accept", ""},
		{"ip ttl < 5 drop", ""},
		{"ip6 hoplimit 255 accept", ""},
		{"ip dscp cs1 accept", ""},
		{"ip version 4 accept", ""},
		{"meta mark & 0x000000ff == 0x00000001 accept", ""},
		{"meta mark set ct mark | 0x00000010", ""},
		{"tcp flags == syn accept", ""},
		{"fib saddr . iif oif missing drop", ""},
		{"exthdr frag exists drop", ""},
		{"meta l4proto . th dport { tcp . 20-30 } accept", ""},
		{"add @s { ip saddr limit rate 10/second }", "add @s { ip saddr limit rate 10/second burst 5 packets }"},
		{"icmpv6 type echo-request accept", ""},
		{"icmpv6 type { echo-request, nd-neighbor-solicit } accept", ""},
		{"icmp type { echo-reply, echo-request } accept", ""},
		{`meta iifkind "vrf" accept`, ""},
		{`iif "lo" accept`, ""},
		{`iif { "lo" } accept`, ""},
		{`iif vmap { "lo" : accept }`, ""},
		{"fib saddr oif \"lo\" accept", ""},
		{"ct label set 90", ""},
		{"ct label 90 accept", ""},
		{"meter m size 65535 { ip saddr limit rate 1/second burst 7 packets } accept", "add @m { ip saddr limit rate 1/second burst 7 packets } accept"},
		{"tcp dport { 22, 80-90 } accept", ""},
		{"tcp dport 22 ct state { established, related, new } accept", "tcp dport 22 ct state { established, related, new } accept"},
		{"ct state vmap { invalid : drop, established : accept }", ""},
		{`iifname . tcp dport { "eth0" . 22, "lo" . 80 } accept`, `iifname . tcp dport { "eth0" . 22, "lo" . 80 } accept`},
		{"numgen random mod 2 vmap { 0 : goto a, 1 : goto b }", ""},
		{`counter name "n" accept`, ""},
		{"tcp dport 22 reject", ""},
	} {
		backendtest.Program(
			t,
			"flush ruleset\ntable inet t { counter n { }\nchain a { }\nchain b { }\n"+
				"set s { type ipv4_addr; flags dynamic; size 9; }\nchain c { "+r.rule+"\n}\n}\n",
			"nft",
			"-f",
			"-",
		)
		want := r.ours
		if want == "" {
			lines := strings.Split(
				backendtest.Program(t, "", "nft", "-s", "list", "chain", "inet", "t", "c"),
				"\n",
			)
			want = strings.TrimSpace(lines[len(lines)-4])
		}
		o := Options{
			Interface: func(index uint64) string { return map[uint64]string{1: "lo"}[index] },
		}
		if got := read(t, o).Tables[0].Chain("c").Rules[0].Text; got != want {
			t.Errorf("%q, nft says %q", got, want)
		}
	}
}

// Labels of iptables-nft's rules have numbers.
func TestLabelTexts(t *testing.T) {
	bit := exposure.LabelBit(90)
	label := exposure.Of(exposure.FieldCTLabel).And(bit)
	for want, s := range map[string]exposure.Statement{
		"ct label 90":     exposure.In(label, exposure.One(bit)),
		"ct label ! 90":   exposure.NotIn(label, exposure.One(bit)),
		"ct label set 90": exposure.SetLabel(bit),
	} {
		if got := statementText(s); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := statementText(exposure.AnyBit(exposure.FieldCTLabel, 0)); got == "ct label 90" {
		t.Errorf("no bit: %q", got)
	}
}
