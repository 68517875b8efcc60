package audit

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/nfttext"
)

// findsNeighbours is a rule without which IPv6 is in doubt.
const findsNeighbours = "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept"

func nftRules(t *testing.T, policy, rules string) *exposure.Ruleset {
	t.Helper()
	rs := &exposure.Ruleset{}
	text := "table inet f {\n chain c {\n  type filter hook input priority 0; policy " + policy +
		";\n  " + strings.ReplaceAll(rules, "; ", "\n  ") + "\n }\n}\n"
	if err := nfttext.Read("f", strings.NewReader(text), rs); err != nil {
		t.Fatal(err)
	}
	return rs
}

// Explain decides what ordinary packets decide, and doesn't rule out others.
func TestExplainOrdinaryPackets(t *testing.T) {
	for _, c := range []struct {
		policy, rules string
		from          string
		verdict       string
		assumed       string
	}{
		{"drop", "ip ttl > 1 accept", "8.8.8.8", "allow", exposure.AssumedHops},
		{"drop", "ip ttl 1 accept", "8.8.8.8", "unknown", exposure.AssumedHops},
		{"accept", "ip ttl < 5 drop", "8.8.8.8", "allow", exposure.AssumedHops},
		{"accept", "ip ttl > 5 drop", "8.8.8.8", "unknown", exposure.AssumedHops},
		{"drop", "ip6 nexthdr tcp ip6 saddr 2001:db8:113::/48 tcp dport 22 accept", "2001:db8:113::1",
			"allow", exposure.AssumedNoExtensions},
		{"drop", "ip6 nexthdr tcp ip6 saddr 2001:db8:114::/48 tcp dport 22 accept", "2001:db8:113::1",
			"deny", ""},
		{"accept", "tcp sport 1-1023 drop", "8.8.8.8", "allow", "a client's port is one of 32768-65535"},
		{"drop", "ip saddr & 0.0.0.255 == 0.0.0.5 accept", "8.8.8.5", "allow", ""},
		{"drop", "ip saddr & 0.0.0.255 == 0.0.0.5 accept", "8.8.8.8", "deny", ""},
		{"drop", "ip saddr & 0.0.0.255 . tcp dport { 0.0.0.5 . 22 } accept", "8.8.8.5", "allow", ""},
	} {
		in := Input{
			Rules: nftRules(t, c.policy, findsNeighbours+"; "+c.rules), Host: world(), Now: time.Now(),
			Sockets: listening("sshd 0.0.0.0:22", "sshd [::]:22"),
		}
		to := "198.51.100.10"
		from := netip.MustParseAddr(c.from)
		if from.Is6() {
			to = "2001:db8::10"
		}
		p, err := Locate(in.Host, Packet{
			From: from, Destination: netip.MustParseAddr(to), Port: 22, Protocol: firewall.TCP,
		})
		if err != nil {
			t.Fatal(err)
		}
		x, err := Explain(in, p)
		if err != nil {
			t.Fatal(err)
		}
		if x.Verdict != c.verdict {
			t.Errorf("%s, from %s: %s, want %s", c.rules, c.from, x.Verdict, c.verdict)
		}
		if (c.assumed != "") != slices.Contains(x.Assumed, c.assumed) {
			t.Errorf("%s: assumed %q, want %q", c.rules, x.Assumed, c.assumed)
		}
	}
}

