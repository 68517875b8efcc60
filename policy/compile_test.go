package policy

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/portgrave/portgrave/firewall/address"
)

// TestCompileSources checks allow minus except, with nested networks and merged prefixes.
func TestCompileSources(t *testing.T) {
	const networks = `version: 1
networks:
  office: [203.0.113.0/24, "2001:db8:10::/48"]
  sites:  [office, 198.51.100.0/25]
  more:   [sites, 198.51.100.128/25]
  empty:  []
  v6:     ["2001:db8::/32"]
services:
`
	for entry, want := range map[string]string{
		`{name: a}`:                                   "",
		`{name: a, allow: []}`:                        "",
		`{name: a, allow: [empty]}`:                   "",
		`{name: a, allow: [any]}`:                     "0.0.0.0/0 ::/0",
		`{name: a, allow: [more]}`:                    "198.51.100.0/24 203.0.113.0/24 2001:db8:10::/48",
		`{name: a, allow: [more, v6, 10.0.0.1]}`:      "10.0.0.1/32 198.51.100.0/24 203.0.113.0/24 2001:db8::/32",
		`{name: a, allow: [{cidr: office}]}`:          "203.0.113.0/24 2001:db8:10::/48",
		`{name: a, allow: [office], except: [v6]}`:    "203.0.113.0/24",
		`{name: a, allow: [office], except: [any]}`:   "",
		`{name: a, allow: [office], except: [empty]}`: "203.0.113.0/24 2001:db8:10::/48",
		`{name: a, allow: [203.0.113.0/30], except: [{cidr: 203.0.113.1, reason: printer}]}`: "203.0.113.0/32 203.0.113.2/31",
		`{name: a, except: [office]}`:  "",
		`{name: a, allow: [loopback]}`: "127.0.0.0/8 ::1/128",
		`{name: a, allow: [private], except: ["fc00::/7", "fe80::/10", 169.254.0.0/16, 172.16.0.0/12]}`: "10.0.0.0/8 192.168.0.0/16",
	} {
		c := mustCompile(t, networks+"  - "+entry+"\n")
		expect(t, entry, strings.Join(c.State.Services[0].Sources.Strings(), " "), want)
	}
}

func TestCompileExpiring(t *testing.T) {
	c := mustCompile(t, `version: 1
networks: {lab: [10.1.0.0/16, 10.2.0.0/16]}
services:
  - name: a
    allow:
      - {cidr: 192.0.2.0/28, expires: 2026-11-23, reason: until the end of today}
      - {cidr: 192.0.2.64/28, expires: 2026-11-22}
      - {cidr: lab, expires: "2027-01-31T12:00:00+01:00"}
      - {cidr: 10.1.0.0/16, expires: 2026-12-24}
      - 10.2.3.0/24
    except: [192.0.2.1, 10.1.128.0/17]
`)
	svc := c.State.Services[0]
	expect(t, "permanent", strings.Join(svc.Sources.Strings(), " "), "10.2.3.0/24")
	at := func(s string) address.Set {
		when, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return svc.AllowedAt(when)
	}
	for when, want := range map[string]address.Set{
		"2026-11-22T23:59:59Z": prefixes("192.0.2.0/32", "192.0.2.2/31", "192.0.2.4/30", "192.0.2.8/29", "192.0.2.64/28", "10.1.0.0/17", "10.2.0.0/16"),
		"2026-11-23T23:59:59Z": prefixes("192.0.2.0/32", "192.0.2.2/31", "192.0.2.4/30", "192.0.2.8/29", "10.1.0.0/17", "10.2.0.0/16"),
		"2026-11-24T00:00:00Z": prefixes("10.1.0.0/17", "10.2.0.0/16"),
		// of two ends the later counts
		"2027-01-31T10:59:59Z": prefixes("10.1.0.0/17", "10.2.0.0/16"),
		"2027-01-31T11:00:00Z": prefixes("10.2.3.0/24"),
	} {
		if got := at(when); !got.Equal(want) {
			t.Errorf("at %s: %v, not %v", when, got.Strings(), want.Strings())
		}
	}
	want := []Problem{
		{
			File:   "policy.yaml",
			Line:   7,
			Column: 9,
			Message: "this entry expired on 2026-11-23T00:00:00Z and lets nobody in any more; " +
				"remove it",
			Rule: RuleExpiredEntry,
		},
	}
	if d := cmp.Diff(want, c.Warnings, cmp.AllowUnexported(Problem{})); d != "" {
		t.Error(d)
	}
}

