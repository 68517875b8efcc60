package e2e

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall/exposure/audit"
	"github.com/portgrave/portgrave/test/lab"
)

// A host that ARP doesn't find gets no packet, whatever its other rules say.
func TestExplainNamesRulesOfARP(t *testing.T) {
	lab.RequireRoot(t)
	w := lab.New(t)
	w.Host.ListenTCP(80)
	w.Host.NFT("table arp n { chain i { type filter hook input priority 0; policy drop; }; }")
	w.Host.Run("ip", "neigh", "flush", "all")
	w.Router.Run("ip", "neigh", "flush", "all")
	i := install(t, w, "version: 1\nservices: []\n")
	at := w.Host.At(80, false)
	x := i.explain(
		"--from",
		w.Internet.Addr4().String(),
		"--to",
		at.Addr().String(),
		"--port",
		"80",
	)
	if w.Internet.Connect(at) == lab.Open || x.Reason != audit.Unclear ||
		!strings.Contains(x.Summary, "ARP") {
		t.Errorf("%s: %s", x.Reason, x.Summary)
	}
	for _, row := range i.audit().Exposures {
		if row.Port == 80 && row.Interface == "eth0" &&
			slices.Contains(row.Addresses, at.Addr().String()) &&
			row.Reachable.Certain.Contains(w.Internet.Addr4()) {
			t.Errorf("certain for %v", row.Reachable.Certain)
		}
	}
}

// Chains of netdev see ARP as well: explain and audit leave connections undecided where one may
// drop it, and name the chain.
func TestExplainNamesNetdevChainsThatDropARP(t *testing.T) {
	lab.RequireRoot(t)
	for name, c := range map[string]struct {
		rules string
		found bool
	}{
		"ingress": {"type filter hook ingress device eth0 priority 0; ether type arp drop;", false},
		"egress":  {"type filter hook egress device eth0 priority 0; meta protocol arp drop;", false},
		"policy": {"type filter hook ingress device eth0 priority 0; policy drop; " +
			"meta protocol { ip, ip6 } accept;", false},
		"map": {"type filter hook ingress device eth0 priority 0; " +
			"meta protocol vmap { ip : accept, arp : drop };", false},
		"policy, open": {"type filter hook ingress device eth0 priority 0; policy drop; " +
			"meta protocol { ip, arp } accept;", true},
		"another device": {"type filter hook ingress device eth1 priority 0; " +
			"ether type arp drop;", true},
		"another port": {"type filter hook ingress device eth0 priority 0; tcp dport 81 drop;", true},
		"any port": {"type filter hook ingress device eth0 priority 0; " +
			"meta l4proto { tcp, udp } th dport 81 drop;", true},
	} {
		t.Run(name, func(t *testing.T) {
			w := lab.New(t)
			w.Host.ListenTCP(80)
			i := install(t, w, "version: 1\nservices: []\n")
			w.Host.NFT("table netdev a { chain c { " + c.rules + " }; }")
			at := w.Host.At(80, false)
			from := w.Internet.Addr4()
			x := i.explain("--from", from.String(), "--to", at.Addr().String(), "--port", "80")
			w.FlushNeighbours()
			open := w.Internet.Connect(at) == lab.Open
			if open != c.found || x.Connects != c.found || !c.found &&
				(x.Reason != audit.Unclear || !strings.Contains(x.Summary, "netdev a chain c") ||
					!strings.Contains(x.Summary, "refuses ARP")) {
				t.Errorf("%s: %s (connects %v)", x.Reason, x.Summary, open)
			}
			for _, row := range i.audit().Exposures {
				if row.Port == 80 && row.Interface == "eth0" &&
					slices.Contains(row.Addresses, at.Addr().String()) &&
					row.Reachable.Certain.Contains(from) != c.found {
					t.Errorf("certain for %v", row.Reachable.Certain)
				}
			}
			t.Logf("connects %v: %s", open, x.Summary)
		})
	}
}

