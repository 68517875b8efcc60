package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/policy"
	"github.com/portgrave/portgrave/test/lab"
	"github.com/portgrave/portgrave/test/peers"
)

// oldFirewall is a firewall that an imported policy replaces.
type oldFirewall struct {
	name string
	load func(t *testing.T, w *lab.World)
	// says is what the document must say, besides reproducing the rules.
	says []string
	// never is what it must not say.
	never []string
}

// Ports with listeners, of which the rules open some. 8443 and 2525 are opened by some, and nobody
// listens there.
var (
	importTCP = []uint16{22, 25, 80, 443, 993, 3306, 5060, 6379, 8080}
	importUDP = []uint16{53, 123, 161, 5060, 5353}
)

const established = "-A INPUT -i lo -j ACCEPT\n" +
	"-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n"

// both loads rules for both families.
func both4and6(t *testing.T, w *lab.World, four, six string) {
	restore(w, "iptables-nft-restore", four)
	if six != "" {
		restore(w, "ip6tables-nft-restore", six)
	}
}

var oldFirewalls = []oldFirewall{
	{name: "ufw", load: func(t *testing.T, w *lab.World) {
		peers.Start(t, w.Host, ufwSetup+`
mkdir -p /etc/ufw/applications.d
printf '[Web]\ntitle=web\ndescription=web\nports=80,443/tcp\n' >/etc/ufw/applications.d/web
ufw default deny routed
ufw limit 22/tcp
ufw allow Web
ufw allow from 192.0.2.0/24 to any port 3306 proto tcp comment 'database'
ufw allow from 2001:db8:4000::/36 to any port 3306 proto tcp
ufw allow in on eth1 to any port 53
ufw allow 8443/tcp
ufw deny from 192.88.99.0/25
ufw insert 1 deny from 192.88.99.128/26 to any port 80 proto tcp
ufw --force enable
echo ready
`)
	}, says: []string{"unlisted: deny", "purpose: Web", "per_source: 10/minute, burst: 5", "#  port: 8443"}},
	{name: "firewalld on nftables", load: firewalldWith("nftables"),
		says: []string{"unlisted: deny", "refuse: reject", "per_source: 1/minute", "admins"}},
	{name: "firewalld on iptables", load: firewalldWith("iptables"),
		says: []string{"unlisted: deny", "per_source: 1/minute", "admins"}},
	{name: "iptables-persistent", load: func(t *testing.T, w *lab.World) {
		both4and6(
			t,
			w,
			"*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n"+established+
				`-A INPUT -p icmp -m icmp --icmp-type 8 -s 10.0.0.0/8 -j ACCEPT
-A INPUT -s 203.0.114.0/24 -p tcp -m tcp --dport 22 -m comment --comment "the office" -j ACCEPT
-A INPUT -p tcp -m multiport --dports 80,443 -j ACCEPT
-A INPUT -i eth1 -p tcp --dport 3306 -j ACCEPT
-A INPUT -p esp -j ACCEPT
-A INPUT -p tcp --dport 2525 -j ACCEPT
-A INPUT -d 198.51.100.11/32 -p udp --dport 53 -j ACCEPT
COMMIT
`,
			"*filter\n:INPUT DROP [0:0]\n"+established+
				"-A INPUT -p ipv6-icmp -j ACCEPT\n-A INPUT -p tcp --dport 22 -j ACCEPT\nCOMMIT\n",
		)
	}, says: []string{"unlisted: deny", `purpose: "the office"`, "name: ping", "protocol: esp",
		"addresses: [198.51.100.11]", "#  port: 2525"}, never: []string{"purpose: e2e"}},
	{name: "iptables-legacy, IPv6 forgotten", load: func(t *testing.T, w *lab.World) {
		restore(w, "iptables-legacy-restore", "*filter\n:INPUT DROP [0:0]\n"+established+
			"-A INPUT -p tcp --dport 22 -m connlimit --connlimit-upto 3 -j ACCEPT\n"+
			"-A INPUT -p tcp --dport 443 -m limit --limit 30/min --limit-burst 9 -j ACCEPT\n"+
			"-A INPUT -p tcp --dport 25 -s 128.0.0.0/3 -j ACCEPT\nCOMMIT\n")
	}, says: []string{"unlisted: deny", "name: all-ports", "left out", "connlimit", "per_source: 30/minute, burst: 9"}},
	{name: "Debian's nftables.conf, filled in", load: nftRules(`table inet filter {
	chain input {
		type filter hook input priority filter; policy drop;
		iif "lo" accept
		ct state vmap { invalid : drop, established : accept, related : accept }
		ip saddr 192.88.99.0/26 drop
		tcp dport { 22, 80, 443 } accept comment "front door"
		ip6 saddr 2001:db8:8000::/33 tcp dport 3306 accept
		udp dport 53 ip saddr { 64.0.0.0/3, 192.0.2.0/24 } accept
	}
	chain forward { type filter hook forward priority filter; policy drop; }
	chain output { type filter hook output priority filter; }
}
`), says: []string{"unlisted: deny", "echo: false", `purpose: "front door"`}},
	{name: "Arch's nftables.conf", load: nftRules(`table inet filter {
	chain input {
		type filter hook input priority filter; policy drop
		ct state invalid drop comment "early drop of invalid connections"
		ct state {established, related} accept comment "allow tracked connections"
		iif lo accept comment "allow from loopback"
		ip protocol icmp accept comment "allow icmp"
		meta l4proto ipv6-icmp accept comment "allow icmp v6"
		tcp dport ssh accept comment "allow sshd"
		pkttype host limit rate 5/second counter reject with icmpx type admin-prohibited
		counter
	}
	chain forward {
		type filter hook forward priority filter; policy drop
	}
}
`), says: []string{"unlisted: deny", `purpose: "allow sshd"`}},
	{name: "RHEL's template, with a set", load: nftRules(`table inet nftables_svc {
	set allow { type ipv4_addr; flags interval; elements = { 10.20.0.0/17, 192.0.2.0/24, 203.0.114.7, 192.88.99.8 } }
	set services { type inet_service; elements = { 22, 80 } }
	chain INPUT {
		type filter hook input priority filter + 20; policy accept;
		iif lo accept
		ct state vmap { established : accept, related : accept, invalid : drop }
		tcp dport @services ip saddr @allow accept
		ip protocol icmp icmp type echo-request limit rate 5/second accept
		icmpv6 type { echo-request, nd-neighbor-solicit, nd-neighbor-advert } accept
		reject with icmpx port-unreachable
	}
}
`), says: []string{"unlisted: deny", "refuse: reject", "allow: [allow]", "name: ping"}},
	{name: "NixOS", load: nftRules(`table inet nixos-fw {
	chain rpfilter {
		type filter hook prerouting priority mangle + 10; policy drop;
		meta nfproto ipv4 udp sport . udp dport { 67 . 68, 68 . 67 } accept
		fib saddr . mark . iif oif exists accept
		iifname "eth1" accept
	}
	chain input {
		type filter hook input priority filter; policy drop;
		iifname "lo" accept comment "trusted interfaces"
		ct state vmap { invalid : drop, established : accept, related : accept, new : jump input-allow, untracked : jump input-allow }
		tcp flags syn / fin,syn,rst,ack log prefix "refused connection: " level info
	}
	chain input-allow {
		tcp dport { 22, 80, 443 } accept
		udp dport { 53, 5353 } accept
		icmp type echo-request accept comment "allow ping"
		icmpv6 type != { nd-redirect, 139 } accept
		ip6 daddr fe80::/64 udp dport 546 accept
	}
}
`), says: []string{"unlisted: deny"}},
	{name: "a mail host", load: nftRules(`table inet mail {
	set spammers { type ipv4_addr; flags interval; elements = { 192.88.99.0/25, 64.0.0.0/8, 100.0.0.0/9, 129.1.0.0/16 } }
	chain in {
		type filter hook input priority filter; policy drop;
		iif lo accept
		ct state established,related accept
		tcp dport 25 ip saddr @spammers reject
		tcp dport { 25, 993 } accept comment "mail"
		ip saddr 10.20.0.0/16 accept
		ip6 saddr fd00:20::/48 accept
		tcp dport 22 meta hour "00:00"-"23:59" accept
	}
}
`), says: []string{"unlisted: deny", "except: [spammers]", "name: all-ports", "left out"}},
	{name: "a PBX", load: func(t *testing.T, w *lab.World) {
		both4and6(t, w, "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n"+established+
			`-A INPUT -p udp -m udp --sport 5060 --dport 5060 -j ACCEPT
-A INPUT -s 192.0.2.0/24 -p udp -m udp --dport 5060 -j ACCEPT
-A INPUT -p tcp --dport 5060 -m string --string "friendly-scanner" --algo bm -j DROP
-A INPUT -p tcp --dport 5060 -m hashlimit --hashlimit-upto 20/min --hashlimit-burst 8 --hashlimit-mode srcip --hashlimit-name sip -j ACCEPT
-A INPUT -p tcp --dport 22 -m recent --name SSH --set
-A INPUT -p tcp --dport 22 -m recent --name SSH --update --seconds 60 --hitcount 5 -j DROP
-A INPUT -p tcp --dport 22 -j ACCEPT
-A INPUT -p tcp --dport 80 -m recent --name KNOCK --rcheck --seconds 15 -j ACCEPT
-A INPUT -p tcp --dport 443 -m mac --mac-source 02:00:00:00:00:99 -j ACCEPT
-A INPUT -p tcp --dport 443 -s 128.0.0.0/2 -j ACCEPT
-A INPUT -p tcp --dport 8080 -m time --timestart 09:00 --timestop 17:00 -j ACCEPT
-A INPUT -j DROP
COMMIT
`, "*filter\n:INPUT DROP [0:0]\n"+established+"-A INPUT -p ipv6-icmp -j ACCEPT\nCOMMIT\n")
	}, says: []string{"unlisted: deny", "per_source: 4/minute, burst: 4", "KNOCK", "left out", "sport 5060"}},
	{name: "IPv6 by nexthdr", load: nftRules(`table ip6 filter {
	chain input {
		type filter hook input priority filter; policy drop;
		iif lo accept
		ct state established,related accept
		ip6 nexthdr icmpv6 accept
		ip6 nexthdr esp accept
		ip6 nexthdr tcp tcp dport 993 accept
		ip6 nexthdr udp udp dport { 53, 123 } ip6 saddr 2001:db8:4000::/36 accept
		ip6 saddr 2001:db8:4000::/36 tcp dport 22 accept
		tcp dport 443 accept
	}
}
table ip filter {
	chain input {
		type filter hook input priority filter; policy accept;
		tcp dport { 3306, 6379 } drop
		tcp dport 22 ip saddr != { 10.20.0.0/16, 203.0.114.0/24 } reject
	}
}
`), says: []string{"unlisted: deny", "next header"}, never: []string{"left out"}},
	{name: "default accept", load: nftRules(`table inet few {
	chain input {
		type filter hook input priority filter; policy accept;
		tcp dport { 3306, 6379 } iifname != "lo" reject
		udp dport 161 ip saddr != 10.20.0.0/16 drop
		tcp dport 2525 drop
	}
}
`), says: []string{"refuse: ", "allow: []", "port: 2525"}, never: []string{"unlisted"}},
	{name: "a blocklist", load: nftRules(`table inet bans {
	set bans { type ipv4_addr; flags interval; elements = { 192.88.99.0/26, 64.0.0.0/8 } }
	chain prerouting {
		type filter hook prerouting priority mangle; policy accept;
		ip saddr @bans drop
		ip6 saddr 2001:db8:8000::/33 drop
		tcp dport 2525 drop
	}
}
`), says: []string{"name: all-ports", "Note: rules close ports", "@bans", "except: [bans"}, never: []string{"unlisted"}},
	{name: "a ban list", load: nftRules(`table inet filter {
	set deny4 { type ipv4_addr; flags dynamic, timeout; timeout 5m; elements = { 192.88.99.64 } }
	set deny6 { type ipv6_addr; flags dynamic, timeout; timeout 5m; }
	chain input {
		type filter hook input priority filter; policy drop;
		iif lo accept
		ct state established,related accept
		meta l4proto { icmp, ipv6-icmp } accept
		tcp dport 22 ip saddr @deny4 drop
		tcp dport 22 ip6 saddr @deny6 drop
		tcp dport 22 ct state new limit rate over 1000000/second burst 100000 packets add @deny4 { ip saddr }
		tcp dport 22 ct state new limit rate over 1000000/second burst 100000 packets add @deny6 { ip6 saddr }
		tcp dport { 22, 80, 443 } accept
	}
}
`), says: []string{"per_source: 1000000/second, burst: 100000", "bar 192.88.99.64/32 for a time"}, never: []string{"left out"}},
	{name: "ipsets with timeouts, iptables-legacy", load: func(t *testing.T, w *lab.World) {
		restore(w, "ipset", "create guests hash:net family inet timeout 0\n"+
			"add guests 192.0.2.0/24 timeout 3600\nadd guests 64.0.0.0/4\n"+
			"create one hash:ip family inet\nadd one 192.88.99.7\n"+
			"create bans hash:net family inet timeout 600\nadd bans 96.0.0.0/5\n", "restore")
		restore(w, "iptables-legacy-restore", "*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n"+
			"-A INPUT -m set --match-set bans src -j REJECT\n"+established+
			`-A INPUT -p tcp --dport 22 -m set --match-set guests src -j ACCEPT
-A INPUT -p tcp --dport 3306 -m set --match-set one src -j ACCEPT
-A INPUT -p tcp -m multiport --dports 80,443,8080 -j ACCEPT
COMMIT
`)
		restore(w, "ip6tables-legacy-restore", "*filter\n:INPUT DROP [0:0]\n"+established+
			"-A INPUT -p ipv6-icmp -j ACCEPT\n-A INPUT -p tcp --dport 443 -j ACCEPT\nCOMMIT\n")
	}, says: []string{"left out, since 192.0.2.0/24 gets in by set guests only until", "allow: [one]",
		"bar 96.0.0.0/5 for a time"}},
	{name: "ipsets of many entries", load: func(t *testing.T, w *lab.World) {
		var sets strings.Builder
		sets.WriteString("create partners hash:net family inet\ncreate bans hash:ip family inet\n")
		for i := range 3000 {
			fmt.Fprintf(&sets, "add partners %d.%d.%d.0/25\nadd bans 192.%d.%d.%d\n",
				64+i%64, i/64, i%200, 88+i%3, i/256, i%256)
		}
		restore(w, "ipset", sets.String(), "restore")
		both4and6(t, w, "*filter\n:INPUT DROP [0:0]\n"+established+
			"-A INPUT -m set --match-set bans src -j DROP\n"+
			"-A INPUT -p tcp -m multiport --dports 443,993,3306 -m set --match-set partners src -j ACCEPT\n"+
			"-A INPUT -p tcp --dport 80 -j ACCEPT\nCOMMIT\n",
			"*filter\n:INPUT DROP [0:0]\n"+established+"-A INPUT -p ipv6-icmp -j ACCEPT\nCOMMIT\n")
	}, says: []string{"unlisted: deny", "  partners:", "  bans:", "except: [bans]"}},
}

