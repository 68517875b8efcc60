package e2e

import (
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall/exposure/audit"
	"github.com/portgrave/portgrave/test/lab"
)

// Portgrave's own rules never leave anything undecided, whatever listens.
func TestOwnRulesLeaveNoDoubt(t *testing.T) {
	lab.RequireRoot(t)
	t.Parallel()
	for _, backend := range []string{"nftables", "iptables"} {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			w := lab.New(t)
			for _, at := range []string{"[::]:8000", "[2001:db8:100::10]:8001", "0.0.0.0:8002", "[::]:22"} {
				if _, err := w.Host.Listen("tcp", at); err != nil {
					t.Fatal(err)
				}
			}
			i := install(t, w, "")
			i.backend = backend
			for _, unlisted := range []string{"ignore", "deny"} {
				i.write("version: 1\nunlisted: " + unlisted + "\nservices:\n" +
					"  - {name: ssh, port: 22, allow: [any], rate: {per_source: 10/minute}}\n" +
					"  - {name: db, port: 5432, allow: [private]}\n")
				i.run("apply")
				x := i.explain("--from", "203.0.113.10", "--port", "22")
				if said := strings.Join(x.Assumed, "; "); !x.Connects ||
					!strings.Contains(said, "keeps within the rate") {
					t.Errorf("%s, assuming %q", x.Summary, said)
				}
				r := i.audit()
				for _, f := range r.Findings {
					if f.Kind == audit.Undecided {
						t.Errorf("unlisted: %s: %s: %v", unlisted, f.Detail, f.Sources.Strings())
					}
				}
				for _, x := range r.Exposures {
					if by := strings.Join(x.DecidedBy, "; "); strings.Contains(by, "unknown: ") {
						t.Errorf(
							"unlisted: %s: tcp/%d by %s: %s",
							unlisted,
							x.Port,
							x.Interface,
							by,
						)
					}
				}
			}
		})
	}
}
