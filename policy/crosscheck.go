package policy

import (
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall"
)

// finish makes the checks that need more than one value. It returns the Policy or every mistake.
func (d *decoder) finish(origin string) (*Policy, error) {
	p := d.policy
	p.Origin = origin
	if !d.incomplete {
		d.checkReferences()
	}
	d.checkCycles()
	d.checkClashes()
	if err := d.report.problems(); err != nil {
		return nil, err
	}
	return p, nil
}

// checkReferences reports names that are not defined.
func (d *decoder) checkReferences() {
	known := map[string]bool{}
	for name := range builtIn {
		known[name] = true
	}
	for name := range d.policy.networks {
		known[name] = true
	}
	verify := func(sources []source, hint func(name string) string) {
		for _, s := range sources {
			if s.network != "" && !known[s.network] {
				d.report.at(
					s.at,
					"unknown network %q%s; it is neither an address nor defined in networks%s",
					s.network,
					d.suggestNetwork(s.network),
					hint(s.network),
				)
			}
		}
	}
	for _, name := range sortedNames(d.policy.networks) {
		verify(d.policy.networks[name].entries, entryOfNetworkHint)
	}
	for _, s := range d.policy.services {
		verify(s.allow, networkHint)
		verify(s.except, exceptHint)
	}
	for _, t := range d.testTargets {
		if _, defined := d.names[t.name]; !defined {
			d.report.at(t.at, "unknown service %q%s", t.name, suggest(&d.report, t.name, d.names))
		}
	}
}

// checkCycles reports networks that contain themselves, once for each cycle.
func (d *decoder) checkCycles() {
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
			cycle := append(slices.Clone(path[from:]), name)
			d.report.at(at, "network %q contains itself: %s", name, strings.Join(cycle, " → "))
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

// checkClashes reports ports that two services claim on the same interface and address.
func (d *decoder) checkClashes() {
	var services []firewall.Service
	byName := map[string]service{}
	for _, s := range d.policy.services {
		if s.uncertain {
			continue
		}
		services = append(services, s.enforced)
		byName[s.enforced.Name] = s
	}
	for _, c := range firewall.Clashes(services) {
		first := byName[c.First].portLocation(c.Ports)
		second := byName[c.Second].portLocation(c.Ports)
		d.report.at(
			second,
			"service %q claims %s, which service %q claims too (%s); give each its own "+
				"interfaces or addresses",
			c.Second,
			c.Ports,
			c.First,
			first,
		)
	}
}

// portLocation returns the location of the port entry that overlaps ports.
func (s service) portLocation(ports firewall.PortRange) Location {
	for i, r := range s.enforced.Ports {
		if r.Overlaps(ports) {
			return s.portsAt[i]
		}
	}
	return s.info.Location
}
