package e2e

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/test/lab"
)

// A lease opens its port of a service to its source, and no other port or source, and status shows
// the services of the policy with it.
func TestLeaseOfOnePort(t *testing.T) {
	lab.RequireRoot(t)
	t.Parallel()
	for _, backend := range []string{"nftables", "iptables"} {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			w := lab.New(t)
			for _, port := range []uint16{22, 8004, 8005, 7000} {
				w.Host.ListenTCP(port)
			}
			i := install(t, w, `version: 1
unlisted: deny
services:
  - {name: ssh, port: 22, allow: [203.0.113.0/24]}
  - {name: web, port: "8004-8005", allow: [203.0.113.0/24], except: [203.0.113.7]}
`)
			i.backend = backend
			guest, office := netip.MustParseAddr("192.0.2.7"), internet4
			expect := func(when string, source netip.Addr, port uint16, want bool) {
				t.Helper()
				got := w.Probe(w.Internet, []netip.Addr{source}, netip.AddrPortFrom(host4, port))[source]
				if (got == lab.Open) != want {
					t.Errorf("%s: %v to %d: %v", when, source, port, got)
				}
			}
			i.run("apply")
			expect("before", guest, 8005, false)
			expect("before", office, 8005, true)
			i.run("open", "8005", "--from", "192.0.2.7", "--for", "2h")
			i.run("open", "7000", "--from", "192.0.2.7", "--for", "2h", "--force")
			expect("leased", guest, 8005, true)
			expect("leased", guest, 8004, false)
			expect("leased", guest, 7000, true)
			expect("leased", office, 8005, true)
			expect("leased", office, 8004, true)
			expect("leased", office, 7000, false)
			for _, verb := range []string{"plan", "drift"} {
				if out := i.run(verb, "-o", "json"); !strings.Contains(out, `"in_sync":true`) &&
					!strings.Contains(out, `"in_sync": true`) {
					t.Errorf("%s: %s", verb, out)
				}
			}
			if out := i.run("status", "-o", "json"); strings.Contains(out, "web.lease") {
				t.Errorf("status: %s", out)
			}
			i.run("close", "8005")
			i.run("close", "7000")
			expect("closed", guest, 8005, false)
			expect("closed", guest, 7000, false)
			expect("closed", office, 8005, true)
		})
	}
}
