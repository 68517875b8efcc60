package xt

import (
	"testing"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
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

// A name of any length fits the kernel, and no two services share one.
func TestNames(t *testing.T) {
	seen := map[string]string{}
	for _, service := range []string{"a", "web", "web.2", "exactly-16-chars", "exactly-17-chars-", "a-name-as-long-as-a-service-may-have-which-is-48", "a-name-as-long-as-a-service-may-have-which-is-4X"} {
		for _, second := range []bool{false, true} {
			for _, f := range address.Families {
				name := setName(service, kindUntil, f, second)
				if len(name) > 31 || !setNames.MatchString(name) ||
					otherSlot(otherSlot(name)) != name ||
					otherSlot(name) == name {
					t.Errorf("set %s", name)
				}
				if other, taken := seen[name]; taken {
					t.Errorf("%s and %s share set %s", service, other, name)
				}
				seen[name] = service
				if got := serviceOf(name); got != id(service) {
					t.Errorf("set %s is of %q, not %q", name, got, id(service))
				}
			}
		}
		for _, chain := range []string{chainName(pipeline.Of(pipeline.Where, service), false), chainName(pipeline.Of(pipeline.Where, service), true), sourceChain(service), allowChain(service), refuseChain(service)} {
			if len(chain) > 28 || serviceOf(chain) != id(service) || !ours(chain) {
				t.Errorf("chain %s", chain)
			}
		}
		if p := firewall.ShortLogPrefix(firewall.LogPrefixAllowed, service); len(p) > 63 {
			t.Errorf("prefix %s", p)
		}
	}
	last := firewall.PortRange{Protocol: firewall.SCTP, First: 65535, Last: 65535}
	for _, longest := range []string{chainName(pipeline.Name{Role: pipeline.Shared, Ports: last}, true), chainName(pipeline.Name{Role: pipeline.Shared, Ports: last}, false), namedChain(last, true), namedChain(last, false), ipvsTree + "-sctp-65520-65535", virtualTree + "-sctp-65520-65535"} {
		if len(longest) > 28 {
			t.Errorf("chain %s", longest)
		}
	}
}
