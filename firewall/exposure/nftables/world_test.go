package nftables

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall/backendtest"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// What programs write, as they write it: each script with the texts of the unknowns that it has for
// good reason. Anything else that comes out unknown is a gap in the reader.
var worlds = []struct {
	name, program, script string
	unknowns              []string
	// rules that must come out so, by their text.
	texts []string
}{
	{name: "docker", program: "iptables-nft-restore", script: `
*filter
:INPUT ACCEPT
:FORWARD DROP
:OUTPUT ACCEPT
:DOCKER -
:DOCKER-ISOLATION-STAGE-1 -
:DOCKER-ISOLATION-STAGE-2 -
:DOCKER-USER -
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD -i docker0 -o docker0 -j ACCEPT
-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
-A DOCKER-USER -j RETURN
COMMIT
*nat
:PREROUTING ACCEPT
:INPUT ACCEPT
:OUTPUT ACCEPT
:POSTROUTING ACCEPT
:DOCKER -
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A POSTROUTING -s 172.17.0.2/32 -d 172.17.0.2/32 -p tcp -m tcp --dport 80 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 9090 -j DNAT --to-destination 172.17.0.2:80
COMMIT
*raw
:PREROUTING ACCEPT
-A PREROUTING -d 172.17.0.2/32 ! -i docker0 -j DROP
COMMIT
`, texts: []string{
		`iifname != "docker0" tcp dport 9090 counter dnat to 172.17.0.2:80`,
		`fib daddr type local counter jump DOCKER`,
		`oifname != "docker0" ip saddr 172.17.0.0/16 counter masquerade`,
	}},
	{name: "ufw", program: "iptables-nft-restore", script: `
*filter
:INPUT DROP
:FORWARD DROP
:OUTPUT ACCEPT
:ufw-before-input -
:ufw-after-input -
:ufw-user-input -
:ufw-user-limit -
:ufw-user-limit-accept -
:ufw-not-local -
:ufw-logging-deny -
:ufw-skip-to-policy-input -
:ufw-reject-input -
:ufw-track-input -
-A INPUT -j ufw-before-input
-A INPUT -j ufw-after-input
-A INPUT -j ufw-reject-input
-A INPUT -j ufw-track-input
-A ufw-before-input -i lo -j ACCEPT
-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-input -m conntrack --ctstate INVALID -j ufw-logging-deny
-A ufw-before-input -m conntrack --ctstate INVALID -j DROP
-A ufw-before-input -p icmp --icmp-type destination-unreachable -j ACCEPT
-A ufw-before-input -p icmp --icmp-type echo-request -j ACCEPT
-A ufw-before-input -p udp --sport 67 --dport 68 -j ACCEPT
-A ufw-before-input -j ufw-not-local
-A ufw-before-input -p udp -d 224.0.0.251 --dport 5353 -j ACCEPT
-A ufw-before-input -j ufw-user-input
-A ufw-not-local -m addrtype --dst-type LOCAL -j RETURN
-A ufw-not-local -m addrtype --dst-type MULTICAST -j RETURN
-A ufw-not-local -m addrtype --dst-type BROADCAST -j RETURN
-A ufw-not-local -m limit --limit 3/min --limit-burst 10 -j ufw-logging-deny
-A ufw-not-local -j DROP
-A ufw-logging-deny -m conntrack --ctstate INVALID -m limit --limit 3/min --limit-burst 10 -j RETURN
-A ufw-logging-deny -m limit --limit 3/min --limit-burst 10 -j LOG --log-prefix "[UFW BLOCK] "
-A ufw-after-input -p udp --dport 137 -j ufw-skip-to-policy-input
-A ufw-skip-to-policy-input -j DROP
-A ufw-user-input -p tcp --dport 22 -m conntrack --ctstate NEW -m recent --set
-A ufw-user-input -p tcp --dport 22 -m conntrack --ctstate NEW -m recent --update --seconds 30 --hitcount 6 -j ufw-user-limit
-A ufw-user-input -p tcp --dport 22 -j ufw-user-limit-accept
-A ufw-user-input -p tcp --dport 80 -m comment --comment "'dapp_Apache'" -j ACCEPT
-A ufw-user-input -p tcp -m multiport --dports 137,138,5000:5010 -s 10.0.0.0/8 -j ACCEPT
-A ufw-user-limit -m limit --limit 3/minute -j LOG --log-prefix "[UFW LIMIT BLOCK] "
-A ufw-user-limit -j REJECT
-A ufw-user-limit-accept -j ACCEPT
COMMIT
`, unknowns: []string{"limit rate 3/minute burst 10", "limit rate 3/minute burst 5", `recent set "DEFAULT"`, `recent update "DEFAULT" seconds 30 hitcount 6`},
		texts: []string{
			"udp sport 67 udp dport 68 counter accept",
			"ip saddr 10.0.0.0/8 tcp dport { 137, 138, 5000-5010 } counter accept",
		}},
	{name: "firewalld", program: "nft", script: `
table inet firewalld {
	ct helper helper-ftp-tcp { type "ftp" protocol tcp; }
	set trusted { type ipv4_addr; flags interval; elements = { 192.0.2.0/24 } }
	chain mangle_PREROUTING { type filter hook prerouting priority mangle + 10; policy accept; jump mangle_PREROUTING_ZONES; }
	chain mangle_PREROUTING_ZONES { goto mangle_PRE_public; }
	chain mangle_PRE_public { return; }
	chain nat_PREROUTING { type nat hook prerouting priority dstnat + 10; policy accept; jump nat_PRE_public; }
	chain nat_PRE_public { ip saddr 10.0.0.0/8 tcp dport 8080 redirect to :80; tcp dport 2222 dnat ip to 192.0.2.9:22; }
	chain nat_POSTROUTING { type nat hook postrouting priority srcnat + 10; policy accept; oifname != "lo" meta nfproto ipv4 masquerade; }
	chain filter_PREROUTING {
		type filter hook prerouting priority filter + 10; policy accept;
		icmpv6 type { nd-router-advert, nd-neighbor-solicit } accept
		meta nfproto ipv6 fib saddr . mark . iif oif missing drop
	}
	chain filter_INPUT {
		type filter hook input priority filter + 10; policy accept;
		ct state { established, related } accept
		ct status dnat accept
		iifname "lo" accept
		ct state invalid drop
		ip saddr @trusted goto filter_IN_public
		iifname "eth0" goto filter_IN_public
		goto filter_IN_public
		reject with icmpx admin-prohibited
	}
	chain filter_IN_public {
		jump filter_IN_public_pre
		tcp dport 22 accept
		udp dport 5353 ip daddr 224.0.0.251 accept
		ip6 daddr fe80::/64 udp dport 546 accept
		tcp dport 8000-8100 ct state { new, untracked } accept
		ip protocol icmp accept
		meta l4proto { icmp, ipv6-icmp } accept
		meta mark 0x64 accept
	}
	chain filter_IN_public_pre { ip saddr { 198.51.100.7, 203.0.113.0/24 } tcp dport 9090 log prefix "x " accept; }
	chain filter_FORWARD {
		type filter hook forward priority filter + 10; policy accept;
		ct state { established, related } accept
		ct status dnat accept
		ip6 daddr { ::/96, ::ffff:0.0.0.0/96, 2002::/24 } reject with icmpv6 addr-unreachable
		reject with icmpx admin-prohibited
	}
	chain raw_PREROUTING { type filter hook prerouting priority raw + 10; policy accept; tcp dport 21 ct helper set "helper-ftp-tcp"; }
}
`, texts: []string{"ct status dnat accept", "tcp dport 2222 dnat ip to 192.0.2.9:22"}},
	{name: "kube-proxy, iptables", program: "iptables-nft-restore", script: `
*filter
:INPUT ACCEPT
:FORWARD ACCEPT
:OUTPUT ACCEPT
:KUBE-SERVICES -
:KUBE-NODEPORTS -
:KUBE-EXTERNAL-SERVICES -
:KUBE-FIREWALL -
:KUBE-FORWARD -
:KUBE-PROXY-FIREWALL -
-A INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-A INPUT -m comment --comment "kubernetes health check service ports" -j KUBE-NODEPORTS
-A INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES
-A INPUT -j KUBE-FIREWALL
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m comment --comment "block incoming localnet connections" -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP
-A KUBE-FORWARD -m conntrack --ctstate INVALID -m nfacct --nfacct-name ct_state_invalid_dropped_pkts -j DROP
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A KUBE-EXTERNAL-SERVICES -p tcp -m comment --comment "default/none has no endpoints" -m addrtype --dst-type LOCAL -m tcp --dport 30099 -j REJECT
COMMIT
*nat
:PREROUTING ACCEPT
:OUTPUT ACCEPT
:POSTROUTING ACCEPT
:KUBE-SERVICES -
:KUBE-NODEPORTS -
:KUBE-POSTROUTING -
:KUBE-MARK-MASQ -
:KUBE-SVC-AAAA -
:KUBE-EXT-AAAA -
:KUBE-SEP-1111 -
:KUBE-SEP-2222 -
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
-A KUBE-SERVICES -d 10.96.0.10/32 -p tcp -m comment --comment "default/web cluster IP" -m tcp --dport 80 -j KUBE-SVC-AAAA
-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
-A KUBE-NODEPORTS -d 127.0.0.0/8 -p tcp -m comment --comment "default/web" -m tcp --dport 30080 -m nfacct --nfacct-name localhost_nps_accepted_pkts -j KUBE-EXT-AAAA
-A KUBE-NODEPORTS -p tcp -m comment --comment "default/web" -m tcp --dport 30080 -j KUBE-EXT-AAAA
-A KUBE-EXT-AAAA -m comment --comment "masquerade traffic" -j KUBE-MARK-MASQ
-A KUBE-EXT-AAAA -j KUBE-SVC-AAAA
-A KUBE-SVC-AAAA ! -s 10.244.0.0/16 -d 10.96.0.10/32 -p tcp -m comment --comment "default/web cluster IP" -m tcp --dport 80 -j KUBE-MARK-MASQ
-A KUBE-SVC-AAAA -m comment --comment "default/web -> 10.244.1.5:8080" -m recent --name KUBE-SEP-1111 --rcheck --seconds 10800 --reap -j KUBE-SEP-1111
-A KUBE-SVC-AAAA -m comment --comment "default/web -> 10.244.1.5:8080" -m statistic --mode random --probability 0.5 -j KUBE-SEP-1111
-A KUBE-SVC-AAAA -m comment --comment "default/web -> 10.244.2.5:8080" -j KUBE-SEP-2222
-A KUBE-SEP-1111 -s 10.244.1.5/32 -m comment --comment "default/web" -j KUBE-MARK-MASQ
-A KUBE-SEP-1111 -p tcp -m comment --comment "default/web" -m tcp -j DNAT --to-destination 10.244.1.5:8080
-A KUBE-SEP-2222 -p tcp -m comment --comment "default/web" -m tcp -j DNAT --to-destination 10.244.2.5:8080
COMMIT
`, unknowns: []string{`recent check "KUBE-SEP-1111" seconds 10800`, `xt match "statistic" revision 0`,
		"ct status no dnat, or no connection"}},
	{name: "kube-proxy, nft", program: "nft", script: `
table ip kube-proxy {
	comment "rules for kube-proxy"
	set cluster-ips { type ipv4_addr; comment "Active ClusterIPs"; elements = { 10.96.0.10 } }
	set nodeport-ips { type ipv4_addr; elements = { 192.0.2.10 } }
	map firewall-ips { type ipv4_addr . inet_proto . inet_service : verdict; }
	map no-endpoint-nodeports { type inet_proto . inet_service : verdict; elements = { tcp . 30099 : goto reject-chain } }
	map no-endpoint-services { type ipv4_addr . inet_proto . inet_service : verdict; elements = { 10.96.0.99 . tcp . 80 : drop } }
	map service-ips { type ipv4_addr . inet_proto . inet_service : verdict; elements = { 10.96.0.10 . tcp . 80 : goto service-web } }
	map service-nodeports { type inet_proto . inet_service : verdict; elements = { tcp . 30080 : goto external-web } }
	set affinity-web { type ipv4_addr; flags dynamic,timeout; timeout 3h; }
	chain reject-chain { reject; }
	chain filter-prerouting { type filter hook prerouting priority -110; ct state new jump firewall-check; }
	chain filter-input { type filter hook input priority -101; ct state new jump nodeport-endpoints-check; ct state new jump service-endpoints-check; }
	chain nat-prerouting { type nat hook prerouting priority dstnat; jump services; }
	chain nat-postrouting { type nat hook postrouting priority srcnat; jump masquerading; }
	chain firewall-check { ip daddr . meta l4proto . th dport vmap @firewall-ips; }
	chain nodeport-endpoints-check { ip daddr @nodeport-ips meta l4proto . th dport vmap @no-endpoint-nodeports; }
	chain service-endpoints-check { ip daddr . meta l4proto . th dport vmap @no-endpoint-services; }
	chain services {
		ip daddr . meta l4proto . th dport vmap @service-ips
		ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports
	}
	chain mark-for-masquerade { meta mark set meta mark or 0x4000; }
	chain masquerading { meta mark & 0x4000 == 0 return; meta mark set meta mark xor 0x4000; masquerade fully-random; }
	chain external-web { jump mark-for-masquerade; goto service-web; }
	chain service-web {
		ip daddr 10.96.0.10 tcp dport 80 ip saddr != 10.244.0.0/16 jump mark-for-masquerade
		ip saddr @affinity-web goto endpoint-1
		numgen random mod 2 vmap { 0 : goto endpoint-1, 1 : goto endpoint-2 }
	}
	chain endpoint-1 { ip saddr 10.244.1.5 jump mark-for-masquerade; update @affinity-web { ip saddr } ; meta l4proto tcp dnat to 10.244.1.5:8080; }
	chain endpoint-2 { meta l4proto tcp dnat to 10.244.2.5:8080; }
}
`, texts: []string{"ip daddr . meta l4proto . th dport vmap @service-ips", "meta mark set meta mark | 0x00004000"}},
	{name: "fail2ban", program: "nft", script: `
table inet f2b-table {
	set addr-set-sshd { type ipv4_addr; flags interval; elements = { 203.0.113.5, 198.51.100.0/24 } }
	set addr6-set-sshd { type ipv6_addr; elements = { 2001:db8::bad } }
	chain f2b-chain {
		type filter hook input priority filter - 1; policy accept;
		tcp dport { 22, 2222 } ip saddr @addr-set-sshd reject with icmp port-unreachable
		tcp dport { 22, 2222 } ip6 saddr @addr6-set-sshd reject with icmpv6 port-unreachable
	}
}
`, texts: []string{"tcp dport { 22, 2222 } ip saddr @addr-set-sshd reject with icmp port-unreachable"}},
	{name: "an administrator", program: "nft", script: `
flush ruleset
define wan = "eth0"
table inet filter {
	set blackhole { type ipv4_addr; flags timeout, dynamic; timeout 10m; size 65536; }
	set admins { type ipv4_addr . inet_service; flags interval; elements = { 192.0.2.0/24 . 22, 192.0.2.7 . 1-1024 } }
	chain input {
		type filter hook input priority filter; policy drop;
		iif lo accept
		iifname $wan ip saddr { 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 } drop
		ct state vmap { established : accept, related : accept, invalid : drop }
		ip protocol icmp icmp type { destination-unreachable, echo-request, time-exceeded } limit rate 10/second accept
		ip6 nexthdr icmpv6 accept
		tcp flags & (fin|syn|rst|psh|ack|urg) == 0x0 drop
		tcp flags & (syn|rst) == syn|rst drop
		ip saddr @blackhole drop
		ip saddr . tcp dport @admins accept
		tcp dport 80 meter http { ip saddr limit rate over 20/second } add @blackhole { ip saddr } drop
		tcp dport { http, https } ct count 100 accept
		udp dport 51820 accept comment "wireguard"
		meta pkttype { broadcast, multicast } drop
		log prefix "dropped: " limit rate 1/second
		counter reject with icmpx port-unreachable
	}
	chain forward { type filter hook forward priority filter; policy drop; tcp flags syn tcp option maxseg size set rt mtu; iifname "wg0" oifname $wan accept; }
}
table ip nat { chain prerouting { type nat hook prerouting priority dstnat; iifname $wan dnat to tcp dport map { 8080 : 10.0.0.2, 8443 : 10.0.0.3 }; }
}
table netdev early { chain ingress { type filter hook ingress device lo priority -500; ip frag-off & 0x1fff != 0 counter drop; tcp flags & (fin|syn) == (fin|syn) drop; fib daddr . iif type != { local, broadcast, multicast } drop; }
}
`, unknowns: []string{"limit rate 10/second burst 5", "ct count 100", "limit rate 1/second burst 5", "rt mtu"}},
}