// Import opens what is open to ordinary packets, and says what it takes for granted.
func TestImportOfOrdinaryPackets(t *testing.T) {
	for _, c := range []struct {
		policy, rules  string
		four, six      bool // who gets in
		note, withheld string
	}{
		{"drop", "exthdr frag exists drop; tcp dport 5000 accept", true, true, "", ""},
		{"drop", "exthdr frag exists accept", false, false, "extension headers", ""},
		{"drop", "ip6 hoplimit > 1 tcp dport 5000 accept", false, true, "TTL or hop limit", ""},
		{"drop", "ip ttl 1 tcp dport 5000 accept", false, false, "TTL or hop limit", "ttl"},
		{"drop", "meta length 40-1500 tcp dport 5000 accept", true, true, "first packet", ""},
		{"drop", "tcp sport 1-1023 drop; tcp dport 5000 accept", true, true, "client's port", ""},
		{"drop", "tcp sport 53 tcp dport 5000 accept", false, false, "client's port", "sport"},
	} {
		in := Input{
			Rules: nftRules(t, c.policy, c.rules), Host: world(), Now: time.Now(),
			Sockets: listening("web 0.0.0.0:5000", "web [::]:5000"),
		}
		out, err := Import(context.Background(), in, ImportOptions{})
		if err != nil {
			t.Fatal(err)
		}
		four, six, unknown := false, false, ""
		for _, s := range out.Services {
			if s.Ports[0].Contains(firewall.TCP, 5000) {
				four = s.Sources.Contains(netip.MustParseAddr("8.8.8.8"))
				six = s.Sources.Contains(netip.MustParseAddr("2600::1"))
				unknown = strings.Join(s.Unknown, "; ")
			}
		}
		if four != c.four || six != c.six {
			t.Errorf("%s: IPv4 %v, IPv6 %v", c.rules, four, six)
		}
		if (c.withheld == "") != (unknown == "") || !strings.Contains(unknown, c.withheld) {
			t.Errorf("%s: unknown %q, want %q", c.rules, unknown, c.withheld)
		}
		if notes := strings.Join(out.Notes, "\n"); !strings.Contains(notes, c.note) ||
			c.note == "" && strings.Contains(notes, "assumed of packets") {
			t.Errorf("%s: notes %q", c.rules, notes)
		}
	}
}

// A set that packets fill has room when it is looked at, which is assumed: packets of others may
// fill it at any time, so what happens without room stays possible.
func TestSetWithRoom(t *testing.T) {
	const room = "set m has room for one more element"
	for rules, want := range map[string]string{
		"tcp dport 22 add @m { ip saddr } accept":                             "sshd 0.0.0.0/0",
		"tcp dport 22 add @m { ip saddr } drop; tcp dport 22 accept":          "sshd 0.0.0.0/0 certain ",
		"tcp dport 22 update @m { ip saddr limit rate 3/minute } accept":      "sshd 0.0.0.0/0 certain ",
		"tcp dport 22 add @full { ip saddr } counter; tcp dport 22 accept":    "sshd 0.0.0.0/0",
		"tcp dport 22 add @full { ip saddr } accept":                          "sshd 0.0.0.0/0 certain ",
		"tcp dport 22 add @full { ip saddr } drop; tcp dport 22 accept":       "sshd 0.0.0.0/0 certain ",
		"ip saddr 10.0.0.0/8 add @m { ip saddr } drop; tcp dport 23 continue": "sshd ",
	} {
		rs := &exposure.Ruleset{}
		text := "table ip f {\n set m {\n  type ipv4_addr\n  size 2\n  flags dynamic\n" +
			"  elements = { 192.0.2.1 }\n }\n set full {\n  type ipv4_addr\n  size 1\n" +
			"  flags dynamic\n  elements = { 192.0.2.1 }\n }\n chain c {\n" +
			"  type filter hook input priority 0; policy drop;\n  " +
			strings.ReplaceAll(rules, "; ", "\n  ") + "\n }\n}\n"
		if err := nfttext.Read("f", strings.NewReader(text), rs); err != nil {
			t.Fatal(err)
		}
		r, err := Run(context.Background(), Input{
			Rules: rs, Host: world(), Now: time.Now(), Sockets: listening("sshd 0.0.0.0:22"),
		})
		if err != nil {
			t.Fatal(err)
		}
		rows, _ := summaryOf(r)
		if !slices.ContainsFunc(rows, func(row string) bool {
			return strings.HasPrefix(row, "tcp/22 eth0 "+want+" ")
		}) {
			t.Errorf("%s: %q, want %s", rules, rows, want)
		}
		if slices.Contains(r.Assumed, room) != strings.Contains(rules, "@m { ip saddr }") {
			t.Errorf("%s: assumed %q", rules, r.Assumed)
		}
	}
}