func nftRules(text string) func(*testing.T, *lab.World) {
	return func(_ *testing.T, w *lab.World) { w.Host.NFT(text) }
}

func firewalldWith(backend string) func(*testing.T, *lab.World) {
	return func(t *testing.T, w *lab.World) {
		peers.Start(t, w.Host, `
rm -f /usr/share/dbus-1/system-services/org.freedesktop.PolicyKit1.service
sed -i 's/^FirewallBackend=.*/FirewallBackend=`+backend+`/' /etc/firewalld/firewalld.conf
mkdir -p /run/dbus /run/firewalld
dbus-daemon --system --nopidfile --fork
firewalld --nofork --nopid &
for n in $(seq 300); do ! firewall-cmd --state >/dev/null 2>&1 || break; sleep 0.1; done
set -x
firewall-cmd --permanent --new-ipset=admins --type=hash:net
for a in 192.0.2.0/24 203.0.114.0/25 192.88.99.8/29 64.64.0.0/16; do firewall-cmd --permanent --ipset=admins --add-entry=$a; done
firewall-cmd --reload
firewall-cmd --zone=public --add-interface=eth0
firewall-cmd --zone=trusted --add-interface=eth1
firewall-cmd --zone=public --remove-service=ssh
firewall-cmd --zone=public --add-rich-rule='rule family=ipv4 source ipset=admins service name=ssh accept'
firewall-cmd --zone=public --add-rich-rule='rule family=ipv4 source ipset=admins port port=3306 protocol=tcp accept'
firewall-cmd --zone=public --add-service=http --add-service=https
firewall-cmd --zone=public --add-rich-rule='rule family=ipv6 source address=2001:db8:8000::/33 service name=https reject'
firewall-cmd --zone=internal --add-source=192.88.99.128/25
firewall-cmd --zone=drop --add-source=96.0.0.0/4
firewall-cmd --zone=public --add-rich-rule='rule family=ipv4 port port=6379 protocol=tcp accept limit value=1/m'
echo ready
wait
`)
	}
}