func TestWorlds(t *testing.T) {
	for _, w := range worlds {
		t.Run(w.name, func(t *testing.T) {
			backendtest.Isolate(t)
			args := map[string][]string{"nft": {"-f", "-"}}[w.program]
			script := w.script
			// counters that the kernel must be told of first; their look-ups always hold
			if strings.Contains(script, "nfacct") {
				script = strings.ReplaceAll(
					script,
					"-m nfacct --nfacct-name ct_state_invalid_dropped_pkts ",
					"",
				)
				script = strings.ReplaceAll(
					script,
					"-m nfacct --nfacct-name localhost_nps_accepted_pkts ",
					"",
				)
			}
			backendtest.Program(t, script, w.program, args...)
			rs := read(t, Options{})
			met := map[string]bool{}
			texts := map[string]bool{}
			for _, r := range rulesOf(rs) {
				texts[r.Text] = true
				for _, s := range r.Statements {
					if u, ok := s.(exposure.Unknown); ok {
						met[u.Text] = true
						if u.Effect || !slices.Contains(w.unknowns, u.Text) {
							t.Errorf(
								"%s: unknown %q (effect %v) in %s",
								r.Where(),
								u.Text,
								u.Effect,
								r.Text,
							)
						}
					}
				}
				for _, set := range setsOf(r) {
					if set.Unknown != "" {
						t.Errorf("%s: set %s: %s", r.Where(), set.Name, set.Unknown)
					}
				}
				if r.Text == "" || strings.Contains(r.Text, "__") ||
					strings.Contains(r.Text, "%!") {
					t.Errorf("%s: text %q", r.Where(), r.Text)
				}
			}
			for _, u := range w.unknowns {
				if !met[u] {
					t.Errorf("no unknown %q", u)
				}
			}
			for _, text := range w.texts {
				if !texts[text] {
					t.Errorf(
						"no rule %q in\n%s",
						text,
						strings.Join(slices.Sorted(maps.Keys(texts)), "\n"),
					)
				}
			}
		})
	}
}

// setsOf are the sets that a rule's statements refer to.
func setsOf(r *exposure.Rule) []*exposure.Set {
	var out []*exposure.Set
	for _, s := range r.Statements {
		switch s := s.(type) {
		case exposure.Match:
			out = append(out, s.In)
		case exposure.VerdictMap:
			out = append(out, s.In)
		case exposure.SetUpdate:
			out = append(out, s.Set)
		}
	}
	return out
}
