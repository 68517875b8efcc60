package xtables

import (
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/exposuretest"
)

// readRules reads rules of one table in which every built-in chain and the chain "user" exist.
func readRules(
	t *testing.T,
	family exposure.Family,
	table string,
	sets *Sets,
	rules ...string,
) []*exposure.Rule {
	t.Helper()
	text := "*" + table + "\n"
	for _, c := range []string{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"} {
		if exposure.XTablesBase(table, c, 0) != nil {
			text += ":" + c + " ACCEPT [0:0]\n"
		}
	}
	rs := &exposure.Ruleset{}
	if err := ReadSave("f", family, strings.NewReader(text+":user - [0:0]\n"+strings.Join(rules, "\n")+"\nCOMMIT\n"), sets, rs); err != nil {
		t.Fatal(err)
	}
	var out []*exposure.Rule
	for _, c := range rs.Tables[0].Chains {
		out = append(out, c.Rules...)
	}
	return out
}

// Each option, and what it comes to. Numbers are the model's: hexadecimal, addresses and names too.
func TestRules(t *testing.T) {
	for _, c := range []struct {
		family      exposure.Family
		table, rule string
		want        string
	}{
		// The header.
		{4, "filter", "-s 10.0.0.0/8", "ip saddr in {0xa000000-0xaffffff}"},
		{4, "filter", "! -d 10.0.0.1", "ip daddr not in {0xa000001}"},
		{4, "filter", "-s 10.0.0.0/255.0.0.0", "ip saddr in {0xa000000-0xaffffff}"},
		{4, "filter", "-s 10.9.0.1/255.0.0.255", "ip saddr & ^0xffff00 in {0xa000001}"},
		{4, "filter", "-s 10.1.2.3/8", "ip saddr in {0xa000000-0xaffffff}"},
		{4, "filter", "-s 0.0.0.0/0", ""},
		{4, "filter", "! -s 0.0.0.0/0", "ip saddr not in {0x0-0xffffffff}"},
		{4, "filter", "-s 10.0.0.1,10.0.0.3", "ip saddr in {0xa000001, 0xa000003}"},
		{4, "filter", "-s example.com", "unknown match: -s example.com"},
		{4, "filter", "-s fe80::1", "unknown match: -s fe80::1"},
		{6, "filter", "-s fe80::/10", "ip6 saddr in {0xfe800000000000000000000000000000-0xfebfffffffffffffffffffffffffffff}"},
		{6, "filter", "-d 2001::1/ffff::ffff", "ip6 daddr & ^0xffffffffffffffffffffffff0000 in {0x20010000000000000000000000000001}"},
		{4, "filter", "-i lo", "iifname in {lo}"},
		{4, "filter", "! -o eth+", "oifname not in {0x65746800000000000000000000000000-0x657468ffffffffffffffffffffffffff}"},
		{4, "filter", "-i +", "iifname in {0x0-0xffffffffffffffffffffffffffffffff}"},
		{4, "filter", "-i abcdefghijklmnop", "unknown match: -i abcdefghijklmnop"},
		{4, "filter", "-p all", ""},
		{4, "filter", "-p 0", ""},
		{4, "filter", "-p 47", "l4proto in {0x2f}"},
		{4, "filter", "! -p TCP", "l4proto not in {0x6}"},
		{4, "filter", "-p quux", "unknown match: -p quux"},
		{4, "filter", "-f", "fragment in {0x1}"},
		{4, "filter", "! -f", "fragment not in {0x1}"},
		{4, "filter", "-c 5 6 -s 10.0.0.1", "ip saddr in {0xa000001}"},

		// Transport.
		{4, "filter", "-p tcp -m tcp ! --sport 1000:2000 --dport 0:1023", "l4proto in {0x6}; th sport not in {0x3e8-0x7d0}; th dport in {0x0-0x3ff}"},
		{4, "filter", "-p tcp --dport 22", "l4proto in {0x6}; th dport in {0x16}"},
		{4, "filter", "-p tcp --dport ! 22", "l4proto in {0x6}; th dport not in {0x16}"},
		{4, "filter", "-p udp --destination-port 1024:", "l4proto in {0x11}; th dport in {0x400-0xffff}"},
		{4, "filter", "-p tcp --dport ssh", "l4proto in {0x6}; th dport in {0x16}"},
		{4, "filter", "-p tcp --dport ftp-data:ssh", "l4proto in {0x6}; th dport in {0x14-0x16}"},
		{4, "filter", "-p tcp --dport quux", "l4proto in {0x6}; unknown match: --dport quux"},
		{4, "filter", "-p udp -m multiport --dports domain,ntp", "l4proto in {0x11}; th dport in {0x35, 0x7b}"},
		{6, "filter", "-p ipv6-icmp", "l4proto in {0x3a}"},
		{4, "filter", "-m ttl --ttl-eq 255", "payload(1,64,8,0) in {0xff}"},
		{4, "filter", "-m ttl ! --ttl-eq 1", "payload(1,64,8,0) not in {0x1}"},
		{4, "filter", "-m ttl --ttl-lt 64", "payload(1,64,8,0) in {0x0-0x3f}"},
		{4, "filter", "-m ttl --ttl-gt 64", "payload(1,64,8,0) in {0x41-0xff}"},
		{6, "filter", "-m hl --hl-eq 255", "payload(1,56,8,0) in {0xff}"},
		{4, "filter", "-m length --length 40:100", "payload(1,16,16,0) in {0x28-0x64}"},
		{4, "filter", "-m length ! --length 128", "payload(1,16,16,0) not in {0x80}"},
		{6, "filter", "-m length --length 60:", "payload(1,32,16,0) in {0x14-0xffd7}"},
		{6, "filter", "-m length --length :60", "payload(1,32,16,0) in {0xffd8-0xffff, 0x0-0x14}"},
		{4, "filter", "-m nfacct --nfacct-name http", "unknown match: -m nfacct --nfacct-name http"},
		{6, "filter", "-m ipv6header --header protocol", "ipv6header in {0x1}"},
		{6, "filter", "-m ipv6header ! --header ipv6-frag", "ipv6header not in {0x10}"},
		{6, "filter", "-m ipv6header --header hop-by-hop,ah --soft", "ipv6header & ^0x77 in {0x88}"},
		{6, "filter", "-m ipv6header ! --header frag,dst --soft", "ipv6header & ^0xaf in {0x0}"},
		{6, "filter", "-m ipv6header --header ipv6", "unknown match: -m ipv6header --header ipv6"},
		{4, "filter", "-p tcp -m multiport ! --dports 22,80:90", "l4proto in {0x6}; th dport not in {0x16, 0x50-0x5a}"},
		{4, "filter", "-p tcp -m multiport --ports 22", "l4proto in {0x6}; th sport . th dport in {0x16 . 0x0-0xffff, 0x0-0xffff . 0x16}"},
		{4, "filter", "-p tcp --tcp-flags SYN,ACK,FIN SYN", "l4proto in {0x6}; tcp flags & ^0xec in {0x2}"},
		{4, "filter", "-p tcp ! --tcp-flags ALL NONE", "l4proto in {0x6}; tcp flags & ^0xc0 not in {0x0}"},
		{4, "filter", "-p tcp ! --syn", "l4proto in {0x6}; tcp flags & ^0xe8 not in {0x2}"},
		{4, "filter", "-p tcp --tcp-option 5", "l4proto in {0x6}; unknown match: --tcp-option 5"},
		{4, "filter", "-p sctp --dport 80 --chunk-types any INIT", "l4proto in {0x84}; th dport in {0x50}; unknown match: --chunk-types any INIT"},
		{4, "filter", "-p icmp --icmp-type echo-request", "l4proto in {0x1}; icmp type . icmp code in {0x8 . 0x0-0xff}"},
		{4, "filter", "-p icmp -m icmp ! --icmp-type 3/4", "l4proto in {0x1}; icmp type . icmp code not in {0x3 . 0x4}"},
		{4, "filter", "-p icmp -m icmp --icmp-type any", "l4proto in {0x1}; icmp type . icmp code in {0x0-0xff . 0x0-0xff}"},
		{4, "filter", "-p icmp -m icmp --icmp-type host-unreachable", "l4proto in {0x1}; icmp type . icmp code in {0x3 . 0x1}"},
		{6, "filter", "-p icmpv6 --icmpv6-type 1/3", "l4proto in {0x3a}; icmp type . icmp code in {0x1 . 0x3}"},

		// Connections.
		{4, "filter", "-m state --state NEW,RELATED", "ct state & ^0xfffffff3 not in {0x0}"},
		{4, "filter", "-m state ! --state NEW", "ct state & ^0xfffffff7 in {0x0}"},
		{4, "filter", "-m conntrack --ctstate NEW,DNAT", "ct state & ^0xfffffff7 . ct status & ^0xffffffdf not in {0x0 . 0x0}"},
		{4, "filter", "-m conntrack --ctstate SNAT", "ct status & ^0xffffffef not in {0x0}"},
		{4, "filter", "-m conntrack ! --ctstate NEW,DNAT", "ct state & ^0xfffffff7 in {0x0}; unknown match: ct status no dnat, or no connection"},
		{4, "filter", "-m conntrack ! --ctstate NEW,DNAT,INVALID,UNTRACKED", "ct state & ^0xffffffb6 . ct status & ^0xffffffdf in {0x0 . 0x0}"},
		{4, "filter", "-m conntrack --ctstate INVALID,DNAT", "unknown match: ct state or status, of packets with and without a connection"},
		{4, "filter", "-m conntrack --ctstate NEW --ctdir ORIGINAL", "ct state & ^0xfffffff7 not in {0x0}; ct direction in {0x0}"},
		{4, "filter", "-m conntrack --ctstate UNTRACKED --ctdir REPLY", "ct state & ^0xffffffbf not in {0x0}; unknown match: -m conntrack --ctstate UNTRACKED --ctdir REPLY"},
		{4, "filter", "-m conntrack ! --ctstate INVALID --ctproto 6", "ct state & ^0xfffffffe in {0x0}; unknown match: -m conntrack ! --ctstate INVALID --ctproto 6"},
		{4, "filter", "-m conntrack ! --ctstate INVALID,UNTRACKED --ctproto 6", "ct state & ^0xffffffbe in {0x0}; ct protocol in {0x6}"},
		{4, "filter", "-m conntrack --ctorigsrc 10.0.0.0/8 ! --ctorigdst 10.1.0.0/16 --ctreplsrc 1.2.3.4 ! --ctrepldst 1.2.3.5",
			"ct original ip saddr in {0xa000000-0xaffffff}; ct original ip daddr not in {0xa010000-0xa01ffff}; ct reply ip saddr in {0x1020304}; ct reply ip daddr not in {0x1020305}"},
		{6, "filter", "-m conntrack --ctorigdst 2001:db8::1", "ct original ip6 daddr in {0x20010db8000000000000000000000001}"},
		{4, "filter", "-m conntrack --ctorigdstport 80:90 ! --ctreplsrcport 5", "ct original proto-dst in {0x50-0x5a}; ct reply proto-src not in {0x5}"},
		{4, "filter", "-m conntrack --ctstatus ASSURED,CONFIRMED", "ct status & ^0xfffffff3 not in {0x0}"},
		{4, "filter", "-m conntrack ! --ctstatus EXPECTED", "ct status & ^0xfffffffe in {0x0}"},
		{4, "filter", "-m conntrack --ctstatus NONE", "ct status & ^0xffffffff not in {0x0}"},
		{4, "filter", "-m conntrack --ctexpire 1:5", "unknown match: --ctexpire 1:5"},
		{4, "filter", "-m conntrack --ctstate BORED", "unknown match: --ctstate BORED"},

		// Other matches.
		{4, "filter", "-m mark ! --mark 0x1/0xff", "meta mark & ^0xffffff00 not in {0x1}"},
		{4, "filter", "-m connmark --mark 5", "ct mark in {0x5}"},
		{4, "filter", "-m iprange --src-range 10.0.0.1-10.0.0.9 ! --dst-range 1.1.1.1", "ip saddr in {0xa000001-0xa000009}; ip daddr not in {0x1010101}"},
		{4, "filter", "-m iprange --src-range 10.0.0.9-10.0.0.1", "unknown match: --src-range 10.0.0.9-10.0.0.1"},
		{4, "filter", "-m mac ! --mac-source 00:11:22:33:44:55", "ether saddr not in {0x1122334455}"},
		{4, "filter", "-m physdev --physdev-in + ! --physdev-is-bridged", "physdev in in {0x1-0xffffffffffffffffffffffffffffffff}; physdev bridged not in {0x1}"},
		{4, "filter", "-m physdev ! --physdev-is-out --physdev-is-in", "physdev out not in {0x1-0xffffffffffffffffffffffffffffffff}; physdev in in {0x1-0xffffffffffffffffffffffffffffffff}"},
		{4, "filter", "-m addrtype --src-type UNICAST ! --dst-type LOCAL,BROADCAST", "fib saddr type in {0x1}; fib daddr type not in {0x2-0x3}"},
		{4, "filter", "-m addrtype --dst-type LOCAL --limit-iface-in", "fib daddr iif type in {0x2}"},
		{6, "filter", "-m addrtype --dst-type LOCAL", "fib daddr type in {0x2}"},
		{6, "filter", "-m addrtype --dst-type MULTICAST", "ip6 daddr in {0xff000000000000000000000000000000-0xffffffffffffffffffffffffffffffff}"},
		{6, "filter", "-m addrtype ! --dst-type LOCAL,MULTICAST", "ip6 daddr . fib daddr type not in {0xff000000000000000000000000000000-0xffffffffffffffffffffffffffffffff . 0x2}"},
		{6, "filter", "-m addrtype --src-type UNICAST",
			"ip6 saddr in {0x1-0xfffeffffffff, 0x1000000000000-0xfeffffffffffffffffffffffffffffff}"},
		{6, "filter", "-m addrtype --src-type BROADCAST", "unknown match: --src-type BROADCAST"},
		{4, "filter", "-m pkttype ! --pkt-type multicast", "pkttype not in {0x2}"},
		{4, "filter", "-m devgroup --src-group 0x1/0xf", "iifgroup & ^0xfffffff0 in {0x1}"},
		{4, "raw", "-m rpfilter --loose --validmark --invert", "fib saddr mark loose reverse-path not in {0x1}"},
		{4, "mangle", "-m socket --transparent --restore-skmark", "unknown match: -m socket --transparent --restore-skmark; meta mark := unknown (the socket's mark) up to 0xffffffff"},
		{4, "filter", "-m comment --comment --dport -j ACCEPT", "accept"},
		{4, "filter", `-m limit --limit 3/min --limit-burst 10 -m string --string "a b" --algo bm`, `unknown match: -m limit --limit 3/min --limit-burst 10; unknown match: -m string --string "a b" --algo bm`},
		{4, "filter", "-m neverheardof --thing 5 ! --other -j DROP", "unknown match: -m neverheardof --thing 5 ! --other; drop"},
		{4, "filter", "-m tcpmss --mss 1:5", "unknown match: -m tcpmss --mss 1:5"},
		{4, "filter", "--thing", "unknown match: --thing"},

		// Targets.
		{4, "filter", "-j ACCEPT", "accept"}, {4, "filter", "-j DROP", "drop"}, {4, "filter", "-j RETURN", "return"},
		{4, "filter", "-j user", "jump user"}, {4, "filter", "-g user", "goto user"}, {4, "filter", "", ""},
		{4, "filter", "-j REJECT --reject-with tcp-reset", "reject tcp reset"},
		{4, "filter", `-j LOG --log-prefix "-j DROP "`, `nothing: LOG --log-prefix "-j DROP "`},
		{4, "filter", "-j NFLOG --nflog-group 5", "nothing: NFLOG --nflog-group 5"},
		{4, "filter", "-j NFQUEUE --queue-num 3 --queue-bypass", "queue NFQUEUE --queue-num 3 --queue-bypass"},
		{4, "mangle", "-j TCPMSS --clamp-mss-to-pmtu", "nothing: TCPMSS --clamp-mss-to-pmtu"},
		{4, "filter", "-j SYNPROXY --sack-perm", "unknown effect: -j SYNPROXY --sack-perm"},
		{4, "filter", "-j NEVERHEARDOF --thing 5", "unknown effect: -j NEVERHEARDOF --thing 5"},
		{4, "mangle", "-j MARK --set-mark 0x105/0xff", "meta mark := meta mark & ^0x1ff ^ 0x105"},
		{4, "mangle", "-j MARK --set-xmark 0x10/0xf0", "meta mark := meta mark & ^0xf0 ^ 0x10"},
		{4, "mangle", "-j MARK --and-mark 0xff", "meta mark := meta mark & ^0xffffff00"},
		{4, "mangle", "-j MARK --or-mark 0xff", "meta mark := meta mark & ^0xff ^ 0xff"},
		{4, "mangle", "-j MARK --xor-mark 0xff", "meta mark := meta mark ^ 0xff"},
		{4, "mangle", "-j CONNMARK --save-mark --nfmask 0xff --ctmask 0xff00", "ct mark := ct mark & ^0xff00 ^ meta mark & ^0xffffff00"},
		{4, "mangle", "-j CONNMARK --restore-mark", "meta mark := ct mark"},
		{4, "mangle", "-j CONNMARK --save-mark --left-shift-mark 8", "ct mark := meta mark << 8"},
		{4, "mangle", "-j CONNMARK --set-xmark 0x3/0x5 --right-shift-mark 1", "ct mark := ct mark >> 1 & ^0x2 ^ 0x1"},
		{4, "mangle", "-j CONNMARK", "unknown effect: -j CONNMARK"},
		{4, "nat", "-j DNAT --to-destination 10.0.0.1-10.0.0.9:80-90 --random --persistent", "dnat ip addr 0xa000001 to 0xa000009 port 0x50 to 0x5a (random,persistent)"},
		{4, "nat", "-j DNAT --to-destination :3000-4000/2000", "dnat ip port 0xbb8 to 0xfa0 base 0x7d0"},
		{4, "nat", "-j DNAT --to-destination 10.0.0.1:http", "dnat ip addr 0xa000001 port 0x50"},
		{4, "nat", "-j DNAT", "unknown effect: -j DNAT"},
		{6, "nat", "-j DNAT --to-destination [2001:db8::1]:80", "dnat ip6 addr 0x20010db8000000000000000000000001 port 0x50"},
		{6, "nat", "-j DNAT --to-destination [::1-::9]:80-90", "dnat ip6 addr 0x1 to 0x9 port 0x50 to 0x5a"},
		{6, "nat", "-j DNAT --to-destination ::1-::9", "dnat ip6 addr 0x1 to 0x9"},
		{6, "nat", "-j DNAT --to-destination :80", "dnat ip6 port 0x50"},
		{6, "nat", "-j DNAT --to-destination [::1", "unknown effect: -j DNAT --to-destination [::1"},
		{4, "nat", "-j REDIRECT --to-ports 8080-8090", "redirect ip port 0x1f90 to 0x1f9a"},
		{4, "nat", "-j SNAT --to-source 10.0.0.1", "snat ip addr 0xa000001"},
		{4, "nat", "-j MASQUERADE --random-fully", "masquerade ip (random-fully)"},
		{4, "mangle", "-j TPROXY --on-port 5000 --on-ip 127.0.0.1 --tproxy-mark 0x1/0x1", "tproxy ip addr 0x7f000001 port 0x1388 or drop; meta mark := meta mark & ^0x1 ^ 0x1; accept"},
		{6, "mangle", "-j TPROXY --on-port 0 --on-ip :: --tproxy-mark 0x0/0x0", "tproxy ip6 or drop; accept"},
		{4, "raw", "-j NOTRACK", "notrack"}, {4, "raw", "-j CT --notrack", "notrack"},
		{4, "raw", "-j CT --zone 5 --helper ftp", "nothing: CT --zone 5 --helper ftp; ct zone := 0x5"},
		{4, "raw", "-j CT --zone mark", "nothing: CT --zone mark; ct zone := meta mark & ^0xffff0000"},
		{4, "raw", "-j CT --helper ftp", "nothing: CT --helper ftp; ct zone := 0x0"},
	} {
		family := map[exposure.Family]exposure.Family{4: exposure.FamilyIPv4, 6: exposure.FamilyIPv6}[c.family]
		chain := "user"
		if r := readRules(t, family, c.table, nil, "-A "+chain+" "+c.rule); len(r) != 1 {
			t.Errorf("%s: %d rules", c.rule, len(r))
		} else if got := exposuretest.Statements(r[0].Statements); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.rule, got, c.want)
		}
	}
}

