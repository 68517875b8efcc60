package xtables

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/portgrave/portgrave/firewall/backendtest"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/exposuretest"
)

// execute is how the command line runs programs.
func execute(ctx context.Context, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%w %s", err, strings.TrimSpace(stderr.String()))
	}
	return out, err
}

func TestReadLegacyFromTheKernel(t *testing.T) {
	backendtest.Isolate(t)
	proc := os.DirFS("/proc")
	forbidden := func(_ context.Context, name string, _ ...string) ([]byte, error) {
		t.Errorf("%s was run though no legacy table is in use", name)
		return nil, errors.New("forbidden")
	}
	rs := &exposure.Ruleset{}
	if err := ReadLegacy(t.Context(), proc, forbidden, LiveSets(t.Context(), forbidden, time.Time{}), rs); err != nil ||
		len(rs.Tables)+len(rs.Missing) != 0 {
		t.Fatalf("a fresh namespace: %v, %+v", err, rs)
	}
	backendtest.Program(t, "create s hash:ip\nadd s 192.0.2.1\n", "ipset", "restore")
	backendtest.Program(
		t,
		"",
		"iptables-legacy",
		"-A",
		"INPUT",
		"-m",
		"set",
		"--match-set",
		"s",
		"src",
		"-j",
		"DROP",
	)
	backendtest.Program(
		t,
		"",
		"ip6tables-legacy",
		"-t",
		"mangle",
		"-A",
		"PREROUTING",
		"-s",
		"2001:db8::1",
		"-j",
		"MARK",
		"--set-mark",
		"1",
	)
	// none of our business
	backendtest.Program(t, "", "iptables-nft", "-t", "raw", "-A", "PREROUTING", "-j", "DROP")
	if err := ReadLegacy(t.Context(), proc, execute, LiveSets(t.Context(), execute, time.Time{}), rs); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, table := range rs.Tables {
		for _, c := range table.Chains {
			for _, r := range c.Rules {
				got[c.Where()] = exposuretest.Statements(r.Statements)
				if r.Origin.String() != "kernel" {
					t.Errorf("%+v", r.Origin)
				}
			}
		}
	}
	for where, want := range map[string]string{
		"ip filter INPUT":       "ip saddr in @s{0xc0000201}; drop",
		"ip6 mangle PREROUTING": "ip6 saddr in {0x20010db8000000000000000000000001}; meta mark := 0x1",
	} {
		if got[where] != want {
			t.Errorf("%s: %q", where, got[where])
		}
	}
	if len(got) != 2 || len(rs.Missing) != 0 {
		t.Errorf("%v, %+v", got, rs.Missing)
	}
}

func TestReadLegacyWithoutItsPrograms(t *testing.T) {
	proc := fstest.MapFS{"thread-self/net/ip_tables_names": {Data: []byte("filter\n")}}
	save := "*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n"
	for name, c := range map[string]struct {
		run     func(name string) ([]byte, error)
		tables  int
		missing string
		err     string
	}{
		"from the time before there were two": {func(name string) ([]byte, error) {
			if strings.Contains(name, "legacy") {
				return nil, exec.ErrNotFound
			}
			return []byte(save), nil
		}, 1, "", ""},
		"nothing but nft's": {func(name string) ([]byte, error) {
			if strings.Contains(name, "legacy") {
				return nil, fmt.Errorf("%s: %w", name, exec.ErrNotFound)
			}
			return []byte("iptables-save v1.8.9 (nf_tables)"), nil
		}, 0, "iptables-legacy-save: executable file not found in $PATH", ""},
		"no privilege": {func(string) ([]byte, error) { return nil, errors.New("exit status 4: you must be root") }, 0, "you must be root", ""},
		"cut off":      {func(string) ([]byte, error) { return []byte("*filter\n"), nil }, 0, "", "iptables-legacy-save -t filter:2:1: it ends in the middle"},
	} {
		rs := &exposure.Ruleset{}
		err := ReadLegacy(
			t.Context(),
			proc,
			func(_ context.Context, name string, _ ...string) ([]byte, error) { return c.run(name) },
			nil,
			rs,
		)
		if len(rs.Tables) != c.tables || (c.missing == "") != (len(rs.Missing) == 0) ||
			(err == nil) != (c.err == "") {
			t.Errorf("%s: %+v, %v", name, rs, err)
			continue
		}
		if c.missing != "" && !strings.Contains(rs.Missing[0].Why, c.missing) ||
			err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %+v, %v", name, rs.Missing, err)
		}
	}
}

func TestSetsAreAskedForOnceAndOnlyIfNamed(t *testing.T) {
	asked := 0
	run := func(context.Context, string, ...string) ([]byte, error) {
		asked++
		return nil, errors.New("100%s wrong")
	}
	sets := LiveSets(t.Context(), run, time.Time{})
	readRules(t, exposure.FamilyIPv4, "filter", sets, "-A INPUT -j DROP")
	if asked != 0 {
		t.Error("ipset was run for nothing")
	}
	r := readRules(
		t,
		exposure.FamilyIPv4,
		"filter",
		sets,
		"-A INPUT -m set --match-set s src",
		"-A INPUT -m set --match-set r src",
	)
	m := r[0].Statements[0].(exposure.Match)
	if asked != 1 || m.In.Unknown != "ipset save: 100%s wrong (ipset s)" {
		t.Errorf("asked %d times, %+v", asked, m.In)
	}
}
