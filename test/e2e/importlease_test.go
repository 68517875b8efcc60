package e2e

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/test/lab"
)

// A lease stays a lease when the policy is replaced by an imported one: its source still gets in,
// until the lease ends, and not beyond.
func TestImportKeepsLeases(t *testing.T) {
	lab.RequireRoot(t)
	t.Parallel()
	for _, backend := range []string{"nftables", "iptables"} {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			month := time.Now().UTC().AddDate(0, 1, 0)
			w := lab.New(t)
			w.Host.ListenTCP(22)
			w.Host.ListenTCP(8080)
			w.Host.NFT(
				"table inet old {\n\tchain input { type filter hook input priority filter; policy drop; " +
					"ct state established,related accept; tcp dport { 22, 8080 } accept; }\n}\n",
			)
			i := install(t, w, `version: 1
services:
  - {name: ssh, port: 22, allow: [203.0.113.0/24, {cidr: 192.0.2.9, expires: `+month.Format(time.DateOnly)+`}]}
  - {name: web, port: 8080}
`)
			i.backend = backend
			guest, office, dated := netip.MustParseAddr(
				"192.0.2.7",
			), internet4, netip.MustParseAddr(
				"192.0.2.9",
			)
			expect := func(when string, source netip.Addr, port uint16, want bool) {
				t.Helper()
				got := w.Probe(w.Internet, []netip.Addr{source}, netip.AddrPortFrom(host4, port))[source]
				if (got == lab.Open) != want {
					t.Errorf("%s: %v to %d: %v", when, source, port, got)
				}
			}
			i.run("apply")
			i.run("open", "8080", "--from", "192.0.2.7", "--for", "2h", "--reason", "INC-42")
			expect("with a lease", guest, 8080, true)
			document := i.verb("import")
			text := strings.Join(strings.Fields(strings.ReplaceAll(document, "#", "")), " ")
			for _, s := range []string{"left out, since 192.0.2.7 gets in until 20", " by lease ",
				`{cidr: "192.0.2.9", expires: "` + month.AddDate(0, 0, 1).Format(time.DateOnly) + `T00:00:00Z"}`} {
				if !strings.Contains(text, s) {
					t.Errorf("the policy doesn't say %q:\n%s", s, document)
				}
			}
			i.write(document)
			w.Host.NFT("delete table inet old")
			i.run("apply")
			expect("after import", guest, 8080, true)
			expect("after import", guest, 22, false)
			expect("after import", dated, 22, false)
			expect("after import", office, 22, true)
			expect("after import", office, 8080, false)
			i.run("close", "8080")
			expect("after the lease", guest, 8080, false)
		})
	}
}
