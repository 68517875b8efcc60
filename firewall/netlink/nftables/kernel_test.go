package nftables

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall/backendtest"
	"github.com/portgrave/portgrave/firewall/netlink"
	"golang.org/x/sys/unix"
)

// rulesOfKernel are the rules of a chain in a table t, undecoded.
func rulesOfKernel(t *testing.T, family uint8, chain string) [][]byte {
	t.Helper()
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var out [][]byte
	request := netlink.Netfilter(
		unix.NFNL_SUBSYS_NFTABLES,
		unix.NFT_MSG_GETRULE,
		family,
		unix.NLM_F_DUMP,
		func(e *netlink.Encoder) { e.String(unix.NFTA_RULE_TABLE, "t") },
	)
	if err := conn.Ask(t.Context(), request, func(m netlink.Message) error {
		a, err := netlink.Parse(m.Attributes)
		if a.String(unix.NFTA_RULE_CHAIN) == chain {
			out = append(out, append([]byte(nil), a.Bytes(unix.NFTA_RULE_EXPRESSIONS)...))
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

// otherWords are ours for what nft writes, where we don't know what it knows, or say more.
var otherWords = map[string]string{
	`iif "lo" accept`:                 "iif 1 accept",
	"ct state new udp dport 5 accept": "meta l4proto udp ct state new udp dport 5 accept",
	"tcp flags syn / syn,ack drop":    "tcp flags & (syn | ack) == syn drop",
	"limit rate 5/second accept":      "limit rate 5/second burst 5 packets accept",
	"ip dscp set cs1":                 "@nh,0,16 set @nh,0,16 & 0xff23 | 0x20",
	"ip ttl set 7":                    "@nh,64,16 set @nh,64,16 & 0x7ff | 0x700",
	"update @d { ip saddr timeout 1m limit rate over 10/second } drop": "update @d { ip saddr timeout 1m limit rate over 10/second burst 5 packets } drop",
}

// What nft writes and what this package writes of the same rule are the same words, but for those
// named here, which nft reads as the same.
func TestTextIsThatOfNFT(t *testing.T) {
	backendtest.Isolate(t)
	for _, table := range []struct {
		family uint8
		name   string
		chain  string
		rules  []string
	}{
		{unix.NFPROTO_INET, "inet", "c", []string{
			"accept", "drop", "return", "continue", "jump other", "goto other",
			`iifname "lo" accept`, `iifname "eth*" drop`, `oifname "eth0" drop`, `iif 1 accept`, `meta sdifname "vrf1" accept`,
			`meta iifkind "vrf" accept`, "iifgroup 5 accept",
			"ip saddr 192.0.2.1 accept", "ip saddr != 192.0.2.1 accept", "ip saddr 10.0.0.0/8 accept", "ip saddr 10.128.0.0/9 accept",
			"ip6 saddr 2001:db8::1 accept", "ip6 daddr 2001:db8::/33 accept", "ip6 daddr 2001:db8::/32 accept",
			"ip saddr 192.0.2.1-192.0.2.9 accept", "ip saddr != 192.0.2.1-192.0.2.9 accept", "ip saddr < 192.0.2.7 drop", "ip saddr >= 192.0.2.7 drop",
			"ip saddr @a4 accept", "ip saddr != @a4 accept", "ip saddr & 255.255.0.0 @a4 accept", "ip6 saddr @a6 accept",
			"ip saddr & 255.0.255.0 == 10.0.1.0 accept",
			"tcp dport 22 accept", "tcp dport != 22 accept", "tcp dport 1-1024 accept", "tcp sport 7 tcp dport 22 accept", "udp dport 53 accept",
			"udp sport 67 udp dport 68 accept", "sctp dport 9 accept", "th dport 53 accept",
			"meta l4proto tcp accept", "meta l4proto udp ct state new th dport 5 accept", "meta nfproto ipv4 accept", "meta nfproto ipv6 counter accept",
			"tcp dport vmap @v", "meta l4proto tcp ct original proto-dst vmap @v", "ct original ip daddr @a4 accept",
			"ct state invalid drop", "ct state established,related accept", "ct status dnat accept", "ct status ! confirmed accept", "ct direction reply accept",
			"ct mark 0x00000007 accept", "ct zone 3 accept", "ct label 90 accept", "ct label set 90",
			"ip saddr . tcp dport @at accept", "ip daddr . meta l4proto . th dport @apt accept",
			"tcp flags & (syn | ack) == syn drop", "tcp flags ! syn drop",
			"icmp type echo-request accept", "icmpv6 type nd-neighbor-solicit accept",
			"ip ttl 5 drop", "ip6 hoplimit 255 accept", "ip length 100-200 accept", "ether saddr 02:00:00:00:00:01 accept",
			"fib daddr type local accept", "fib saddr . iif type local drop", "fib saddr . iif oif missing drop",
			"meta mark 0x00000001 accept", "meta mark set 0x00000002", "ct mark set meta mark", "meta mark set ct mark", "meta mark & 0x000000ff == 0x00000001 accept",
			"meta pkttype broadcast drop", "meta skuid 0 accept", "meta length 1000-1500 accept",
			"limit rate 5/second burst 5 packets accept", "limit rate over 10/minute burst 3 packets drop", "limit rate 100 bytes/second burst 500 bytes drop",
			`log prefix "x: " group 7 snaplen 64`, `log prefix "x" level debug`, "log group 0", "log",
			"reject with tcp reset", "reject", "reject with icmpx admin-prohibited", "ip saddr 192.0.2.1 reject", "ip saddr 192.0.2.1 reject with icmp host-unreachable",
			"ip6 saddr 2001:db8::1 reject with icmpv6 addr-unreachable", "ip6 nexthdr tcp tcp dport 22 accept", "ip dscp cs1 accept", "ip dscp != ef accept", "ip6 dscp af11 accept", "ip ecn ce accept", "ip version 4 accept", "ip dscp 0x03 accept",
			"tcp flags == syn accept", "tcp flags syn accept", "ct state == established accept", "ct status == dnat accept", "ip protocol tcp tcp dport 22 accept", "ip protocol udp accept",
			`meta hour "08:00"-"18:00" accept`, `meta hour "08:00:05" accept`, `meta day "Monday" accept`, `meta time "2026-01-01 00:00:00" accept`, `meta time >= "2026-01-01 10:00:00" accept`,
			"meta mark set meta mark | 0x00000010", "meta mark set meta mark & 0x0000ff00 | 0x00000010", "meta mark set meta mark ^ 0x00000010",
			"counter name \"n\" accept",
			"update @d { ip saddr timeout 1m limit rate over 10/second burst 5 packets } drop", "add @d { ip saddr }", "delete @d { ip saddr }",
			"update @d { ip saddr & 255.255.255.0 timeout 1m30s } accept",
			"notrack", "queue to 5", "queue flags bypass to 1-3", "ct count 10 accept", "ct count over 10 drop", "quota over 1000 bytes drop",
			"numgen random mod 4 2 accept", "symhash mod 2 1 accept", "jhash ip saddr mod 4 seed 0x7 2 accept",
			"socket transparent 1 accept", "socket mark 0x00000003 accept", "rt mtu 1500 accept", "exthdr frag exists accept",
			"tcp option maxseg size set 1400", "ip dscp set cs1", "ip ttl set 7", "@th,16,32 0x0035 accept",
			"ip daddr set 192.0.2.9", "dup to 192.0.2.1",
		}},
		{unix.NFPROTO_IPV4, "ip", "nat", []string{
			"ip saddr 192.0.2.1 snat to 198.51.100.1", "tcp dport 80 dnat to 192.0.2.1:8080", "dnat to 192.0.2.1-192.0.2.9", "tcp dport 80 redirect to :8080",
			"ip saddr 192.0.2.1 drop", "masquerade", "masquerade random,persistent", "tcp dport 1 dnat to 192.0.2.1:1000-2000 random",
		}},
		{unix.NFPROTO_IPV4, "ip", "refusals", []string{"reject", "reject with icmp host-unreachable", "reject with tcp reset"}},
		{unix.NFPROTO_IPV6, "ip6", "refusals", []string{"reject", "reject with icmpv6 admin-prohibited"}},
		{unix.NFPROTO_IPV6, "ip6", "nat", []string{"tcp dport 80 dnat to [2001:db8::1]:8080", "ip6 daddr 2001:db8::9 dnat to 2001:db8::1"}},
	} {
		declare := "table " + table.name + " t {\n chain other { }\n"
		if table.chain == "nat" {
			declare += "chain nat { type nat hook prerouting priority 0; }\n chain post { type nat hook postrouting priority 0; }\n"
		} else if table.chain == "refusals" {
			declare += "chain refusals { type filter hook input priority 0; }\n"
		} else {
			declare += `chain c { type filter hook prerouting priority -300; }
				counter n { }
				set a4 { type ipv4_addr; flags interval; }
				set a6 { type ipv6_addr; flags interval; }
				set at { type ipv4_addr . inet_service; }
				set apt { type ipv4_addr . inet_proto . inet_service; }
				set d { type ipv4_addr; size 100; flags dynamic,timeout; }
				map v { type inet_service : verdict; }` + "\n"
		}
		backendtest.Program(t, declare+"}\n", "nft", "-f", "-")
		taken := 0
		for _, text := range table.rules { // not in subtests: they would leave the namespace
			chain := table.chain
			if chain == "nat" &&
				(strings.Contains(text, "snat") || strings.Contains(text, "masquerade")) {
				chain = "post"
			}
			id := table.name + " t " + chain
			add := exec.Command("nft", "-f", "-")
			add.Stdin = strings.NewReader(
				"flush chain " + id + "\nadd rule " + id + " " + text + "\n",
			)
			if out, err := add.CombinedOutput(); err != nil {
				t.Logf("this nft or kernel doesn't take %q: %s", text, out)
				continue
			}
			taken++
			want := lastRule(
				backendtest.Program(t, "", "nft", "-s", "list", "chain", table.name, "t", chain),
			)
			raw := rulesOfKernel(t, table.family, chain)
			if len(raw) != 1 {
				t.Fatalf("%q: %d rules", text, len(raw))
			}
			r, err := new(Decoder).Rule(raw[0])
			if err != nil {
				t.Fatal(err)
			}
			if ours, ok := otherWords[want]; ok {
				want = ours
			}
			if got := r.Text(table.family); got != want {
				t.Errorf("%q, nft says %q", got, want)
			}
			for _, e := range r.Exprs {
				if u, ok := e.(Unknown); ok {
					t.Errorf("%q: %q, %x is unknown", text, u.Kind, u.Data)
				}
			}
			again, err := new(Decoder).Rule(r.AppendExprs(nil))
			if err != nil || !again.Equal(r) {
				t.Errorf("%q came back as %q, %v", text, again, err)
			}
		}
		t.Logf("%s: %d of %d rules", table.name, taken, len(table.rules))
	}
}

// lastRule is the last line of a listed chain.
func lastRule(listing string) string {
	lines := strings.Split(listing, "\n")
	for i, line := range lines {
		if i > 0 && strings.TrimSpace(line) == "}" {
			return strings.TrimSpace(lines[i-1])
		}
	}
	return ""
}
