package audit

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/nfttext"
)

// importNFT imports rules in nft's words. Elements with a duration as comment expire after it.
func importNFT(t *testing.T, h *exposure.Host, text string, listeners ...string) Imported {
	t.Helper()
	rs := nftText(t, text)
	now := time.Now()
	for _, table := range rs.Tables {
		for _, set := range table.Sets {
			for i, note := range set.Notes {
				if left, err := time.ParseDuration(note.Comment); err == nil {
					note.Expires = now.Add(left)
					set.Notes[i] = note
				}
			}
		}
	}
	in := Input{Rules: rs, Host: h, Sockets: listening(listeners...), Now: now}
	out, err := Import(context.Background(), in, ImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// nftText reads rules in nft's words.
func nftText(t *testing.T, text string) *exposure.Ruleset {
	t.Helper()
	rs := &exposure.Ruleset{}
	if err := nfttext.Read("f", strings.NewReader(text), rs); err != nil {
		t.Fatal(err)
	}
	rs.MarkDynamic()
	return rs
}

// The import names the set that lets a source in, and when its element expires, also where other
// sets hold the source for longer, or for shorter.
func TestImportNamesTheSetThatEnds(t *testing.T) {
	const (
		nets = "set a { type ipv4_addr; flags interval, timeout; elements = { 10.1.0.0/16 comment \"1m\" } }\n" +
			"set b { type ipv4_addr; flags interval, timeout; elements = { 10.0.0.0/8 comment \"24h\" } }\n"
		pair = "set k { type ipv4_addr . inet_service; flags timeout; elements = { 10.1.2.3 . 22 comment \"1m\", 10.1.2.3 . 80 comment \"24h\" } }\n" +
			"set ports { type inet_service; flags timeout; elements = { 80 comment \"1h\" } }\n"
		hosts = "set h { type ipv4_addr; flags timeout; elements = { 10.0.0.4 comment \"1m\", 10.0.0.5 comment \"24h\", 10.0.0.6 comment \"24h\", 10.0.0.7 comment \"24h\" } }\n"
		dyn   = "set dyn { type inet_service; flags timeout; elements = { 6379 comment \"1m\" } }\n"
		six   = "set s { type ipv6_addr; flags interval, timeout; elements = { 2001:db8:7::/48 comment \"1m\" } }\n"
		own   = "set o { type ipv4_addr; flags interval, timeout; elements = { 198.51.100.0/24 comment \"1m\" } }\n"
	)
	var many strings.Builder
	many.WriteString("set m { type ipv4_addr; flags timeout; elements = { ")
	for i := range 500 {
		fmt.Fprintf(&many, "10.0.%d.%d comment \"%dm\", ", i/100, 2*(i%100), i+1)
	}
	many.WriteString("} }\n")
	for _, tt := range []struct {
		name, rules string
		want        map[uint16][]string // "source set minutes"
		more        string
	}{
		{"two sets", nets + "chain c { ip saddr @a tcp dport 6379 accept; ip saddr @b tcp dport 22 accept; }",
			map[uint16][]string{6379: {"10.1.0.0/16 a 1"}, 22: {"10.0.0.0/8 b 1440"}}, ""},
		{"either set", nets + "chain c { ip saddr @a tcp dport 22 accept; ip saddr @b tcp dport 22 accept; }",
			map[uint16][]string{22: {"10.0.0.0/8 b 1440"}}, ""},
		{"both sets", nets + "chain c { ip saddr @a ip saddr @b tcp dport 22 accept; }",
			map[uint16][]string{22: {"10.1.0.0/16 a 1"}}, ""},
		{"a set and a port", nets + dyn + "chain c { ip saddr @b tcp dport @dyn accept; }",
			map[uint16][]string{6379: {"10.0.0.0/8 dyn 1"}}, ""},
		{"in a chain of its own", nets + "chain d { tcp dport 6379 accept; }\nchain e { tcp dport 22 accept; }\n" +
			"chain c { ip saddr @a jump d; ip saddr @b jump e; }",
			map[uint16][]string{6379: {"10.1.0.0/16 a 1"}, 22: {"10.0.0.0/8 b 1440"}}, ""},
		{"all others refused", nets + "chain c { tcp dport 6379 ip saddr != @a drop; tcp dport 6379 accept; ip saddr @b tcp dport 22 accept; }",
			map[uint16][]string{6379: {"10.1.0.0/16 a 1"}, 22: {"10.0.0.0/8 b 1440"}}, ""},
		{"concatenations", pair + "chain c { ip saddr . tcp dport @k accept; }",
			map[uint16][]string{22: {"10.1.2.3 k 1"}, 80: {"10.1.2.3 k 1440"}}, ""},
		{"concatenations and ports", pair + "chain c { ip saddr . tcp dport @k accept; tcp dport @ports accept; }",
			map[uint16][]string{22: {"10.1.2.3 k 1"}, 80: {"0.0.0.0-10.1.2.2", "10.1.2.3 k 1440"}}, ""},
		{"neighbours", hosts + "chain c { ip saddr @h tcp dport 22 accept; }",
			map[uint16][]string{22: {"10.0.0.4 h 1", "10.0.0.5 h 1440", "10.0.0.6/31 h 1440"}}, ""},
		{"ports", dyn + "chain c { tcp dport @dyn accept; }",
			map[uint16][]string{6379: {"any dyn 1"}}, ""},
		{"ports to a network", dyn + "chain c { ip saddr 198.51.100.0/24 tcp dport @dyn accept; }",
			map[uint16][]string{6379: {"198.51.100.0/24 dyn 1"}}, ""},
		{"behind DNAT", pair + nets + "chain p { type nat hook prerouting priority -100; tcp dport 8022 redirect to :22; }\n" +
			"chain c { ip saddr . tcp dport @k accept; ip saddr @b tcp dport 443 accept; }",
			map[uint16][]string{8022: {"10.1.2.3 k 1"}}, ""},
		{"ports over IPv4", dyn + "chain c { meta nfproto ipv4 tcp dport @dyn accept; }",
			map[uint16][]string{6379: {"0.0.0.0/0 dyn 1"}}, ""},
		{"IPv6", six + "chain c { ip6 saddr @s tcp dport 22 accept; }",
			map[uint16][]string{22: {"2001:db8:7::/48 s 1"}}, ""},
		{"the host's own address", own + "chain c { ip saddr @o tcp dport 22 accept; }",
			map[uint16][]string{22: {"198.51.100.0/24 o 1"}}, ""},
		{"a map", "map v { type ipv4_addr : verdict; flags timeout; elements = { 10.1.2.3 comment \"1m\" : accept } }\n" + nets +
			"chain c { ip saddr vmap @v; ip saddr @b tcp dport 22 accept; }",
			map[uint16][]string{6379: {"10.1.2.3 v 1"}}, ""},
		{"many", many.String() + "chain c { ip saddr @m tcp dport 22 accept; }",
			map[uint16][]string{22: {"10.0.0.0 m 1", "10.0.0.2 m 2"}}, "484 more networks"},
	} {
		now := time.Now()
		out := importNFT(t, world(), "table inet f {\n"+tt.rules+
			"\nchain input { type filter hook input priority 0; policy drop; ct state established,related accept; iif lo accept; jump c; }\n}\n",
			"sshd [::]:22", "redis [::]:6379", "web [::]:80")
		for port, want := range tt.want {
			s := serviceFor(out, firewall.TCP, port)
			if s == nil {
				t.Errorf("%s: no service for %d: %+v", tt.name, port, out)
				continue
			}
			var got []string
			for _, e := range s.Ending {
				got = append(got, fmt.Sprintf("%s %s %d", e.Name(), e.Set,
					int(e.Until.Sub(now).Round(time.Minute)/time.Minute)))
			}
			for i, x := range want {
				if strings.Contains(x, "-") && len(got) > 1 {
					continue // many prefixes
				}
				if len(got) < len(want) || tt.more == "" && len(got) != len(want) && len(want) < 2 ||
					!strings.Contains(strings.Join(got, "\n")+"\n", x+"\n") {
					t.Errorf("%s: port %d: %q lacks %q (%d)", tt.name, port, got, x, i)
				}
			}
			if !strings.Contains(s.MoreEnding, tt.more) || tt.more == "" && s.MoreEnding != "" &&
				len(got) < maxEnding {
				t.Errorf("%s: more: %q", tt.name, s.MoreEnding)
			}
		}
	}
}
