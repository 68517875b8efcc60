package xt

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/backendtest"
)

func TestLimits(t *testing.T) {
	tcp := []firewall.PortRange{{Protocol: firewall.TCP, First: 1, Last: 1}}
	state := firewall.State{Services: []firewall.Service{
		{Name: "plus", Ports: tcp, Interfaces: []string{"up+", "eth*"}},
		{
			Name:  "burst",
			Ports: tcp,
			Rate:  &firewall.Rate{Count: 1, Per: time.Second, Burst: maxBurst + 1},
		},
		{Name: "slow", Ports: tcp, Rate: &firewall.Rate{Count: 10, Per: 24 * time.Hour, Burst: 11}},
		{
			Name:  "slow enough",
			Ports: tcp,
			Rate:  &firewall.Rate{Count: 10, Per: 24 * time.Hour, Burst: 10},
		},
		{
			Name:  "fast",
			Ports: tcp,
			Rate:  &firewall.Rate{Count: maxPerSecond + 1, Per: time.Second, Burst: 1},
		},
		{
			Name:  "far",
			Ports: tcp,
			Expiring: []firewall.ExpiringSource{
				{Prefix: firewallPrefix("10.0.0.0/8"), Until: time.Now().Add(30 * 24 * time.Hour)},
			},
		},
	}}
	refused, warned := Limits(state, time.Now())
	var got []string
	for _, l := range append(refused, warned...) {
		got = append(got, l.Service)
	}
	if d := cmp.Diff([]string{"plus", "burst", "burst", "slow", "fast", "far"}, got); d != "" {
		t.Error(d)
	}
	direct, _ := Limits(firewall.State{Direct: []string{"br-*", "up+"}}, time.Now())
	if len(direct) != 1 || !strings.Contains(direct[0].Error(), `direct: interface "up+"`) {
		t.Errorf("direct: %v", direct)
	}
	if l, _ := NeedsIpset(state); l.Service != "far" {
		t.Errorf("NeedsIpset says %q", l)
	}
	many := backendtest.Everything(t)
	h := mustHost(newFakeKernel(legacy))
	h.ipset = false
	if _, err := new(Backend).Diff(&many, observation{newRuleset(), h}, time.Now()); err == nil ||
		!strings.Contains(err.Error(), "install the package ipset") {
		t.Errorf("many sources without ipset: %v", err)
	}
	few := backendtest.Simple(t)
	if _, err := new(Backend).Diff(&few, observation{newRuleset(), h}, time.Now()); err != nil {
		t.Errorf("a small policy without ipset: %v", err)
	}
}

func firewallPrefix(s string) netip.Prefix {
	p, _ := parsePrefix(s)
	return p
}
