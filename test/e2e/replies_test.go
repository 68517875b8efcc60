package e2e

import (
	"encoding/json"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall/exposure/audit"
	"github.com/portgrave/portgrave/test/lab"
)

// Packets come in, and answers are lost: explain says what connects see, and names what loses them.
func TestExplainFollowsTheAnswer(t *testing.T) {
	lab.RequireRoot(t)
	t.Parallel()
	const client, client6 = "203.0.113.10", "2001:db8:113::10"
	for name, c := range map[string]struct {
		rules    string // of nft, iptables-save or ip6tables-save
		commands []string
		six      bool
		port     string // 80: of the host; 8080: of the container
		to       string // the dialled address; "": that of eth0
		args     string
		lost     string // "": it connects
	}{
		"nothing in the way":    {},
		"nothing in the way, 6": {six: true},
		"the container":         {port: "8080"},
		"output drops":          {rules: "table inet f { chain o { type filter hook output priority 0; policy drop; ip daddr 10.0.0.0/8 accept; }; }", lost: "inet f chain o: policy drop"},
		"output lets answers out": {rules: "table inet f { chain o { type filter hook output priority 0; policy drop; " +
			"ct state established,related accept; meta l4proto ipv6-icmp accept; }; }", six: true},
		"output of iptables drops": {rules: "*filter\n:OUTPUT ACCEPT\n-A OUTPUT -d 203.0.113.0/24 -p tcp -m tcp --sport 80 -j REJECT\nCOMMIT\n",
			lost: "ip filter chain OUTPUT: "},
		"output of ip6tables drops": {rules: "*filter\n:OUTPUT ACCEPT\n-A OUTPUT -p tcp -m conntrack --ctdir REPLY -j DROP\nCOMMIT\n", six: true,
			lost: "ip6 filter chain OUTPUT: "},
		"postrouting drops": {rules: "table ip f { chain p { type filter hook postrouting priority 0; oifname eth0 tcp sport 80 drop; }; }",
			lost: "ip f chain p: oifname"},
		"the container's answers": {rules: "table inet f { chain fw { type filter hook forward priority 0; iifname docker0 drop; }; }", port: "8080",
			lost: "inet f chain fw: iifname"},
		"a blackhole": {commands: []string{"route add blackhole 203.0.113.0/24"}, lost: "blackhole 203.0.113.0/24"},
		"unreachable": {commands: []string{"-6 route add unreachable 2001:db8:113::/64"}, six: true, lost: "unreachable 2001:db8:113::/64"},
		"no default route": {commands: []string{"route del default"}, args: "--interface eth0",
			lost: "no route to " + client},
		"no way back for the container": {commands: []string{"route add prohibit 203.0.113.0/24"}, port: "8080", lost: "prohibit 203.0.113.0/24"},
		"a tunnel for all": {commands: []string{"tuntap add wg0 mode tun", "addr add 10.64.0.2/32 dev wg0", "link set wg0 up",
			"route add default dev wg0 table 51820", "rule add not fwmark 51820 table 51820", "rule add table main suppress_prefixlength 0"},
			lost: "tunnel wg0"},
		"the address of a tunnel for all": {commands: []string{"tuntap add wg0 mode tun", "addr add 10.200.0.1/24 dev wg0",
			"link set wg0 up", "route add default dev wg0 table 51820", "rule add not fwmark 51820 table 51820",
			"rule add table main suppress_prefixlength 0"}, to: "10.200.0.1", args: "--interface eth0", lost: "tunnel wg0"},
		"a tunnel of another kind for all": {commands: []string{"link add wg0 type veth peer name wg1",
			"addr add 10.200.0.1/24 dev wg0", "link set wg0 up", "link set wg1 up", "route add default dev wg0 table 51820",
			"rule add not fwmark 51820 table 51820", "rule add table main suppress_prefixlength 0"}, lost: "tunnel wg0"},
		"its address": {commands: []string{"link add wg0 type veth peer name wg1",
			"addr add 10.200.0.1/24 dev wg0", "link set wg0 up", "link set wg1 up", "route add default dev wg0 table 51820",
			"rule add not fwmark 51820 table 51820", "rule add table main suppress_prefixlength 0"},
			to: "10.200.0.1", args: "--interface eth0", lost: "tunnel wg0"},
		"the address of a tunnel for some": {commands: []string{"tuntap add wg0 mode tun", "addr add 10.200.0.1/24 dev wg0",
			"link set wg0 up"}, to: "10.200.0.1", args: "--interface eth0"},
		"a table for the answers of a port": {commands: []string{"route add blackhole default table 77", "rule add ipproto tcp sport 80 table 77"},
			lost: "blackhole default in table 77"},
		"a table for the answers of other ports": {commands: []string{"route add blackhole default table 77", "rule add ipproto tcp sport 81-90 table 77"}},
		"a tunnel, and answers keep the connection's mark": {
			rules: "table ip f { chain p { type filter hook prerouting priority mangle; iif eth0 ct state new ct mark set 51820; }; " +
				"chain o { type route hook output priority mangle; ct mark 51820 meta mark set ct mark; }; }",
			commands: []string{"tuntap add wg0 mode tun", "addr add 10.64.0.2/32 dev wg0", "link set wg0 up",
				"route add default dev wg0 table 51820", "rule add not fwmark 51820 table 51820", "rule add table main suppress_prefixlength 0"}},
		"a tunnel, and the table mangle marks": {
			rules: "*mangle\n:OUTPUT ACCEPT\n-A OUTPUT -p tcp -m tcp --sport 80 -j MARK --set-mark 51820\nCOMMIT\n",
			commands: []string{"tuntap add wg0 mode tun", "addr add 10.64.0.2/32 dev wg0", "link set wg0 up",
				"route add default dev wg0 table 51820", "rule add not fwmark 51820 table 51820", "rule add table main suppress_prefixlength 0"}},
		"a tunnel for IPv6, and a chain of type route marks": {six: true,
			rules: "table ip6 f { chain o { type route hook output priority mangle; tcp sport 80 meta mark set 51820; }; }",
			commands: []string{"tuntap add wg0 mode tun", "link set wg0 up", "-6 route add default dev wg0 table 51820",
				"-6 rule add not fwmark 51820 table 51820", "-6 rule add table main suppress_prefixlength 0"}},
		"a tunnel, and a filter chain marks beside one of type route": {
			rules: "table ip f { chain o { type route hook output priority mangle; ip daddr 8.8.8.8 meta mark set 9; }; " +
				"chain f { type filter hook output priority mangle; tcp sport 80 meta mark set 9; }; }",
			commands: []string{"tuntap add wg0 mode tun", "link set wg0 up", "route add default dev wg0 table 99",
				"rule add fwmark 9 table 99"}},
		"a tunnel by device routes": {commands: []string{"tuntap add tun9 mode tun", "addr add 10.64.0.2/32 dev tun9", "link set tun9 up",
			"route add 0.0.0.0/1 dev tun9", "route add 128.0.0.0/1 dev tun9"}, lost: "tunnel tun9"},
		"a tunnel with a way for answers": {commands: []string{"tuntap add wg0 mode tun", "addr add 10.64.0.2/32 dev wg0", "link set wg0 up",
			"route add default dev wg0 table 51820", "rule add table 51820", "rule add from 198.51.100.10 table main",
			"rule add table main suppress_prefixlength 0"}},
		"marks at the priority of NAT": {
			rules: "table ip f { chain i { type filter hook input priority 0; ct state established accept; }; " +
				"chain o { type route hook output priority -100; meta mark set 1; }; }",
			commands: []string{"rule add fwmark 1 blackhole"}, lost: "a routing rule refuses"},
		"a port rewritten behind conntrack": {
			rules: "table ip f { chain p { type filter hook prerouting priority -50; tcp dport 81 tcp dport set 80; }; " +
				"chain i { type filter hook input priority 0; ct state established accept; }; }",
			port: "81", lost: "isn't translated back"},
		"a chain at the priority of source NAT": {port: "8080",
			rules: "table ip f { chain p { type filter hook postrouting priority 100; counter; }; }"},
		"answers to an unusual port alone": {
			rules: "table ip f { chain o { type filter hook output priority 0; policy drop; tcp dport 25 accept; }; }",
			lost:  "ip f chain o: policy drop"},
		"marks that routes need": {
			rules: "table ip f { chain i { type filter hook prerouting priority -150; iifname eth0 ct mark set 1; }; " +
				"chain o { type route hook output priority -150; meta mark set ct mark; }; }",
			commands: []string{"route add unreachable default table 100", "rule add not fwmark 1 table 100 priority 100", "rule add table local priority 50"},
			lost:     "unreachable default in table 100"},
	} {
		t.Run(name, func(t *testing.T) {
			w := lab.New(t)
			w.Host.ListenTCP(80)
			w.Container.ListenTCP(80)
			w.Publish("tcp", 8080, 80)
			switch {
			case strings.HasPrefix(c.rules, "*") && c.six:
				restore(w, "ip6tables-nft-restore", c.rules)
			case strings.HasPrefix(c.rules, "*"):
				restore(w, "iptables-legacy-restore", c.rules)
			case c.rules != "":
				w.Host.NFT(c.rules)
			}
			for _, command := range c.commands {
				w.Host.Run("ip", strings.Fields(command)...)
			}
			from, to, port := client, "198.51.100.10", c.port
			if c.six {
				from, to = client6, "2001:db8:100::10"
			}
			if port == "" {
				port = "80"
			}
			if c.to != "" {
				to = c.to
				w.Router.Run("ip", "route", "add", to, "via", "198.51.100.10")
			}
			i := install(t, w, "version: 1\nservices: []\n")
			x := i.explain(
				append(
					[]string{"--from", from, "--to", to, "--port", port},
					strings.Fields(c.args)...)...)
			answer := w.Internet.Connect(
				netip.MustParseAddrPort(
					net.JoinHostPort(to, port),
				),
			)
			if x.Connects != (answer == lab.Open) || x.Connects != (c.lost == "") ||
				x.Verdict != "allow" {
				t.Errorf(
					"the connection is %v; explain says %s, %s: %s",
					answer,
					x.Verdict,
					x.Reason,
					x.Summary,
				)
			}
			if x.Replies == nil {
				t.Fatalf("nothing of replies: %s", x.Summary)
			}
			if c.lost != "" &&
				(x.Reason != audit.ReplyLost || !strings.Contains(x.Replies.LostTo, c.lost) || !strings.Contains(x.Summary, "answers are lost")) {
				t.Errorf("%s, lost to %q: %s", x.Reason, x.Replies.LostTo, x.Summary)
			}
			if c.lost == "" && (x.Replies.LostTo != "" || x.Replies.Interface != "eth0") {
				t.Errorf("answers leave by %q, lost to %q", x.Replies.Interface, x.Replies.LostTo)
			}
		})
	}
}