func TestComments(t *testing.T) {
	for text, want := range map[string]string{
		`-m comment --comment simple`:                              "simple",
		`-m comment --comment "it\'s \"a\" \\ b"`:                  `it's "a" \ b`,
		`-m comment --comment --`:                                  "--",
		`-m comment --comment "!" -j DROP`:                         "!",
		`-m comment --comment one -m comment --comment two`:        "one; two",
		`-m comment --comment "" -s 10.0.0.1`:                      "",
		`-m comment --comment "-A INPUT -j DROP" -p tcp -j ACCEPT`: "-A INPUT -j DROP",
	} {
		if r := readRules(t, exposure.FamilyIPv4, "filter", nil, "-A INPUT "+text); r[0].Comment != want {
			t.Errorf("%s: %q", text, r[0].Comment)
		}
	}
}

func TestRulesForOneVersionOnly(t *testing.T) {
	rules := []string{
		"-A INPUT -4 -s 10.0.0.1 -j DROP",
		"-A INPUT -6 -s ::1 -j DROP",
		"-A INPUT -j ACCEPT",
	}
	r := readRules(t, exposure.FamilyIPv6, "filter", nil, rules...)
	if len(r) != 2 || r[0].Text != rules[1] || r[1].Number != 2 {
		t.Errorf("%+v", r)
	}
}