// A policy that import writes replaces the firewall that it was made from: once that is gone,
// packets are let in as before, from every border of every set of sources, or refused for a reason
// that the policy names.
func TestImportReplacesFirewalls(t *testing.T) {
	lab.RequireRoot(t)
	t.Parallel()
	for _, old := range oldFirewalls {
		t.Run(old.name, func(t *testing.T) {
			t.Parallel()
			replaces(t, old)
		})
	}
}

func replaces(t *testing.T, old oldFirewall) {
	w := lab.New(t)
	for _, port := range importTCP {
		w.Host.ListenTCP(port)
	}
	for _, port := range importUDP {
		w.Host.ListenUDP(port)
	}
	for _, p := range []lab.Protocol{50, 112} {
		w.Host.ListenRaw(p)
	}
	old.load(t, w)
	i := install(t, w, "version: 1\nservices: []\n")
	document := i.verb("import")
	for _, s := range old.says {
		if !strings.Contains(document, s) {
			t.Errorf("the policy does not say %q", s)
		}
	}
	for _, s := range old.never {
		if strings.Contains(document, s) {
			t.Errorf("the policy says %q", s)
		}
	}
	report := i.audit()
	i.write(document)
	i.run("check")
	state := stateOf(t, document)
	var sets []address.Set
	for _, x := range report.Exposures {
		sets = append(sets, x.Reachable.Possible, x.Reachable.Certain)
	}
	rated, reasons := map[firewall.PortRange]bool{}, reasonsOf(document)
	for _, svc := range state.Services {
		sets = append(sets, svc.Sources)
		for _, r := range svc.Ports {
			for port := int(r.First); port <= int(r.Last) && svc.Rate != nil; port++ {
				rated[firewall.PortRange{Protocol: r.Protocol, First: uint16(port), Last: uint16(port)}] = true
			}
		}
	}
	asks := importQuestions(sets)
	before := askAllOf(w, asks)
	w.Host.NFT("flush ruleset")
	for _, program := range []string{"iptables-legacy", "ip6tables-legacy"} {
		w.Host.Run(program, "-P", "INPUT", "ACCEPT")
		w.Host.Run(program, "-F")
	}
	i.run("apply")
	after := askAllOf(w, asks)
	agree, narrower, wrong, limited := 0, 0, 0, 0
	for n, q := range asks {
		was, is := before[n] == lab.Open, after[n] == lab.Open
		port := firewall.PortRange{
			Protocol: firewall.Protocol(q.Over),
			First:    q.To.Port(),
			Last:     q.To.Port(),
		}
		switch {
		case was == is:
			agree++
		case rated[port] && is:
			limited++ // the old limit was used up, for all sources together
		case was && reasons[port]:
			narrower++
		default:
			if wrong++; wrong <= 10 {
				t.Errorf(
					"%v from %v to %v: before %v, after %v",
					port,
					q.Source,
					q.To,
					before[n],
					after[n],
				)
			}
		}
	}
	t.Logf(
		"%-34s %5d probed: %5d agree, %4d narrower for a reason, %4d beyond an old limit, %d wrong",
		old.name,
		len(asks),
		agree,
		narrower,
		limited,
		wrong,
	)
	if wrong > 0 || testing.Verbose() && os.Getenv("PORTGRAVE_SHOW_IMPORT") != "" {
		t.Logf("the policy:\n%.8000s", document)
	}
}

