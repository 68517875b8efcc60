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
	services := slices.DeleteFunc(p.Services(), func(name string) bool {
		return !mistyped(word, name)
	})
	return nearestWord(word, services), nearestWord(word, p.networksLike(word))
}

// networksLike are the networks that a word may be a typing error for, without those that may hold
// everyone.
func (p *Policy) networksLike(word string) (names []string) {
	for _, known := range [][]string{sortedNames(p.networks), sortedNames(builtIn)} {
		for _, name := range known {
			if mistyped(word, name) && !p.mayHoldEveryone(name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names
}

// maxHintEntries is how many entries of a network are read to offer its name.
const maxHintEntries = 10_000

// mayHoldEveryone reports whether a network holds everyone, through the networks that it names, or
// may: the content of a file, a URL or a name isn't known here, nor that of a very long list.
func (p *Policy) mayHoldEveryone(name string) bool {
	var all address.Builder
	var named []address.Set
	seen, left := map[string]bool{}, maxHintEntries
	var visit func(name string) (known bool)
	visit = func(name string) bool {
		if set, is := builtIn[name]; is {
			named = append(named, set)
			return true
		}
		n := p.networks[name]
		if n == nil || seen[name] { // nothing is checked yet when a policy is read
			return true
		}
		seen[name] = true
		if left -= len(n.entries); n.external() || left < 0 {
			return false
		}
		for _, e := range n.entries {
			if e.network == "" && all.Add(e.prefix) != nil || e.network != "" && !visit(e.network) {
				return false
			}
		}
		return true
	}
	return !visit(name) || isEveryone(address.Union(append(named, all.Set())...))
}
