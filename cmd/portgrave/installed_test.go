package main

import (
	"testing"

	"github.com/portgrave/portgrave/policy"
)

// TestInForceWords: what an installation says of a policy, the first one and those that were there.
func TestInForceWords(t *testing.T) {
	for document, want := range map[string]string{
		string(policy.DefaultYAML()): "tcp/9090 is open to private networks and refused to everybody else; other ports are left alone",
		`version: 1
unlisted: deny
services:
  - {name: ssh, port: 22, allow: [any]}
  - {name: shut, port: [80, 443]}
  - {name: metrics, port: 9100, protocol: udp, allow: [192.0.2.0/24, 198.51.100.7]}
`: "udp/9100 is open to 2 networks of the policy and refused to everybody else; " +
			"tcp/80, tcp/443 are refused to everybody; tcp/22 is open to everybody; all other ports are refused",
		`version: 1
services: [{name: a, port: 1}, {name: b, port: 2}, {name: c, port: 3}, {name: d, port: 4}]
`: "the policy's 4 services decide who reaches their ports; other ports are left alone",
		"version: 1\nservices: []\n": "other ports are left alone",
	} {
		p, err := policy.Parse("policy.yaml", []byte(document))
		if err != nil {
			t.Fatal(err)
		}
		c, err := p.Compile(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := inForceWords(c.State); got != want {
			t.Errorf("%s\n%s, want\n%s", document, got, want)
		}
	}
}
