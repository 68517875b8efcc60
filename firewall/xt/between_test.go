package xt

import (
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/backendtest"
)

// Two States are compared in the words of iptables, and the same one is no difference.
func TestBetween(t *testing.T) {
	now := time.Now()
	h := host{
		variant:  legacy,
		ipset:    true,
		families: address.Families,
		security: map[address.Family]bool{address.IPv4: true, address.IPv6: true},
	}
	words := func(from, to *firewall.State) string {
		t.Helper()
		changes, err := between(from, to, now, h)
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for _, c := range changes {
			lines = append(lines, c.String())
		}
		return strings.Join(lines, "\n")
	}
	one := backendtest.Simple(t)
	other := one
	other.Services = append([]firewall.Service{}, one.Services...)
	other.Services[0].Sources = address.Must("10.0.0.0/8", "192.0.2.0/24", "fc00::/7")
	many := one
	many.Services = append([]firewall.Service{}, one.Services...)
	many.Services[0].Sources = backendtest.Many(t, 200)

	for name, s := range map[string]firewall.State{
		"one":        one,
		"many":       many,
		"everything": backendtest.Everything(t),
	} {
		if got := words(&s, &s); got != "" {
			t.Errorf("%s and itself differ:\n%s", name, got)
		}
	}
	if got := words(nil, &one); !strings.Contains(got, "iptables-legacy table mangle") ||
		!strings.Contains(got, "10.0.0.0/8") {
		t.Errorf("from nothing:\n%s", got)
	}
	if got := words(&one, nil); !strings.Contains(got, "ip6tables-legacy table mangle") {
		t.Errorf("to nothing:\n%s", got)
	}
	if got := words(&one, &other); !strings.Contains(got, "192.0.2.0/24") ||
		strings.Contains(got, "10.0.0.0/8") {
		t.Errorf("one source more:\n%s", got)
	}
	if got := words(&many, &one); !strings.Contains(got, "ipset") ||
		!strings.Contains(got, "10.0.0.0/8") {
		t.Errorf("from a set to a rule:\n%s", got)
	}
}
