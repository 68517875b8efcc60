package audit

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/nfttext"
)

// Rules that a policy has no words for are named: they have to stay.
func TestImportNamesRulesToKeep(t *testing.T) {
	const (
		ssh     = denyAll + "-A INPUT -p tcp --dport 22 -j ACCEPT\n"
		helper  = "conntrack helper (ip raw chain PREROUTING"
		sources = "translate the sources of packets that go out (ip nat chain POSTROUTING"
		leaving = "refuse packets that this host sends (ip filter chain OUTPUT"
		closing = "COMMIT\n"
	)
	for name, tt := range map[string]struct{ four, six, says string }{
		"nothing": {ssh, denyAll, ""},
		"helper": {ssh + closing + "*raw\n:PREROUTING ACCEPT [0:0]\n" +
			"-A PREROUTING -p tcp --dport 21 -j CT --helper ftp\n", denyAll, helper},
		"zone":           {ssh + closing + "*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -j CT --zone 1\n", denyAll, ""},
		"masquerade":     {ssh + closing + "*nat\n:POSTROUTING ACCEPT [0:0]\n-A POSTROUTING -o eth0 -j MASQUERADE\n", denyAll, sources},
		"snat":           {ssh + closing + "*nat\n:POSTROUTING ACCEPT [0:0]\n-A POSTROUTING -j SNAT --to-source 198.51.100.10\n", denyAll, sources},
		"policy":         {ssh + ":OUTPUT DROP [0:0]\n-A OUTPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT\n", denyAll, leaving},
		"owner":          {ssh + "-A OUTPUT -m owner --uid-owner 33 -j REJECT\n", denyAll, leaving},
		"chain":          {ssh + ":out - [0:0]\n-A OUTPUT -j out\n-A out -p tcp --dport 25 -j DROP\n", denyAll, "this host sends (ip filter chain out"},
		"routing header": {ssh, denyAll + "-A OUTPUT -m rt --rt-type 0 -j DROP\n", ""},
		"any routing header": {
			ssh, denyAll + "-A OUTPUT -m ipv6header --header route --soft -j DROP\n", "",
		},
		"authentication": {ssh, denyAll + "-A OUTPUT -m ah -j DROP\n", ""},
		"invalid":        {ssh + "-A OUTPUT -m conntrack --ctstate INVALID -j DROP\n", denyAll, ""},
		"accepts":        {ssh + "-A OUTPUT -o lo -j ACCEPT\n", denyAll, ""},
		"RFC 3964":       {ssh, denyAll + "-A OUTPUT -d ::ffff:0:0/96 -j REJECT\n-A OUTPUT -d 2002:a00::/24 -j REJECT\n", ""},
	} {
		notes := strings.Join(mustImport(t, tt.four, tt.six, "sshd 0.0.0.0:22").Notes, "\n")
		if !strings.Contains(notes, tt.says) || tt.says == "" &&
			(strings.Contains(notes, "helper (") || strings.Contains(notes, "that go out") ||
				strings.Contains(notes, "host sends")) {
			t.Errorf("%s: %q", name, notes)
		}
	}
}

// So are tables for ARP and bridges that refuse something, and helpers in nft's words.
func TestImportNamesTablesToKeep(t *testing.T) {
	const in = "table inet t {\n ct helper ftp-standard { type \"ftp\" protocol tcp; }\n" +
		" chain c {\n  type filter hook input priority 0; policy drop;\n  tcp dport 22 accept\n }\n" +
		" chain p {\n  type filter hook prerouting priority -300; policy accept;\n" +
		"  tcp dport 21 ct helper set \"ftp-standard\"\n }\n}\n"
	for text, says := range map[string]string{
		"": "",
		"table arp a {\n chain c {\n  type filter hook input priority 0; policy accept;\n }\n}\n": "",
		"table arp a {\n chain c {\n  type filter hook input priority 0; policy drop;\n }\n}\n":   "(table arp a)",
	} {
		rs := &exposure.Ruleset{}
		if err := nfttext.Read("f", strings.NewReader(in+text), rs); err != nil {
			t.Fatal(err)
		}
		out, err := Import(context.Background(), Input{Rules: rs, Host: world(),
			Sockets: listening("sshd 0.0.0.0:22"), Now: time.Now()}, ImportOptions{})
		if err != nil {
			t.Fatal(err)
		}
		notes := strings.Join(out.Notes, "\n")
		if !strings.Contains(notes, says) || says == "" && strings.Contains(notes, "ARP") ||
			!strings.Contains(notes, "conntrack helper (inet t chain p") {
			t.Errorf("%s%q", text, out.Notes)
		}
	}
}
