package systemd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// writeUnits writes the units where systemd-analyze looks for them, with drop-ins for the daemon,
// and a program, whose existence verify checks.
func writeUnits(t *testing.T, dropIns ...string) string {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "portgrave")
	write := func(name string, content []byte, mode fs.FileMode) {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755),
			os.WriteFile(path, content, mode)); err != nil {
			t.Fatal(err)
		}
	}
	write("portgrave", []byte("#!/bin/sh\n"), 0o755)
	for _, name := range Units {
		write(name, For(name, program), 0o644)
	}
	for _, name := range dropIns {
		write(filepath.Join("portgrave.service.d", name), File(name), 0o644)
	}
	return dir
}

func analyze(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Fatal("systemd-analyze is missing: install the package systemd (make deps)")
	}
	cmd := exec.Command("systemd-analyze", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "SYSTEMD_UNIT_PATH="+dir+":", "SYSTEMD_LOG_LEVEL=warning",
		"LC_ALL=C.UTF-8")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// verifyUnit returns what systemd-analyze verify reports, "" for nothing. The output counts,
// because the exit code ignores misspelt keys. The manual pages, which may not be installed, are
// not checked.
func verifyUnit(t *testing.T, dir, unit string) string {
	t.Helper()
	out, err := analyze(t, dir, "verify", "--man=no", "./"+unit)
	if err != nil {
		return fmt.Sprintf("%v: %s", err, out)
	}
	return out
}

func TestUnitsVerify(t *testing.T) {
	dir := writeUnits(t)
	for _, unit := range Units {
		if output := verifyUnit(t, dir, unit); output != "" {
			t.Errorf("%s: %s", unit, output)
		}
	}
	for _, dropIn := range DropIns {
		if output := verifyUnit(t, writeUnits(t, dropIn), "portgrave.service"); output != "" {
			t.Errorf("with %s: %s", dropIn, output)
		}
	}
	if output := verifyUnit(t, writeUnits(t, DropIns...), "portgrave.service"); output != "" {
		t.Errorf("with all drop-ins: %s", output)
	}
	// The control: verify reports a misspelt key.
	bad := filepath.Join(dir, "portgrave.service")
	if err := os.WriteFile(bad,
		append(File("portgrave.service"), "[Service]\nProtectSysten=strict\n"...),
		0o644); err != nil {
		t.Fatal(err)
	}
	if output := verifyUnit(t, dir, "portgrave.service"); !strings.Contains(
		output,
		"ProtectSysten",
	) {
		t.Errorf("a misspelt key passes: %q", output)
	}
}

var overall = regexp.MustCompile(`Overall exposure level for \S+: (\d+\.\d)`)

