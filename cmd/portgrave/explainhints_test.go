package main

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/audit"
)

// A command names the source, address, protocol and port of the question; where it can't, there is
// none.
func TestForeignHints(t *testing.T) {
	const user = "DOCKER-USER"
	for _, c := range []struct {
		owner, table, chain, hook, from, to, effect string
		want                                        string
	}{
		{"ufw", "filter", "ufw-user-input", "input", "203.0.113.7", "192.0.2.10", "",
			"ufw prepend allow proto tcp from 203.0.113.7 to 192.0.2.10 port 8080"},
		{"ufw", "filter", "ufw-reject-forward", "forward", "203.0.113.7", "172.17.0.2", "",
			"ufw route prepend allow proto tcp from 203.0.113.7 to 172.17.0.2 port 8080"},
		{"ufw", "filter", "ufw-user-forward", "forward", "203.0.113.7", "192.0.2.10",
			"match: dnat to 172.17.0.2:80", ""},
		{"ufw", "filter", "ufw-before-input", "input", "203.0.113.7", "192.0.2.10", "", ""},
		{"ufw", "filter", "ufw-before-output", "output", "203.0.113.7", "192.0.2.10", "", ""},
		{"firewalld", "firewalld", "filter_IN_public", "input", "203.0.113.7", "192.0.2.10", "",
			`firewall-cmd --zone=public --add-rich-rule='rule family="ipv4" ` +
				`source address="203.0.113.7" destination address="192.0.2.10" port port="8080" ` +
				`protocol="tcp" accept'`},
		{"firewalld", "firewalld", "filter_IN_dmz", "input", "2001:db8::7", "2001:db8:1::1", "",
			`firewall-cmd --zone=dmz --add-rich-rule='rule family="ipv6" ` +
				`source address="2001:db8::7" destination address="2001:db8:1::1" port port="8080" ` +
				`protocol="tcp" accept'`},
		{"firewalld", "firewalld", "filter_IN_public_deny", "input", "203.0.113.7", "192.0.2.10", "",
			""},
		{"firewalld", "firewalld", "filter_FORWARD", "forward", "203.0.113.7", "192.0.2.10", "", ""},
		{"docker", "filter", "DOCKER", "forward", "203.0.113.7", "192.0.2.10", "match: jump " + user,
			"iptables -I DOCKER-USER -s 203.0.113.7 -p tcp -m conntrack --ctorigdst 192.0.2.10 " +
				"--ctorigdstport 8080 --ctdir ORIGINAL -j ACCEPT"},
		{"docker", "filter", "DOCKER", "forward", "2001:db8::7", "2001:db8:1::1",
			"match: jump " + user,
			"ip6tables -I DOCKER-USER -s 2001:db8::7 -p tcp -m conntrack --ctorigdst 2001:db8:1::1 " +
				"--ctorigdstport 8080 --ctdir ORIGINAL -j ACCEPT"},
		{"docker", "docker-bridges", "filter-FORWARD", "forward", "203.0.113.7", "192.0.2.10", "", ""},
		{"docker", "raw", "PREROUTING", "prerouting", "203.0.113.7", "172.17.0.2",
			"match: jump " + user, ""},
		{"fail2ban", "filter", "f2b-sshd", "input", "203.0.113.7", "192.0.2.10", "",
			"fail2ban-client set sshd unbanip 203.0.113.7"},
		{"fail2ban", "f2b-table", "f2b-chain", "input", "203.0.113.7", "192.0.2.10", "", ""},
		{"crowdsec", "crowdsec", "c", "input", "203.0.113.7", "192.0.2.10", "",
			"cscli decisions delete --ip 203.0.113.7"},
	} {
		x := audit.Explanation{Reason: audit.DroppedHere, Protocol: "tcp", Port: 8080,
			From: netip.MustParseAddr(c.from), Destination: netip.MustParseAddr(c.to)}
		x.DecidedBy = exposure.Decision{Owner: c.owner, Table: c.table, Chain: c.chain}
		x.Steps = []exposure.Step{{Hook: c.hook, Table: c.table, Chain: "first", Effect: c.effect},
			{Hook: c.hook, Table: c.table, Chain: c.chain, Effect: "match: drop"}}
		got := remedyWords(x, c.from, c.from)
		_, command, _ := strings.Cut(got, ": ")
		if c.want == "" {
			if !strings.HasSuffix(got, "change that one to let it in") {
				t.Errorf("%s, %s: %s", c.owner, c.chain, got)
			}
			continue
		}
		if command != c.want {
			t.Errorf("%s, %s: got %q\nwant %q", c.owner, c.chain, command, c.want)
		}
		if c.owner == "fail2ban" && !strings.Contains(got, "on every port that the ban covers: ") {
			t.Error(got)
		}
		if got := remedyWords(x, "office", "203.0.113.0/24"); c.owner == "fail2ban" &&
			strings.Contains(got, "unban") {
			t.Error(got)
		}
	}
}