func TestCompileMetadata(t *testing.T) {
	content, err := os.ReadFile("testdata/good/whole-language.yaml")
	if err != nil {
		t.Fatal(err)
	}
	p, err := Parse("policy.yaml", content)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "boot", p.Boot, "open")
	if d := cmp.Diff(DaemonConfig{"never", "127.0.0.1:9108",
		36 * time.Hour, 500 * time.Millisecond, "none"}, p.Daemon); d != "" {
		t.Error(d)
	}
	c, err := p.Compile(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(c.Services["prometheus"])
	if err != nil {
		t.Fatal(err)
	}
	expect(
		t,
		"metadata",
		string(text),
		`{"location":{"file":"policy.yaml","line":12,"column":5},"owner":"sre","environment":"prod","purpose":"metrics for the web fleet",`+
			`"runbook":"https://wiki.example.com/prometheus","tls":"required","health":"/-/healthy"}`,
	)
}

// TestUnusedNetworksAreNotLoaded checks that a network without a service can't fail.
func TestUnusedNetworksAreNotLoaded(t *testing.T) {
	n := &Networks{LookupIP: func(_ context.Context, host string) ([]netip.Addr, error) {
		t.Errorf("%s was looked up", host)
		return nil, nil
	}}
	p := mustParse(
		t,
		"version: 1\nnetworks: {a: {dns: a.example}, b: [a]}\nservices: [{name: x, allow: [any]}]\n",
	)
	if _, err := p.Compile(t.Context(), n); err != nil {
		t.Error(err)
	}
}

// TestCompileFailsClosed checks that a failed network stops the compilation, however it is used.
func TestCompileFailsClosed(t *testing.T) {
	for _, service := range []string{"allow: [gone]", "allow: [any], except: [gone]", "allow: [via]", "allow: [any], except: [via]",
		"allow: [{cidr: gone, expires: 2030-01-01}]", "allow: [any], except: [{cidr: via}]"} {
		p := mustParse(
			t,
			"version: 1\nnetworks: {gone: {file: /nonexistent/list}, via: [gone, 10.0.0.0/8]}\nservices: [{name: x, "+service+"}]\n",
		)
		c, err := p.Compile(t.Context(), nil)
		if err == nil || c != nil {
			t.Errorf("%s: compiled", service)
			continue
		}
		expect(
			t,
			"error",
			err.Error(),
			`policy.yaml:2:25: network "gone": /nonexistent/list: can't be read: no such file or directory`,
		)
	}
}

// TestCompileLargeFile checks that a large file with many services is read and merged once.
func TestCompileLargeFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "list.txt")
	var b strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&b, "10.%d.%d.%d/31\n", i>>14, i>>6&255, i<<2&255)
	}
	write(t, path, b.String())
	b.Reset()
	fmt.Fprintf(&b, "version: 1\nnetworks: {list: {file: %s}}\nservices:\n", path)
	for i := range 200 {
		fmt.Fprintf(&b, "  - {name: s%d, port: %d, allow: [list, 192.0.2.1]}\n", i, i+1)
	}
	start := time.Now()
	p := mustParse(t, b.String())
	c, err := p.Compile(t.Context(), &Networks{Dir: t.TempDir(), Now: testClock})
	if err != nil {
		t.Fatal(err)
	}
	took := time.Since(start)
	t.Logf("%v", took)
	if n := c.State.Services[199].Sources.Len(); n != 100_001 || took > parseTimeout {
		t.Errorf("%d sources in %v", n, took)
	}
}
