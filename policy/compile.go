package policy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/portgrave/portgrave/firewall"
)

// Compiled is a policy ready to be enforced.
type Compiled struct {
	// State is canonical: the same policy, written another way, gives an equal one.
	State firewall.State
	// Services has what the policy says about each service beyond what is enforced, by name.
	Services map[string]ServiceInfo
	// Stale lists networks that could not be loaded and keep their last good content.
	Stale []StaleNetwork
	// Warnings are no mistakes, but worth a look: an entry that has expired.
	Warnings []Problem
	// Tests are the policy's own.
	Tests []Test
}

// StaleNetwork is a network whose source failed; it has the content of Since.
type StaleNetwork struct {
	Name   string    `json:"name"`
	Source string    `json:"source"`
	Since  time.Time `json:"since"`
	Reason string    `json:"reason"`
}

// Compile loads the networks and makes the State. The error is Problems: among them every network that could not be
// loaded and has no last good content. A failed source never makes a network empty or everyone.
//
// Entries that have expired stay in the State, where they allow nobody: an end that comes by
// itself is no change of the policy.
func (p *Policy) Compile(ctx context.Context, n *Networks) (*Compiled, error) {
	c := compiler{policy: p, resolved: map[string]firewall.Prefixes{}, now: n.now(),
		out: &Compiled{Services: map[string]ServiceInfo{}, Tests: p.Tests}}
	c.load(ctx, n)
	state := firewall.State{Unlisted: p.unlisted, Refuse: p.refuse, Established: p.established, Essentials: p.essentials}
	for _, s := range p.services {
		svc := s.enforced
		except, _ := c.sources(s.except)
		sources, expiring := c.sources(s.allow)
		svc.Sources = sources.Minus(except)
		svc.Expiring = withoutSources(expiring, except)
		state.Services = append(state.Services, svc)
		c.out.Services[svc.Name] = s.info
	}
	if err := c.report.problems(); err != nil {
		return nil, err
	}
	canonical, err := state.Canonical()
	if err != nil {
		// The checks of Read let nothing through that Canonical refuses; should they ever, nothing is applied.
		return nil, fmt.Errorf("%s: %w", p.Origin, err)
	}
	c.out.State = canonical
	c.out.Warnings = c.warnings.list.ordered()
	return c.out, nil
}

type compiler struct {
	policy   *Policy
	now      time.Time
	resolved map[string]firewall.Prefixes
	report   reporter
	warnings reporter
	out      *Compiled
}

// load fills resolved with every network that some service uses, directly or not.
func (c *compiler) load(ctx context.Context, n *Networks) {
	for name, prefixes := range builtIn {
		c.resolved[name] = prefixes
	}
	var visit func(sources []source)
	visit = func(sources []source) {
		for _, s := range sources {
			net := c.policy.networks[s.network]
			if _, done := c.resolved[s.network]; done || net == nil {
				continue
			}
			if !net.external() {
				visit(net.entries) // Read has refused cycles
				prefixes, expiring := c.sources(net.entries)
				for _, e := range expiring { // the language has no expiring entries in networks
					c.report.at(net.at, "an entry for %s expires", e.Prefix)
				}
				c.resolved[s.network] = prefixes
				continue
			}
			c.resolved[s.network] = c.external(ctx, n, net)
		}
	}
	for _, s := range c.policy.services {
		visit(s.allow)
		visit(s.except)
	}
}

func (c *compiler) external(ctx context.Context, n *Networks, net *network) firewall.Prefixes {
	prefixes, stale, err := n.load(ctx, net)
	var problems Problems
	switch {
	case errors.As(err, &problems):
		c.report.list = append(c.report.list, problems...)
	case err != nil:
		c.report.at(net.at, "network %q: %v; it has never been loaded, so there is no last good content to go on with", net.name, err)
	case stale != nil:
		c.out.Stale = append(c.out.Stale, *stale)
	}
	if err == nil && prefixes.Len() == 0 {
		c.warnings.at(net.at, "network %q is empty: it lets nobody in", net.name)
	}
	return prefixes
}

// sources merges entries into what is allowed for good and what expires.
func (c *compiler) sources(entries []source) (firewall.Prefixes, []firewall.ExpiringSource) {
	var permanent []firewall.Prefix
	var expiring []firewall.ExpiringSource
	for _, e := range entries {
		if !e.expires.IsZero() && !e.expires.After(c.now) {
			c.warnings.at(e.at, "this entry expired on %s and lets nobody in any more; remove it", e.expires.UTC().Format(time.RFC3339))
		}
		add := func(p firewall.Prefix) {
			if e.expires.IsZero() {
				permanent = append(permanent, p)
			} else {
				expiring = append(expiring, firewall.ExpiringSource{Prefix: p, Until: e.expires})
			}
		}
		if e.network == "" {
			add(e.prefix)
			continue
		}
		for p := range c.resolved[e.network].All() {
			add(p)
		}
	}
	all, err := firewall.NewPrefixes(permanent...)
	if err != nil { // parsePrefix lets nothing through that this refuses
		c.report.at(Location{File: c.policy.Origin}, "%v", err)
	}
	return all, expiring
}

// withoutSources removes addresses from expiring sources.
func withoutSources(list []firewall.ExpiringSource, except firewall.Prefixes) []firewall.ExpiringSource {
	if except.Len() == 0 {
		return list
	}
	var out []firewall.ExpiringSource
	for _, e := range list {
		one, err := firewall.NewPrefixes(e.Prefix)
		if err != nil {
			continue
		}
		for p := range one.Minus(except).All() {
			out = append(out, firewall.ExpiringSource{Prefix: p, Until: e.Until})
		}
	}
	return out
}
