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
