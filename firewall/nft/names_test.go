package nft

import (
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/backendtest"
	"github.com/portgrave/portgrave/firewall/netlink/nftables"
	"github.com/portgrave/portgrave/firewall/pipeline"
	"pgregory.net/rapid"
)

func TestParseName(t *testing.T) {
	large := part{"web", address.IPv6}
	second := placement{second: true}
	set := func(length uint8) identity {
		return identity{
			service:     "web",
			role:        roleLarge,
			family:      address.IPv6,
			length:      length,
			isLengthSet: true,
		}
	}
	part := identity{service: "web", role: roleLarge, family: address.IPv6}
	for name, want := range map[string]identity{
		serviceChain("web"):                              {service: "web", role: roleService},
		serviceChain("web") + "/where":                   {service: "web"},
		refuseChain("web"):                               {service: "web"},
		addressSet("web", address.IPv4):                  {service: "web"},
		"svc/web/allowed-ipv4":                           {service: "web"},
		"svc/web/nets-ipv4.2":                            {service: "web"},
		large.chain(placement{}):                         part,
		large.chain(second):                              part,
		large.shardChain(second, 7):                      part,
		large.chain(second) + "/more1":                   part,
		lengthSet(large.chain(second), 0):                set(0),
		lengthSet(large.shardChain(placement{}, 3), 128): set(128),
		"svc/web/ipv6/129":                               part,
		"svc/web/ipv6x":                                  {service: "web"},
		portsMap(firewall.UDP):                           {role: rolePorts, protocol: firewall.UDP},
		"ports-ping-pong":                                {},
		"ports-":                                         {},
		"shared/tcp/80":                                  {},
		"prerouting":                                     {},
		"svc/":                                           {},
		"":                                               {},
	} {
		if got := parseName(name); got != want {
			t.Errorf("%q: %+v, want %+v", name, got, want)
		}
	}
}

// Each chain has a name of its own: one with another's name would replace it.
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
		name := chainName(n)
		if other, taken := of[name]; taken {
			t.Errorf("%q names both %+v and %+v", name, n, other)
		}
		of[name] = n
	}
}

// Every expression that we make has a type, and every object knows what its name says.
func TestWhatWeMakeIsKnown(t *testing.T) {
	now := time.Now()
	rapid.Check(t, func(t *rapid.T) {
		r := compile(
			backendtest.Draw(t),
			now,
			layout{limits: limits{rules: 1, lengths: 3, split: 6}},
		)
		for _, c := range r.chains {
			if c.is != parseName(c.name) {
				t.Fatalf("chain %s is taken for %+v", c.name, c.is)
			}
			for _, rule := range c.rules {
				for _, e := range rule.Exprs {
					if _, unknown := e.(nftables.Unknown); unknown {
						t.Fatalf("chain %s: %s", c.name, rule)
					}
				}
			}
		}
		for _, s := range r.sets {
			if s.is != parseName(s.name) {
				t.Fatalf("set %s is taken for %+v", s.name, s.is)
			}
		}
	})
}