// TestSecurity compares the daemon's exposure level, as systemd computes it, with its unit's
// comment.
func TestSecurity(t *testing.T) {
	for _, c := range []struct {
		dropIns []string
		limit   string // in tenths
		score   string
	}{
		{nil, "15", "1.5"},
		{[]string{"iptables.conf"}, "18", "1.8"},
		{[]string{"network.conf"}, "20", "2.0"},
		{[]string{"containers.conf"}, "19", "1.9"},
		{[]string{"realtime.conf"}, "18", "1.8"},
	} {
		dir := writeUnits(t, c.dropIns...)
		out, err := analyze(t, dir, "security", "--offline=true", "--no-pager",
			"--threshold="+c.limit, "./portgrave.service")
		line := overall.FindStringSubmatch(out)
		if line == nil {
			t.Fatalf("%v: %v, %s", c.dropIns, err, out)
		}
		t.Logf("%v: %s", c.dropIns, line[0])
		if err != nil || line[1] > c.score { // a newer systemd may compute a lower score
			t.Errorf("%v: %s, want %s at most: %v\n%s", c.dropIns, line[0], c.score, err, out)
		}
		// The comments must explain each remaining point.
		text := string(File("portgrave.service"))
		for _, d := range c.dropIns {
			text += string(File(d))
		}
		for row := range strings.Lines(out) {
			fields := strings.Fields(row)
			if len(fields) < 3 || fields[0] != "✗" {
				continue
			}
			if !isExplained(fields[1], text) {
				t.Errorf("%v: the unit does not say why this remains: %s", c.dropIns, row)
			}
		}
	}
	// The control: without its user the daemon is over the limit.
	dir := writeUnits(t)
	path := filepath.Join(dir, "portgrave.service")
	if err := os.WriteFile(path,
		append(For("portgrave.service", filepath.Join(dir, "portgrave")),
			"[Service]\nUser=root\n"...), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := analyze(t, dir, "security", "--offline=true", "--no-pager", "--threshold=15",
		"./portgrave.service"); err == nil {
		t.Errorf("as root it passes, too: %s", out)
	}
}

// isExplained looks for a point of systemd-analyze in the comments. They name it by the longest
// part in capitals, or by the setting.
func isExplained(point, text string) bool {
	point = strings.TrimSuffix(point, "=")
	setting, what, _ := strings.Cut(point, "=~")
	setting = strings.TrimSuffix(strings.Split(setting, "=")[0], "/")
	words := []string{setting}
	if what != "" {
		words = []string{point}
		for _, w := range regexp.MustCompile(`[A-Z_]+`).FindAllString(what, -1) {
			w = strings.Trim(strings.TrimPrefix(strings.TrimPrefix(w, "CAP_"), "AF_"), "_")
			if len(w) > 2 {
				words = append(words, w)
			}
		}
	}
	if setting == "AmbientCapabilities" {
		words = []string{"ambient capabilities"}
	}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#") &&
			slices.ContainsFunc(words, func(w string) bool { return strings.Contains(line, w) }) {
			return true
		}
	}
	return false
}

// TestSettings checks that drop-ins add values, and that an empty assignment removes them.
func TestSettings(t *testing.T) {
	unit := []byte("# A=no\n[Unit]\nA=other\n[Service]\nA=b c\nA=d\n")
	for want, more := range map[string]string{
		"b c d":   "",
		"b c d e": "[Service]\nA=e\n",
		"f":       "[Service]\nA=\nA=f\n",
	} {
		if got := strings.Join(Settings("Service", "A", unit, []byte(more)), " "); got != want {
			t.Errorf("%q: %q, want %q", more, got, want)
		}
	}
}

// TestOrder checks what makes the boot unit early, and that a unit's two lists of capabilities are
// equal.
func TestOrder(t *testing.T) {
	boot := File("portgrave-boot.service")
	for key, want := range map[string]string{
		"Before":              "network-pre.target",
		"Wants":               "network-pre.target",
		"DefaultDependencies": "no",
		"After":               "nftables.service",
		"Conflicts":           "shutdown.target",
	} {
		if got := Settings("Unit", key, boot); !slices.Contains(got, want) {
			t.Errorf("%s=%v lacks %s", key, got, want)
		}
	}
	// A unit required to succeed first could keep the boot unit from running.
	for _, key := range []string{
		"Requires", "Requisite", "BindsTo", "RequiresMountsFor", "AssertPathExists",
		"ConditionPathExists",
	} {
		if got := Settings("Unit", key, boot); got != nil {
			t.Errorf("%s=%v", key, got)
		}
	}
	for _, name := range []string{"portgrave.service", "portgrave-audit.service"} {
		for _, d := range append([]string{""}, DropIns...) {
			units := [][]byte{File(name)}
			if d != "" {
				units = append(units, File(d))
			}
			ambient, bounding := Settings("Service", "AmbientCapabilities", units...),
				Settings("Service", "CapabilityBoundingSet", units...)
			if !slices.Equal(ambient, bounding) {
				t.Errorf("%s with %q: ambient %v, bounding %v", name, d, ambient, bounding)
			}
		}
	}
}
