package policy

import (
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall"
)

// finish checks what takes more than one value to judge, and returns the Policy or every mistake.
func (d *decoder) finish(origin string) (*Policy, error) {
	p := d.policy
	p.Origin = origin
	known := append(sortedNames(p.networks), sortedNames(builtIn)...)
	for _, name := range sortedNames(p.networks) {
		d.references(p.networks[name].entries, known)
	}
	for _, s := range p.services {
		d.references(s.allow, known)
		d.references(s.except, known)
	}
	d.cycles()
	d.clashes()
	d.testTargets()
	if err := d.report.problems(); err != nil {
		return nil, err
	}
	return p, nil
}

func (d *decoder) references(sources []source, known []string) {
	for _, s := range sources {
		if s.network != "" && !slices.Contains(known, s.network) {
			d.report.at(s.at, "unknown network %q%s; it is neither an address nor defined in networks", s.network, didYouMean(s.network, known))
		}
	}
}

// cycles reports each network that contains itself, once a cycle.
func (d *decoder) cycles() {
	const (
		untouched = iota
		open
		done
	)
	state := map[string]int{}
	var path []string
	var visit func(name string, at Location)
	visit = func(name string, at Location) {
		n := d.policy.networks[name]
		if n == nil || state[name] == done {
			return
		}
		if state[name] == open {
			from := slices.Index(path, name)
			d.report.at(at, "network %q contains itself: %s", name, strings.Join(append(slices.Clone(path[from:]), name), " → "))
			return
		}
		state[name] = open
		path = append(path, name)
		for _, e := range n.entries {
			if e.network != "" {
				visit(e.network, e.at)
			}
		}
		path = path[:len(path)-1]
		state[name] = done
	}
	for _, name := range sortedNames(d.policy.networks) {
		visit(name, d.policy.networks[name].at)
	}
}

// clashes reports ports that two services claim on the same interface and address.
func (d *decoder) clashes() {
	var services []firewall.Service
	for _, s := range d.policy.services {
		services = append(services, s.enforced)
	}
	at := map[string]Location{}
	for _, s := range d.policy.services {
		at[s.enforced.Name] = s.portsAt
	}
	for _, c := range firewall.Clashes(services) {
		d.report.at(at[c.Second], "service %q claims %s, which service %q claims too (%s); give each its own interfaces or addresses", c.Second, c.Ports, c.First, at[c.First])
	}
}

func (d *decoder) testTargets() {
	names := sortedNames(d.names)
	for _, t := range d.policy.Tests {
		if t.To != "" && !slices.Contains(names, t.To) {
			d.report.at(t.Location, "unknown service %q%s", t.To, didYouMean(t.To, names))
		}
	}
}