func TestNetmapTurnsByItsHook(t *testing.T) {
	const to = " -j NETMAP --to 192.168.0.0/24"
	for name, c := range map[string]struct {
		rules []string
		want  string
	}{
		"prerouting":        {[]string{"-A PREROUTING" + to}, "dnat ip addr ip daddr & ^0xffffff00 ^ 0xc0a80000 (netmap)"},
		"postrouting":       {[]string{"-A POSTROUTING" + to}, "snat ip addr ip saddr & ^0xffffff00 ^ 0xc0a80000 (netmap)"},
		"from prerouting":   {[]string{"-A user" + to, "-A PREROUTING -j user"}, "dnat ip addr ip daddr & ^0xffffff00 ^ 0xc0a80000 (netmap)"},
		"from postrouting":  {[]string{"-A user" + to, "-A POSTROUTING -g user"}, "snat ip addr ip saddr & ^0xffffff00 ^ 0xc0a80000 (netmap)"},
		"from both":         {[]string{"-A user" + to, "-A POSTROUTING -j user", "-A OUTPUT -j user"}, "unknown effect: -j NETMAP --to 192.168.0.0/24"},
		"an address":        {[]string{"-A PREROUTING -j NETMAP --to 192.168.0.1"}, "dnat ip addr ip daddr & ^0xffffffff ^ 0xc0a80001 (netmap)"},
		"something unknown": {[]string{"-A PREROUTING -j NETMAP --to office"}, "unknown effect: -j NETMAP --to office"},
	} {
		for _, r := range readRules(t, exposure.FamilyIPv4, "nat", nil, c.rules...) {
			if strings.Contains(r.Text, "NETMAP") {
				if got := exposuretest.Statements(r.Statements); got != c.want {
					t.Errorf("%s: %s", name, got)
				}
			}
		}
	}
}