// explain is what explain says, as JSON. Its exit code is 2 unless it connects.
func (i *installation) explain(args ...string) (x audit.Explanation) {
	i.t.Helper()
	if err := json.Unmarshal([]byte(i.verb(append([]string{"explain", "-o", "json"}, args...)...)), &x); err != nil {
		i.t.Fatal(err)
	}
	return x
}

// With --to an address of another interface, and a client behind a router, packets come by that
// interface, where source validation may refuse what is answered elsewhere.
func TestExplainTakesTheInterfaceOfTheAddress(t *testing.T) {
	lab.RequireRoot(t)
	t.Parallel()
	w := lab.New(t)
	w.Host.ListenTCP(80)
	w.Host.Sysctl("net.ipv4.conf.eth1.rp_filter", "1")
	i := install(t, w, "version: 1\nservices: []\n")
	far, near := netip.MustParseAddr("8.8.8.8"), w.Office.Addr4()
	for _, from := range []netip.Addr{far, near} {
		x := i.explain("--from", from.String(), "--to", "10.20.0.1", "--port", "80")
		got := w.ProbeEach(w.Office, []lab.Question{{Source: from, To: netip.MustParseAddrPort("10.20.0.1:80")}})[0]
		if x.Interface != "eth1" || x.Connects != (got == lab.Open) {
			t.Errorf("from %v by %s: %s, and the port is %v", from, x.Interface, x.Summary, got)
		}
	}
}

