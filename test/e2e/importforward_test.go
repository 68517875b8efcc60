package e2e

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/test/lab"
)

// Packets that the old rules forward to guests behind a bridge get through with the imported policy
// too, and those to a bridge that the old rules close don't, whatever the input rules say.
func TestImportKeepsForwarding(t *testing.T) {
	lab.RequireRoot(t)
	t.Parallel()
	inputs := map[string]string{
		"drop":        "policy drop; ct state established,related accept; tcp dport 22 accept",
		"accept":      "policy accept",
		"source port": "policy drop; tcp dport 22 accept; tcp sport 53 accept",
	}
	for _, tt := range []struct {
		name, forward string
		direct        bool
		says          string
	}{
		{"closed", "policy drop; ct state established,related accept; iifname docker0 accept", true, ""},
		{"open to the office", "policy drop; ct state established,related accept; iifname eth1 oifname docker0 accept",
			false, "keep the rules about forwarded packets"},
		{"one port is open", "policy drop; ct state established,related accept; oifname docker0 tcp dport 80 accept",
			false, "keep the rules about forwarded packets"},
		{"open", "policy accept", false, ""},
	} {
		for name, input := range inputs {
			t.Run(tt.name+", input "+name, func(t *testing.T) {
				t.Parallel()
				w := lab.New(t)
				w.Host.ListenTCP(22)
				w.Container.ListenTCP(80)
				w.Container.ListenTCP(81)
				var asks []importAsk
				for _, inside := range []bool{false, true} {
					for _, a := range []netip.Addr{w.Container.Addr4(), w.Container.Addr6()} {
						for _, port := range []uint16{80, 81} {
							source := internet4
							switch {
							case inside && a.Is4():
								source = office4
							case inside:
								source = office6
							case a.Is6():
								source = internet6
							}
							asks = append(asks, importAsk{lab.Question{
								Source: source, To: netip.AddrPortFrom(a, port),
							}, inside})
						}
					}
				}
				w.Host.NFT(
					"table inet old {\n\tchain input { type filter hook input priority filter; " + input + "; }\n" +
						"\tchain forward { type filter hook forward priority filter; " + tt.forward + "; }\n}\n",
				)
				i := install(t, w, "version: 1\nservices: []\n")
				document := i.verb("import")
				if got := strings.Contains(document, "direct: {interfaces: [docker0]}"); got != tt.direct {
					t.Errorf("direct %v\n%s", got, document)
				}
				if text := strings.Join(strings.Fields(strings.ReplaceAll(document, "#", "")), " "); !strings.Contains(
					text,
					tt.says,
				) {
					t.Errorf("the policy doesn't say %q:\n%s", tt.says, document)
				}
				before := askAllOf(w, asks)
				i.write(document)
				w.Host.NFT("flush ruleset")
				i.run("apply")
				after := askAllOf(w, asks)
				for n, q := range asks {
					was, is := before[n] == lab.Open, after[n] == lab.Open
					if was && !is || was != is && tt.says == "" {
						t.Errorf(
							"%v from %v: before %v, after %v",
							q.To,
							q.Source,
							before[n],
							after[n],
						)
					}
				}
			})
		}
	}
}
