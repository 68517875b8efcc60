package policy

import (
	"context"
	"slices"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

// ServicePorts are the ports of a service; none if the policy has no such service.
func (p *Policy) ServicePorts(name string) []firewall.PortRange {
	for _, s := range p.services {
		if s.enforced.Name == name {
			return slices.Clone(s.enforced.Ports)
		}
	}
	return nil
}

// Services lists the names of the services in the order of the policy.
func (p *Policy) Services() (names []string) {
	for _, s := range p.services {
		names = append(names, s.enforced.Name)
	}
	return names
}

// NetworkNames lists the names of the policy's own networks.
func (p *Policy) NetworkNames() []string { return sortedNames(p.networks) }

// Network loads what a network holds, whether or not a service uses it; false if the policy has no
// such network, and it is not a built-in one. The error is Problems.
func (p *Policy) Network(
	ctx context.Context, name string, n *Networks,
) (set address.Set, known bool, err error) {
	if set, known = builtIn[name]; known {
		return set, true, nil
	}
	if p.networks[name] == nil {
		return address.Set{}, false, nil
	}
	if n == nil {
		n = &Networks{}
	}
	c := compiler{policy: p, resolved: map[string]address.Set{}, now: n.now(),
		out: &Compiled{Lists: map[string]string{}}}
	var release func()
	c.shared, release = n.Memory.share()
	defer release()
	used := p.usedBy([]service{{allow: []source{{network: name}}}})
	c.resolve(used, loadExternal(ctx, n, used))
	return c.resolved[name], true, c.report.problems()
}

// Meant is the service and the network that a word looks like with a typing error; "" if none does.
// It offers no network of everybody: a word that was meant to be narrower must not become that.
func (p *Policy) Meant(word string) (service, network string) {
	var networks []string
	for name, n := range p.networks {
		if !n.hasEveryone() {
			networks = append(networks, name)
		}
	}
	for name := range builtIn {
		if name != "any" {
			networks = append(networks, name)
		}
	}
	slices.Sort(networks)
	likely := func(names []string) string {
		return nearestWord(word, slices.DeleteFunc(names, func(name string) bool {
			return !mistyped(word, name)
		}))
	}
	return likely(p.Services()), likely(networks)
}
