package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/test/lab"
)

// One short round of everything, so that the benchmarks don't rot. What it measures is not looked
// at, only that it did.
func TestSmallestRun(t *testing.T) {
	lab.RequireRoot(t)
	dir := t.TempDir()
	program := filepath.Join(dir, "portgrave")
	if out, err := exec.Command(
		"go", "build", "-o", program, "../../cmd/portgrave",
	).CombinedOutput(); err != nil {
		t.Fatalf("building portgrave: %v\n%s", err, out)
	}
	readme := filepath.Join(dir, "README.md")
	shown, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(readme, shown, 0o600); err != nil {
		t.Fatal(err)
	}
	o := options{
		smallest:  true,
		portgrave: program,
		out:       filepath.Join(dir, "results"),
		readme:    readme,
	}
	r, err := measure(context.Background(), o, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Missing) > 0 {
		t.Errorf("left out, though make deps installs it: %s", strings.Join(r.Missing, "; "))
	}
	measured := map[string]bool{}
	for _, c := range r.Control {
		measured[c.Family+" "+c.By+" "+string(c.Operation)] = len(c.Seconds) > 0 || c.Note != ""
	}
	for _, family := range []string{"IPv4", "IPv6"} {
		for _, by := range []string{byPortgrave, "portgrave, iptables"} {
			for _, operation := range Operations {
				if what := family + " " + by + " " + string(operation); !measured[what] {
					t.Errorf("not measured: %s", what)
				}
			}
		}
		for _, by := range []string{byKernel, "nft -f", "ipset restore"} {
			if what := family + " " + by + " " + string(AllReplaced); !measured[what] {
				t.Errorf("not measured: %s", what)
			}
		}
	}
	if !measured["IPv4 ufw, rule by rule first load"] {
		t.Error("ufw was not measured")
	}
	for _, p := range r.Packets {
		if len(p.UDP) == 0 || len(p.TCP) == 0 {
			t.Errorf("no packets were measured through %s, %s", p.By, p.What)
		}
	}
	if len(r.Packets) < 10 || len(r.Jobs) != 56 {
		t.Errorf("%d kinds of packets and %d jobs were measured", len(r.Packets), len(r.Jobs))
	}
	if err := write(r, o); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"results/table.md", "results/plot.svg", "results/summary.svg", "README.md"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil ||
			!strings.Contains(string(b), r.Where()) && !strings.HasSuffix(name, ".svg") {
			t.Errorf("%s doesn't say what machine it is from (%v)", name, err)
		}
	}
}
