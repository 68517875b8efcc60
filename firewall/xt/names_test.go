package xt

import (
	"testing"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/pipeline"
)

// Each chain has a name of its own: one with another's name would replace it. A chain that asks for
// no destination has one name for both.
func TestChainNamesDiffer(t *testing.T) {
	port := firewall.PortRange{Protocol: firewall.TCP, First: 80, Last: 80}
	names := []pipeline.Name{{Role: pipeline.Service, Service: "web", Ports: port},
		{Role: pipeline.Where, Service: "web", Ports: port}}
	for r := pipeline.Remember; r <= pipeline.Refuse; r++ {
		n := pipeline.Of(r, "web")
		if r == pipeline.Shared {
			n.Ports = port
		}
		names = append(names, n)
	}
	of := map[string]pipeline.Name{}
	for _, n := range names {
		own, original := chainName(n, false), chainName(n, true)
		asks := n.Role == pipeline.Where || n.Role == pipeline.Shared
		if (own != original) != asks {
			t.Errorf("%+v is named %q and %q", n, own, original)
		}
		for _, name := range []string{own, original} {
			if other, taken := of[name]; taken && other != n {
				t.Errorf("%q names both %+v and %+v", name, n, other)
			}
			of[name] = n
		}
	}
}