// stateOf is what a policy compiles to.
func stateOf(t *testing.T, document string) firewall.State {
	t.Helper()
	p, err := policy.Parse("imported.yaml", []byte(document))
	if err != nil {
		t.Fatalf("%v\n%s", err, document)
	}
	c, err := p.Compile(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return c.State
}

// reasonsOf are the ports of services that say that somebody was left out.
func reasonsOf(document string) map[firewall.PortRange]bool {
	out := map[firewall.PortRange]bool{}
	for _, part := range strings.Split(document, "- name: ")[1:] {
		if !strings.Contains(part, "left out") {
			continue
		}
		if strings.HasPrefix(part, "ping") || strings.HasPrefix(part, "other-protocols") {
			for _, p := range []firewall.Protocol{firewall.Ping, firewall.ESP, firewall.VRRP} {
				out[firewall.Portless(p)] = true
			}
		}
		p := firewall.TCP
		if strings.Contains(part, "protocol: udp") {
			p = firewall.UDP
		}
		for _, list := range [][]uint16{importTCP, importUDP} {
			for _, port := range list {
				for _, form := range []string{"port: %d\n", "port: [%d", ", %d,", ", %d]"} {
					if strings.Contains(part, fmt.Sprintf(form, port)) {
						out[firewall.PortRange{Protocol: p, First: port, Last: port}] = true
					}
				}
			}
		}
	}
	return out
}

// importAsk is a question, and who asks it.
type importAsk struct {
	lab.Question
	inside bool // from the office, else from the internet
}

// maxImportSources bounds the sources of each node: thousands of borders are sampled evenly.
const maxImportSources = 250

// importQuestions ask every port from the borders of all sets, by both interfaces, and at both
// addresses of the outer one.
func importQuestions(sets []address.Set) (out []importAsk) {
	outer := sampled(beside(sets...))
	inner := []netip.Addr{office4, office6, barred4, barred6, netip.MustParseAddr("10.20.127.255"),
		netip.MustParseAddr("10.20.128.0")}
	add := func(inside bool, source netip.Addr, to []netip.Addr, p lab.Protocol, port uint16) {
		for _, a := range to {
			if a.Is4() == source.Is4() {
				out = append(
					out,
					importAsk{
						lab.Question{Source: source, To: netip.AddrPortFrom(a, port), Over: p},
						inside,
					},
				)
			}
		}
	}
	each := func(inside bool, sources []netip.Addr, to ...netip.Addr) {
		for _, s := range sources {
			for _, port := range importTCP {
				add(inside, s, to, lab.TCP, port)
			}
			for _, port := range importUDP {
				add(inside, s, to, lab.UDP, port)
			}
			for _, p := range []lab.Protocol{lab.Ping, 50, 112} {
				add(inside, s, to, p, 0)
			}
		}
	}
	each(false, outer, host4, host6)
	each(false, outer[:min(len(outer), 20)], second4)
	each(true, inner, inside4, inside6)
	return out
}

func sampled(list []netip.Addr) (out []netip.Addr) {
	step := max(1, len(list)/maxImportSources)
	for n := 0; n < len(list); n += step {
		out = append(out, list[n])
	}
	return out
}

// askAllOf asks the questions, those of each node together.
func askAllOf(w *lab.World, asks []importAsk) []lab.Answer {
	answers := make([]lab.Answer, len(asks))
	for _, inside := range []bool{false, true} {
		from := w.Internet
		if inside {
			from = w.Office
		}
		var list []lab.Question
		var at []int
		for n, q := range asks {
			if q.inside == inside {
				list, at = append(list, q.Question), append(at, n)
			}
		}
		for n, a := range w.ProbeEach(from, list) {
			answers[at[n]] = a
		}
	}
	return answers
}