const testSets = `create hosts hash:ip family inet timeout 0
add hosts 192.0.2.1 timeout 60
add hosts 192.0.2.2
create hosts6 hash:ip family inet6
add hosts6 2001:db8::1
create pairs hash:ip,port family inet
add pairs 192.0.2.1,tcp:80
add pairs 192.0.2.1,icmp:8/0
create ports bitmap:port range 0-1023
add ports 22
create nets hash:net family inet
add nets 10.0.0.0/8
create macs hash:mac
add macs 00:11:22:33:44:55
create marks hash:ip,mark family inet markmask 0x0000ff00
add marks 192.0.2.1,0x00000100
create devices hash:net,iface family inet
add devices 10.0.0.0/8,eth0
add devices 10.0.0.0/8,physdev:eth1
create triple hash:ip,port,net family inet
add triple 192.0.2.1,udp:53,10.0.0.0/8
create all list:set size 8
add all hosts
add all nets
create mixed list:set size 8
add mixed hosts
add mixed pairs
add mixed hosts6
create odd list:set size 8
add odd hosts
add odd macs
create future hash:future family inet
add future 5
`

func TestSetsInRules(t *testing.T) {
	for _, c := range []struct {
		family     exposure.Family
		rule, want string
	}{
		{4, "-m set --match-set hosts src", "ip saddr in @hosts{0xc0000201, 0xc0000202}"},
		{4, "-m set ! --match-set hosts dst", "ip daddr not in @hosts{0xc0000201, 0xc0000202}"},
		{4, "-m set --match-set hosts src,dst", "ip saddr in @hosts{0xc0000201, 0xc0000202}"},
		{6, "-m set --match-set hosts6 src", "ip6 saddr in @hosts6{0x20010db8000000000000000000000001}"},
		{6, "-m set --match-set hosts src", "0x0 in @hosts{}"},
		{4, "-m set --match-set pairs src,dst", "ip saddr . l4proto . th dport in @pairs{0xc0000201 . 0x6 . 0x50, 0xc0000201 . 0x1 . 0x800}"},
		{4, "-m set ! --match-set pairs src", "0x0 not in @pairs{}"},
		{4, "-m set --match-set ports dst", "th dport in @ports{0x16}"},
		{6, "-m set --match-set ports src", "th sport in @ports{0x16}"},
		{4, "-m set --match-set macs src", "ether saddr in @macs{0x1122334455}"},
		{4, "-m set --match-set marks src,dst", "ip saddr . meta mark & ^0xffff00ff in @marks{0xc0000201 . 0x100}"},
		{4, "-m set --match-set devices src,src", "ip saddr . iifname in @devices{0xa000000-0xaffffff . eth0, 0xa000000-0xaffffff . eth1} [1 if a bridge port]"},
		{4, "-m set --match-set triple dst,dst,src", "ip daddr . l4proto . th dport . ip saddr in @triple{0xc0000201 . 0x11 . 0x35 . 0xa000000-0xaffffff}"},
		{4, "-m set --match-set all src", "ip saddr in @all{0xc0000201, 0xc0000202, 0xa000000-0xaffffff}"},
		{4, "-m set --match-set mixed src,dst", "ip saddr . l4proto . th dport in @mixed{0xc0000201 . 0x0-0xff . 0x0-0xffff, 0xc0000202 . 0x0-0xff . 0x0-0xffff, 0xc0000201 . 0x6 . 0x50, 0xc0000201 . 0x1 . 0x800}"},
		{4, "-m set --match-set mixed src", "ip saddr in @mixed{0xc0000201, 0xc0000202}"},
		{6, "-m set --match-set all src", "0x0 in @all{}"},
		{4, "-m set --match-set odd src", "unknown (ipset odd) in @odd{} unknown: ipset odd lists sets that have no model together"},
		{4, "-m set --match-set future src", "unknown (ipset future) in @future{} unknown: ipset type hash:future has no model"},
		{4, "-m set --match-set absent src", "unknown (ipset absent) in @absent{} unknown: the contents of ipset absent weren't given: give the output of `ipset save` too"},
		{4, "-m set --match-set hosts sideways", "unknown match: -m set --match-set hosts sideways"},
		{4, "-m set --match-set hosts src --return-nomatch", "unknown match: -m set --match-set hosts src --return-nomatch"},
		{4, "-m set --match-set hosts src --packets-gt 5", "unknown match: -m set --match-set hosts src --packets-gt 5"},
		{4, "-m set --match-set hosts src ! --update-counters", "ip saddr in @hosts{0xc0000201, 0xc0000202}"},
		{4, "-j SET --add-set hosts src --exist --timeout 60", "add ip saddr to @hosts{0xc0000201, 0xc0000202} grows"},
		{4, "-j SET --add-set hosts src --del-set nets dst", "add ip saddr to @hosts{0xc0000201, 0xc0000202} grows; delete ip daddr to @nets{0xa000000-0xaffffff} shrinks"},
		{4, "-j SET --add-set all src", "add ip saddr to @hosts{0xc0000201, 0xc0000202} grows; add ip saddr to @nets{0xa000000-0xaffffff} grows"},
		{4, "-j SET --map-set hosts src --map-mark", "meta mark := unknown (-j SET --map-set hosts src --map-mark) up to 0xffffffff"},
		{4, "-j SET --map-set hosts src --map-prio", "nothing: SET --map-set hosts src --map-prio"},
		{6, "-j SET --add-set hosts src", "nothing: SET --add-set hosts src"},
	} {
		sets := NewSets()
		if err := sets.Read("sets", strings.NewReader(testSets), time.Time{}); err != nil {
			t.Fatal(err)
		}
		family := map[exposure.Family]exposure.Family{4: exposure.FamilyIPv4, 6: exposure.FamilyIPv6}[c.family]
		r := readRules(t, family, "filter", sets, "-A INPUT "+c.rule)
		if got := exposuretest.Statements(r[0].Statements); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.rule, got, c.want)
		}
	}
}

// What a rule does to a member, the list that is looked up in another rule has to know.
func TestListsGrowWithTheirMembers(t *testing.T) {
	sets := NewSets()
	if err := sets.Read("sets", strings.NewReader(testSets), time.Time{}); err != nil {
		t.Fatal(err)
	}
	r := readRules(
		t,
		exposure.FamilyIPv4,
		"filter",
		sets,
		"-A INPUT -m set --match-set all src -j DROP",
		"-A INPUT -j SET --add-set hosts src",
	)
	if m := r[0].Statements[0].(exposure.Match); !m.In.Grows || m.In.Shrinks {
		t.Errorf("%+v", m.In)
	}
}