// An answer that leaves by another link needs the next host's link address there.
func TestExplainLooksAtTheAnswersLink(t *testing.T) {
	lab.RequireRoot(t)
	for name, c := range map[string]struct {
		rules string
		six   bool
		found bool
	}{
		"ARP":           {"ingress device eth1 priority 0; ether type arp drop;", false, false},
		"ARP elsewhere": {"ingress device eth1 priority 0; tcp dport 81 drop;", false, true},
		"IPv6": {
			"ingress device eth1 priority 0; icmpv6 type nd-neighbor-advert drop;", true, false,
		},
		"IPv6 elsewhere": {"ingress device eth1 priority 0; tcp dport 81 drop;", true, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := lab.New(t)
			w.Host.ListenUDP(53)
			i := install(t, w, "version: 1\nservices: []\n")
			w.Host.NFT("table netdev a { chain c { type filter hook " + c.rules + " }; }")
			client := w.Office.Addr(c.six)
			server := w.Office.ListenUDP(40000)
			at := w.Host.At(53, c.six)
			x := i.explain("--from", client.String(), "--to", at.Addr().String(),
				"--interface", "eth0", "--protocol", "udp", "--port", "53")
			w.FlushNeighbours()
			got := false
			for range 3 { // the router asks for the host's link address first
				w.Router.SpoofUDP("eth1", netip.AddrPortFrom(client, 40000), at, "question")
				got = got || server.Count() > 0
				time.Sleep(200 * time.Millisecond)
			}
			if got = got || server.Count() > 0; got != c.found || x.Connects != c.found ||
				!c.found && !strings.Contains(x.Summary, "netdev a chain c") {
				t.Errorf("%s: %s (got an answer %v)", x.Reason, x.Summary, got)
			}
			t.Logf("answer %v: %s", got, x.Summary)
		})
	}
}

// Hosts that neighbour discovery doesn't find get no packet either: explain and audit leave them
// undecided, and name the rule.
func TestExplainNamesRulesOfNeighbourDiscovery(t *testing.T) {
	lab.RequireRoot(t)
	const both = "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert }"
	for name, c := range map[string]struct {
		rules string
		found bool
	}{
		"output: policy": {"table ip6 a { chain o { type filter hook output priority 0; policy drop; " +
			"ct state established,related accept; }; }", false},
		"output: a rule": {"table ip6 a { chain o { type filter hook output priority 0; " +
			"icmpv6 type nd-neighbor-solicit drop; }; }", false},
		"output: open": {"table ip6 a { chain o { type filter hook output priority 0; policy drop; " +
			"ct state established,related accept; " + both + " accept; }; }", true},
		"input: policy": {"table ip6 a { chain i { type filter hook input priority 0; policy drop; " +
			"tcp dport 80 accept; }; }", false},
		"input: a rule": {"table inet a { chain i { type filter hook input priority 0; " +
			both + " drop; }; }", false},
		"input: open": {"table ip6 a { chain i { type filter hook input priority 0; policy drop; " +
			"tcp dport 80 accept; " + both + " ip6 hoplimit 255 accept; }; }", true},
		"ingress": {"table netdev a { chain i { type filter hook ingress device eth0 priority 0; " +
			both + " drop; }; }", false},
		"egress": {"table netdev a { chain o { type filter hook egress device eth0 priority 0; " +
			both + " drop; }; }", false},
	} {
		t.Run(name, func(t *testing.T) {
			w := lab.New(t)
			w.Host.ListenTCP(80)
			i := install(t, w, "version: 1\nservices: []\n")
			w.Host.NFT(c.rules)
			w.FlushNeighbours()
			at := w.Host.At(80, true)
			for _, from := range []*lab.Node{w.Internet, w.Router} {
				x := i.explain("--from", from.Addr6().String(), "--to", at.Addr().String(),
					"--port", "80")
				want := audit.Unclear
				if c.found {
					want = audit.Connects
				}
				w.FlushNeighbours()
				open := from.Connect(at) == lab.Open
				if x.Reason != want || x.Connects != c.found || x.Connects && !open ||
					strings.Contains(x.Summary, "neighbour discovery") == c.found {
					t.Errorf("%s: %s: %s (connects %v)", from.Addr6(), x.Reason, x.Summary, open)
				}
				for _, row := range i.audit().Exposures {
					if row.Port == 80 && row.Interface == "eth0" &&
						slices.Contains(row.Addresses, at.Addr().String()) &&
						row.Reachable.Certain.Contains(from.Addr6()) != c.found {
						t.Errorf("certain for %v", row.Reachable.Certain)
					}
				}
				t.Logf("%s: connects %v: %s", from.Addr6(), open, x.Summary)
			}
		})
	}
}
