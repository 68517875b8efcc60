package policy

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAccept(t *testing.T) {
	p, err := Parse("policy.yaml", []byte(`version: 1
services: []
accept:
  - {finding: undeclared, port: 3000, reason: "dev host", until: 2127-06-30}
  - {finding: bound-wider, port: "8000-8010", protocol: udp, address: "::", reason: known}
  - {finding: undeclared, port: 22, address: 192.0.2.10, reason: old, until: 2020-01-01}
`))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range p.Accepts {
		got = append(got, strings.Join([]string{a.Finding, a.Ports.String(), a.Address.String(),
			a.Reason, a.Until.Format(time.RFC3339), a.Location.String()}, " "))
	}
	if diff := cmp.Diff([]string{
		"undeclared tcp/3000 invalid IP dev host 2127-07-01T00:00:00Z policy.yaml:4:5",
		"bound-wider udp/8000-8010 :: known 0001-01-01T00:00:00Z policy.yaml:5:5",
		"undeclared tcp/22 192.0.2.10 old 2020-01-02T00:00:00Z policy.yaml:6:5",
	}, got); diff != "" {
		t.Error(diff)
	}
	c, err := p.Compile(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Warnings) != 1 || c.Warnings[0].Rule != RuleExpiredAccept || c.Warnings[0].Line != 6 {
		t.Errorf("warned of %+v", c.Warnings)
	}
}

func TestAcceptMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"{port: 1, reason: x}":                                           `lacks the key "finding"`,
		"{finding: undeclared, reason: x}":                               `lacks the key "port"`,
		"{finding: undeclared, port: 1}":                                 `lacks the key "reason"`,
		"{finding: undeclare, port: 1, reason: x}":                       "did you mean",
		"{finding: expired, port: 1, reason: x}":                         "is not one of",
		"{finding: undeclared, port: 70000, reason: x}":                  "from 1 to 65535",
		"{finding: undeclared, port: [1, 2], reason: x}":                 "a port from 1 to 65535",
		"{finding: undeclared, port: 1, reason: x, address: 10.0.0.0/8}": "not a network",
		"{finding: undeclared, port: 1, reason: x, until: 2027-02-31}":   "doesn't exist",
		"{finding: undeclared, port: 1, reason: x, until: soon}":         "a date",
		"{finding: undeclared, port: 1, reason: x, protocol: icmp}":      "one of tcp",
		"{finding: undeclared, port: 1, reason: x, service: grafana}":    "unknown key",
		"{finding: undeclared, port: 9-1, reason: x}":                    "reversed",
	} {
		_, err := Parse("policy.yaml", []byte("version: 1\nservices: []\naccept:\n  - "+text+"\n"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// Accepting a finding changes no rule.
func TestAcceptIsNoRule(t *testing.T) {
	state := func(more string) string {
		p, err := Parse("policy.yaml", []byte("version: 1\nservices: []\n"+more))
		if err != nil {
			t.Fatal(err)
		}
		c, err := p.Compile(context.Background(), nil)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		if err := c.State.WriteBinary(&b); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	if state("") != state("accept: [{finding: undeclared, port: 3000, reason: x}]") {
		t.Error("the State differs")
	}
}
