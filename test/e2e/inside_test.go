package e2e

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/audit"
	"github.com/portgrave/portgrave/test/lab"
)

// Packets that are forwarded to a container meet its own rules and routes, and so do the answers.
// Who listens there is known; the host's own sockets take nothing of what is forwarded.
func TestExplainLooksIntoTheContainer(t *testing.T) {
	lab.RequireRoot(t)
	const client = "203.0.113.10"
	one := "table ip t { chain p { type nat hook prerouting priority -100; tcp dport 8080 dnat to AT:80; }; }"
	number := 100
	for name, c := range map[string]struct {
		host     string   // rules of nft
		inside   string   // iptables-save in the container
		commands []string // of ip, in the container
		to       string   // if not the host's 198.51.100.10:8080
		reason   audit.Reason
		says     string
	}{
		"nothing in the way":   {host: one, reason: audit.Connects},
		"no route back":        {host: one, commands: []string{"route del default"}, reason: audit.ReplyLost, says: "no route to " + client},
		"a blackhole inside":   {host: one, commands: []string{"route add blackhole 203.0.113.0/24"}, reason: audit.ReplyLost, says: "blackhole"},
		"its INPUT":            {host: one, inside: "-A INPUT -s 203.0.113.0/24 -j DROP", reason: audit.DroppedHere, says: "chain INPUT"},
		"its INPUT for others": {host: one, inside: "-A INPUT -s 10.0.0.0/8 -j DROP", reason: audit.Connects},
		"its OUTPUT":           {host: one, inside: "-A OUTPUT -d 203.0.113.0/24 -j DROP", reason: audit.ReplyLost, says: "chain OUTPUT"},
		"one of two is dead": {host: "table ip t { chain p { type nat hook prerouting priority -100; " +
			"tcp dport 8080 dnat to numgen random mod 2 map { 0 : AT . 80, 1 : AT . 99 }; }; }", reason: audit.NothingListens, says: ":99"},
		"a dead one":                 {host: strings.Replace(one, ":80", ":99", 1), reason: audit.NothingListens},
		"its loopback":               {host: strings.Replace(one, ":80", ":81", 1), reason: audit.BoundElsewhere},
		"its own address":            {to: "AT:80", reason: audit.Connects},
		"its loopback, direct":       {to: "AT:81", reason: audit.BoundElsewhere},
		"nothing there, direct":      {to: "AT:22", reason: audit.NothingListens},
		"an unused neighbour":        {to: "172.17.0.250:22", reason: audit.Connects, says: "another machine"},
		"a broadcast address":        {to: "172.17.0.255:22", reason: audit.NothingListens},
		"another machine altogether": {to: "10.20.0.99:22", reason: audit.Connects, says: "another machine"},
	} {
		number++
		at := fmt.Sprintf("172.17.0.%d", number) // other worlds have containers too
		t.Run(name, func(t *testing.T) {
			w := lab.New(t)
			w.Host.ListenTCP(22)
			w.Container.AddAddress("eth0", netip.MustParsePrefix(at+"/24"))
			w.Container.ListenTCPAt(netip.MustParseAddrPort(at + ":80"))
			w.Container.ListenTCPAt(netip.MustParseAddrPort("127.0.0.1:81"))
			for _, command := range c.commands {
				w.Container.Run("ip", strings.Fields(command)...)
			}
			if c.inside != "" {
				w.Container.Run("iptables-legacy", strings.Fields(c.inside)...)
			}
			if c.host != "" {
				w.Host.NFT(strings.ReplaceAll(c.host, "AT", at))
			}
			to := netip.MustParseAddrPort("198.51.100.10:8080")
			if c.to != "" {
				to = netip.MustParseAddrPort(strings.Replace(c.to, "AT", at, 1))
			}
			i := install(t, w, "version: 1\nservices: []\n")
			x := i.explain(
				"--from",
				client,
				"--to",
				to.Addr().String(),
				"--port",
				fmt.Sprint(to.Port()),
				"--interface",
				"eth0",
			)
			if x.Reason != c.reason || x.Connects != (c.reason == audit.Connects) ||
				!strings.Contains(x.Summary, c.says) {
				t.Errorf("%s, connects %v: %s", x.Reason, x.Connects, x.Summary)
			}
			told := slices.ContainsFunc(x.Steps, func(s exposure.Step) bool {
				return (s.Hook == "namespace" || s.Hook == "socket") &&
					(c.says == "another machine" || strings.Contains(s.Effect, c.says))
			})
			if told != (c.reason != audit.Connects) {
				t.Errorf("of %s the steps say: %+v", x.Reason, x.Steps)
			}
			if x.Listener != nil && to.Port() == 22 {
				t.Errorf("%s listens", x.Listener.Process)
			}
			if strings.Contains(x.Summary, "another machine") {
				return // which the lab doesn't have
			}
			open, all := 0, 3
			if c.reason == audit.NothingListens { // perhaps at one of several
				all = 12
			}
			for range all {
				if w.Internet.Connect(to) == lab.Open {
					open++
				}
			}
			if x.Connects != (open == all) {
				t.Errorf("%d of %d connections came about: %s", open, all, x.Summary)
			}
			if c.to != "" {
				return
			}
			for _, row := range i.audit().Exposures {
				if row.Port != 8080 || row.Interface != "eth0" {
					continue
				}
				certain := row.Reachable.Certain.Contains(netip.MustParseAddr(client))
				closed := c.reason == audit.ReplyLost || c.reason == audit.DroppedHere ||
					c.reason == audit.BoundElsewhere
				if certain == closed {
					t.Errorf(
						"%d of %d connections came about, certain: %v: %q",
						open,
						all,
						certain,
						row.DecidedBy,
					)
				}
				told := strings.Join(row.DecidedBy, "; ") + string(row.Finding)
				for _, f := range i.audit().Findings {
					told += f.Detail + string(f.Kind)
				}
				if c.reason == audit.NothingListens && !strings.Contains(told, "nothing listens") {
					t.Errorf("nothing of %s: %s", c.reason, told)
				}
			}
		})
	}
}
