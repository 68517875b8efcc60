package e2e

import (
	"context"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall/coexist"
	"github.com/portgrave/portgrave/test/lab"
)

// Rules that netfilter-persistent has saved while ours stood in iptables don't load at boot, since
// ipsets aren't saved with them, and with ours the others' are missing. It is said at apply, at
// boot and by status, until what they say was done; then the file loads.
func TestSavedIptablesRules(t *testing.T) {
	lab.RequireRoot(t)
	for _, variant := range []string{"iptables-nft", "iptables-legacy"} {
		t.Run(variant, func(t *testing.T) {
			programs(t, variant)
			for family, six := range map[string]bool{"rules.v4": false, "rules.v6": true} {
				t.Run(family, func(t *testing.T) { testSavedIptablesRules(t, family, six) })
			}
		})
	}
}

func testSavedIptablesRules(t *testing.T, name string, six bool) {
	save, restore, add := "iptables-save", "iptables-restore", "iptables"
	foe := netip.MustParseAddr("192.0.2.1")
	if six {
		save, restore, add = "ip6tables-save", "ip6tables-restore", "ip6tables"
		foe = netip.MustParseAddr("2001:db8:5000::1")
	}
	const document = "version: 1\nnetworks: {some: {file: some.txt}}\nservices: [{name: metrics, port: 9090, allow: [some]}]\n"
	w, booted := lab.New(t), lab.New(t)
	booted.Host.ListenTCP(9100)
	theirs := func() lab.Answer {
		return booted.Probe(booted.Internet, []netip.Addr{foe}, booted.Host.At(9100, six), lab.Attempts(2))[foe]
	}
	// The host's own rules close a port; ours are in force beside them.
	w.Host.Run(add, "-A", "INPUT", "-p", "tcp", "--dport", "9100", "-j", "DROP")
	i, next := install(t, w, document), install(t, booted, document)
	for _, x := range []*installation{i, next} {
		x.lists(7000)
		x.backend = "iptables"
	}
	etc := t.TempDir()
	file := filepath.Join(etc, "iptables", name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	saved := func() {
		t.Helper()
		// Standard output alone, as netfilter-persistent keeps it: on standard error stand
		// warnings.
		text, err := w.Host.Command(context.Background(), save).Output()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, text, 0o640); err != nil {
			t.Fatal(err)
		}
	}
	load := func() error { return booted.Host.Command(context.Background(), restore, file).Run() }

	// Before ours were there, the file loads, and nothing is said of it.
	saved()
	if said := i.with(etc, "apply", "--reason", "test"); strings.Contains(said, "at boot") {
		t.Errorf("a file without our rules: %s", said)
	}
	if err := load(); err != nil || theirs() != lab.Dropped {
		t.Fatalf("a file without our rules: %v, port 9100 is %v", err, theirs())
	}
	booted.Host.Run(add, "-F", "INPUT")

	// Saved as they are now, they don't load.
	saved()
	if err := load(); err == nil || theirs() != lab.Open {
		t.Fatalf(
			"what was saved loads (%v), or port 9100 is %v: there is nothing to warn of",
			err,
			theirs(),
		)
	}
	const problem = "doesn't load at boot: it names"
	if said := i.with(etc, "apply", "--reason", "again"); !strings.Contains(said, problem) {
		t.Errorf("apply says\n%s", said)
	}
	path := "/etc/iptables/" + name
	if said := oneLine(i.with(etc, "status")); !strings.Contains(said, path+" "+problem) ||
		!strings.Contains(said, "sed -i /PORTGRAVE/d "+path) {
		t.Errorf("status says\n%s", said)
	}
	var s struct {
		SavedRules []coexist.SavedRules `json:"saved_rules"`
	}
	if err := json.Unmarshal([]byte(i.with(etc, "status", "-o", "json")), &s); err != nil {
		t.Fatal(err)
	}
	if len(s.SavedRules) != 1 || s.SavedRules[0].File != path ||
		s.SavedRules[0].Unit != "netfilter-persistent.service" {
		t.Errorf("status has %+v", s.SavedRules)
	}
	var boot struct {
		Loaded   string   `json:"loaded"`
		Warnings []string `json:"warnings"`
	}
	if err := json.Unmarshal([]byte(next.with(etc, "boot", "-o", "json")), &boot); err != nil {
		t.Fatal(err)
	}
	if boot.Loaded != "policy" ||
		!strings.Contains(strings.Join(boot.Warnings, "\n"), path+" "+problem) {
		t.Errorf("the boot reports %+v", boot)
	}
	next.with(etc, "teardown")

	// With their sets, as ipset-persistent saves them, they load; and without our lines.
	sets := filepath.Join(etc, "iptables", "ipsets")
	if err := os.WriteFile(sets, []byte(w.Host.Run("ipset", "save")), 0o640); err != nil {
		t.Fatal(err)
	}
	if said := oneLine(i.with(etc, "status")); strings.Contains(said, problem) {
		t.Errorf("with its ipsets: %s", said)
	}
	if err := os.Remove(sets); err != nil {
		t.Fatal(err)
	}
	w.Host.Run("sed", "-i", "/PORTGRAVE/d", file)
	if said := oneLine(i.with(etc, "status")); strings.Contains(said, problem) {
		t.Errorf("after it was mended: %s", said)
	}
	if err := load(); err != nil || theirs() != lab.Dropped {
		t.Errorf("after it was mended: %v, port 9100 is %v", err, theirs())
	}
}

// with runs a verb that must not fail, with files of the test laid over /etc.
func (i *installation) with(etc string, args ...string) string {
	i.t.Helper()
	words := append(
		[]string{
			"-m",
			"sh",
			"-c",
			`mount -t overlay overlay -o lowerdir="$0":/etc /etc && exec "$@"`,
			etc,
			i.program,
			"--config",
			i.policy,
			"--backend",
			i.backend,
		},
		args...)
	cmd := i.w.Host.Command(context.Background(), "unshare", words...)
	cmd.Env = i.env()
	var warnings strings.Builder
	cmd.Stderr = &warnings
	out, err := cmd.Output()
	if err != nil {
		i.t.Fatalf("portgrave %s: %v\n%s%s", strings.Join(args, " "), err, out, warnings.String())
	}
	if len(args) > 2 && args[len(args)-1] == "json" {
		return string(out)
	}
	return string(out) + warnings.String()
}
