package main

import (
	"strings"
	"testing"

	"github.com/portgrave/portgrave/policy"
)

// TestNoInternet: networks that can't be asked for name the drop-in, and do not become empty.
func TestNoInternet(t *testing.T) {
	for _, source := range []string{
		"{url: https://example.com/x.txt, refresh: 1h}", "{dns: vpn.example.net, refresh: 1h}",
	} {
		p, err := policy.Parse(
			"policy.yaml",
			[]byte(
				"version: 1\nnetworks: {far: "+source+"}\nservices: [{name: s, port: 1, allow: [far]}]\n",
			),
		)
		if err != nil {
			t.Fatal(err)
		}
		n := &policy.Networks{}
		refuseInternet(n, errNoInternet)
		if _, err := p.Compile(t.Context(), n); err == nil ||
			!strings.Contains(err.Error(), "network.conf") {
			t.Errorf("%s: %v", source, err)
		}
	}
}
