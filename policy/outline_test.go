package policy

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/portgrave/portgrave/firewall"
)

func tcp(ports ...uint16) (out []firewall.PortRange) {
	for _, p := range ports {
		out = append(out, firewall.PortRange{Protocol: firewall.TCP, First: p, Last: p})
	}
	return out
}

// TestOutline checks that everything readable of a broken policy is in the outline, and that an
// incomplete outline is never marked complete.
func TestOutline(t *testing.T) {
	const ssh, db = "  - {name: ssh, port: 22, allow: [any]}\n",
		"  - {name: db, port: 5432, allow: [nowhere]}\n"
	for name, c := range map[string]struct {
		policy string
		want   firewall.Outline
	}{
		"good":                   {"version: 1\nservices:\n" + ssh, firewall.Outline{Unlisted: firewall.UnlistedIgnore, Ports: tcp(22), Complete: true}},
		"open":                   {"version: 1\nboot: open\nunlisted: deny\nservices: []\n", firewall.Outline{Open: true, Unlisted: firewall.UnlistedDeny, Complete: true}},
		"unknown network":        {"version: 1\nservices:\n" + ssh + db, firewall.Outline{Unlisted: firewall.UnlistedIgnore, Ports: tcp(22, 5432), Complete: true}},
		"no version":             {"services:\n" + ssh, firewall.Outline{Unlisted: firewall.UnlistedIgnore, Ports: tcp(22), Complete: true}},
		"bad boot":               {"version: 1\nboot: ajar\nservices:\n" + ssh, firewall.Outline{Unlisted: firewall.UnlistedIgnore, Ports: tcp(22), Complete: true}},
		"bad unlisted":           {"version: 1\nunlisted: denied\nservices:\n" + ssh, firewall.Outline{Unlisted: firewall.UnlistedDeny, Ports: tcp(22), Complete: true}},
		"bad port":               {"version: 1\nservices:\n" + ssh + "  - {name: x, port: 54x2}\n", firewall.Outline{Unlisted: firewall.UnlistedIgnore, Ports: tcp(22)}},
		"bad protocol":           {"version: 1\nservices:\n" + ssh + "  - {name: x, protocol: tpc}\n", firewall.Outline{Unlisted: firewall.UnlistedIgnore, Ports: tcp(22)}},
		"misspelt port":          {"version: 1\nservices:\n" + ssh + "  - {name: x, prot: 5432}\n", firewall.Outline{Unlisted: firewall.UnlistedIgnore, Ports: tcp(22, 9090)}},
		"misspelt services":      {"version: 1\nservcies:\n" + ssh, firewall.Outline{Unlisted: firewall.UnlistedIgnore}},
		"bad source, clear port": {"version: 1\nservices:\n  - {name: x, port: 22, allow: [10.0.0.1/8]}\n", firewall.Outline{Unlisted: firewall.UnlistedIgnore, Ports: tcp(22), Complete: true}},
		"twice":                  {"version: 1\nservices:\n" + ssh + "  - {name: ssh, port: 23}\n", firewall.Outline{Unlisted: firewall.UnlistedIgnore, Ports: tcp(22)}},
		"a service, no list":     {"version: 1\nservices: {name: ssh, port: 22}\n", firewall.Outline{Unlisted: firewall.UnlistedIgnore}},
		"a word among services":  {"version: 1\nservices: [ssh]\n", firewall.Outline{Unlisted: firewall.UnlistedIgnore}},
		"no YAML":                {"version: 1\nservices: [\n", firewall.Outline{Unlisted: firewall.UnlistedIgnore}},
		"a list":                 {"- 22\n", firewall.Outline{Unlisted: firewall.UnlistedIgnore}},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "policy.yaml")
			if err := os.WriteFile(path, []byte(c.policy), 0o600); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, ReadOutline(Options{Path: path})); diff != "" {
				t.Error(diff)
			}
		})
	}
	if got := ReadOutline(Options{Path: filepath.Join(t.TempDir(), "missing")}); got.Complete {
		t.Errorf("a missing file is complete: %+v", got)
	}
}
