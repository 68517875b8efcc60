package e2e

import (
	"slices"
	"strings"
	"testing"

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