// A packet may go to one of several targets: each is listed, and one that refuses makes connects
// false.
func TestExplainListsTargets(t *testing.T) {
	lab.RequireRoot(t)
	t.Parallel()
	w := lab.New(t)
	w.Host.ListenTCP(80)
	w.Container.ListenTCP(80)
	w.Host.NFT(`table ip t { chain p { type nat hook prerouting priority -100;
		tcp dport 8080 redirect to :80-81
		tcp dport 8081 numgen random mod 2 vmap { 0 : goto a, 1 : goto b }
		tcp dport 8082 dnat to numgen random mod 2 map { 0 : 172.17.0.2, 1 : 172.17.0.2 } : 80
		tcp dport 8083 dnat to 172.17.0.2:80
	}
	chain a { tcp dport 8081 dnat to 172.17.0.2:80
	}
	chain b { tcp dport 8081 dnat to 172.17.0.3:80
	}
	chain f { type filter hook forward priority 0; ip daddr 172.17.0.3 drop
	}
	}`)
	i := install(t, w, "version: 1\nservices: []\n")
	for port, want := range map[string]struct {
		connects bool
		targets  string
	}{
		"8080": {false, "198.51.100.10:80 connects, 198.51.100.10:81 nothing-listens"},
		"8081": {false, "172.17.0.2:80 connects, 172.17.0.3:80 dropped-here"},
		"8082": {true, "172.17.0.2:80 connects"},
		"8083": {true, "172.17.0.2:80 connects"},
	} {
		x := i.explain("--from", "203.0.113.10", "--port", port)
		var targets []string
		for _, x := range x.Targets {
			targets = append(targets, x.Address+" "+x.Reason)
		}
		if got := strings.Join(targets, ", "); x.Connects != want.connects || got != want.targets {
			t.Errorf("port %s: connects %v, %s: %s", port, x.Connects, got, x.Summary)
		}
		open, all := 0, 20
		for range all {
			if w.Internet.Connect(netip.MustParseAddrPort("198.51.100.10:"+port)) == lab.Open {
				open++
			}
		}
		// The kernel takes the first port of a range for as long as it is free.
		if open == 0 || want.connects && open < all || port == "8081" && open == all {
			t.Errorf("port %s: %d of %d connections came about", port, open, all)
		}
	}
}
