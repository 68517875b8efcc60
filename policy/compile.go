package policy

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

// Compiled is a policy ready to be enforced.
type Compiled struct {
	// State is canonical: the same policy, written another way, gives an equal one.
	State firewall.State
	// Services has what the policy says about each service beyond what is enforced, by name.
	Services map[string]ServiceInfo
	// Stale lists networks that could not be loaded and keep their last good content.
	Stale []StaleNetwork
	// Lists has a digest of what each loaded network holds, by the network's name: equal digests
	// mean equal addresses.
	Lists map[string]string
	// Networks is what each network that a service uses holds, by its name.
	Networks map[string]address.Set
	// Warnings lists what is not a mistake but needs attention, such as an expired entry.
	Warnings []Problem
	// Tests are the tests in the policy.
	Tests []Test
}

// StaleNetwork is a network whose source failed and whose content was loaded at Since.
type StaleNetwork struct {
	Name   string    `json:"name"`
	Source string    `json:"source"`
	Since  time.Time `json:"since"`
	Reason string    `json:"reason"`
	// Offline: its source was not asked, because Networks.Offline is set.
	Offline bool `json:"-"`
	// Location is where the policy defines it.
	Location Location `json:"-"`
}

// Compile loads the networks and makes the State. The error is Problems; it includes every network
// that could not be loaded and has no last good content. A failed source never makes a network
// empty or everyone.
//
// Expired entries stay in the State and allow nobody, so that an expiry does not change the State.
func (p *Policy) Compile(ctx context.Context, n *Networks) (*Compiled, error) {
	if n == nil {
		n = &Networks{}
	}
	c := compiler{policy: p, resolved: map[string]address.Set{}, now: n.now(),
		out: &Compiled{Services: p.Infos(), Tests: p.Tests, Lists: map[string]string{}}}
	used := p.used()
	loaded := loadExternal(ctx, n, used)
	var release func()
	c.shared, release = n.Memory.share()
	defer release()
	c.resolve(used, loaded)
	state := firewall.State{Unlisted: p.unlisted, Refuse: p.refuse, Established: p.established,
		Essentials: p.essentials, Direct: p.direct}
	if p.needsConnected() {
		state.Connected = c.connected(n)
	}
	state.Virtual = c.virtualServices(n)
	for _, s := range p.services {
		svc := s.enforced
		except, _ := c.sources(s.except)
		sources, expiring := c.sources(s.allow)
		svc.Sources, svc.Expiring = c.shared.minus(sources, except), expiring
		if except.Len() > 0 {
			svc.Expiring = withoutSources(expiring, except)
		}
		c.warnOfSources(s, svc)
		state.Services = append(state.Services, svc)
	}
	if err := c.report.problems(); err != nil {
		return nil, err
	}
	canonical, err := state.Canonical()
	if err != nil {
		// Read refuses everything that Canonical refuses. If a check is missing, apply nothing.
		return nil, p.refused(err)
	}
	c.endedAccepts()
	c.out.State, c.out.Networks = canonical, c.resolved
	c.out.Warnings = c.warnings.list.sorted(c.warnings.dropped)
	return c.out, nil
}

// refused are the mistakes that the State of a policy has.
func (p *Policy) refused(err error) Problems {
	var r reporter
	list := []error{err}
	if several, ok := err.(interface{ Unwrap() []error }); ok {
		list = several.Unwrap()
	}
	for _, err := range list {
		at := Location{File: p.FirstFile()}
		for _, s := range p.services {
			if strings.HasPrefix(err.Error(), fmt.Sprintf("service %q: ", s.enforced.Name)) {
				at = s.nameAt
			}
		}
		r.at(at, "%v", err)
	}
	return r.list.sorted(r.dropped)
}

// Infos has what the policy says about each service beyond what is enforced, by name.
func (p *Policy) Infos() map[string]ServiceInfo {
	infos := make(map[string]ServiceInfo, len(p.services))
	for _, s := range p.services {
		infos[s.enforced.Name] = s.info
	}
	return infos
}

type compiler struct {
	policy   *Policy
	now      time.Time
	resolved map[string]address.Set
	shared   *sharedSets
	report   reporter
	warnings reporter
	out      *Compiled
}

// loaded is the outcome of loading an external network.
type loaded struct {
	prefixes address.Set
	digest   string
	stale    *StaleNetwork
	err      error
}

// loadExternal loads the external ones of some networks concurrently. The outcome of the others is
// zero.
func loadExternal(ctx context.Context, n *Networks, used []*network) []loaded {
	results := make([]loaded, len(used))
	var wait sync.WaitGroup
	slots := make(chan struct{}, maxConcurrentLoads)
	for i, net := range used {
		if !net.external() {
			continue
		}
		slots <- struct{}{}
		wait.Go(func() {
			defer func() { <-slots }()
			r := &results[i]
			r.prefixes, r.digest, r.stale, r.err = n.load(ctx, net)
		})
	}
	wait.Wait()
	return results
}

// resolve fills resolved with every network that a service uses directly or indirectly: external
// ones as they were loaded, and lists, which may name other networks.
func (c *compiler) resolve(used []*network, results []loaded) {
	for name, prefixes := range builtIn {
		c.resolved[name] = prefixes
	}
	for i, net := range used { // each network comes after those it names
		if net.external() {
			r := results[i]
			c.resolved[net.name] = c.recordLoad(net, r.prefixes, r.stale, r.err)
			c.out.Lists[net.name] = r.digest
			continue
		}
		c.resolved[net.name], _ = c.sources(net.entries) // entries of networks never expire
	}
}

// used lists the networks that services use, each after those that it names.
func (p *Policy) used() []*network { return p.usedBy(p.services) }

// ListsOf names the loaded networks that each service uses, directly or indirectly.
func (p *Policy) ListsOf() map[string][]string {
	lists := make(map[string][]string, len(p.services))
	for _, s := range p.services {
		for _, net := range p.usedBy([]service{s}) {
			if net.external() {
				lists[s.enforced.Name] = append(lists[s.enforced.Name], net.name)
			}
		}
	}
	return lists
}

func (p *Policy) usedBy(services []service) []*network {
	var list []*network
	seen := map[string]bool{}
	var visit func(sources []source)
	visit = func(sources []source) {
		for _, s := range sources {
			net := p.networks[s.network]
			if net == nil || seen[net.name] {
				continue
			}
			seen[net.name] = true
			visit(net.entries) // Read has refused cycles
			list = append(list, net)
		}
	}
	for _, s := range services {
		visit(s.allow)
		visit(s.except)
	}
	return list
}

// recordLoad reports problems, warnings and staleness of an external network.
func (c *compiler) recordLoad(
	net *network,
	prefixes address.Set,
	stale *StaleNetwork,
	err error,
) address.Set {
	var problems Problems
	var file fileError
	switch {
	case errors.As(err, &problems):
		c.report.list = append(c.report.list, problems...)
	case errors.As(err, &file):
		c.report.at(net.sourceAt, "network %q: %v", net.name, err)
		c.report.markFault(isFault(err))
	case err != nil:
		c.report.at(
			net.sourceAt,
			"network %q: %v; it has never been loaded, so there is no last good content to go on "+
				"with",
			net.name,
			err,
		)
		c.report.markFault(isTransport(err))
	case stale != nil:
		stale.Location = net.sourceAt
		c.out.Stale = append(c.out.Stale, *stale)
	}
	if err == nil && prefixes.Len() == 0 {
		c.warnings.warn(RuleEmptyNetwork, net.at, "network %q is empty: it has nobody in it", net.name)
	}
	return prefixes
}

// sources resolves entries into permanent and expiring sources.
func (c *compiler) sources(entries []source) (address.Set, []firewall.ExpiringSource) {
	var permanent []source
	var expiring []firewall.ExpiringSource
	for _, e := range entries {
		if e.expires.IsZero() {
			permanent = append(permanent, e)
			continue
		}
		if !e.expires.After(c.now) {
			c.warnings.warn(
				RuleExpiredEntry,
				e.at,
				"this entry expired on %s and lets nobody in any more; remove it",
				e.expires.UTC().Format(time.RFC3339),
			)
		}
		for p := range c.prefixes(e) {
			expiring = append(expiring, firewall.ExpiringSource{Prefix: p, Until: e.expires})
		}
	}
	return c.union(permanent), expiring
}

// union merges permanent entries. Services that name the same networks share the result.
func (c *compiler) union(entries []source) address.Set {
	var names []string
	var inline address.Builder
	for _, e := range entries {
		if e.network != "" {
			names = append(names, e.network)
			c.network(e)
			continue
		}
		if err := inline.Add(e.prefix); err != nil { // parsePrefix has refused what Add refuses
			c.report.at(Location{File: c.policy.FirstFile()}, "%v", err)
		}
	}
	return c.shared.unionWith(c.shared.union(names, c.resolved), inline.Set())
}

// prefixes yields the prefixes of one entry.
func (c *compiler) prefixes(e source) iter.Seq[netip.Prefix] {
	if e.network == "" {
		return slices.Values([]netip.Prefix{e.prefix})
	}
	return c.network(e).All()
}

// network returns the content of the network that an entry names.
func (c *compiler) network(e source) address.Set {
	all, ok := c.resolved[e.network]
	if !ok { // can't happen, because Read refuses unknown networks; never treat one as empty
		c.report.at(e.at, "network %q is not loaded", e.network)
	}
	return all
}

// withoutSources removes the addresses in except from expiring sources. Canonical merges the rest.
func withoutSources(
	list []firewall.ExpiringSource,
	except address.Set,
) []firewall.ExpiringSource {
	var out []firewall.ExpiringSource
	for _, e := range list {
		for p := range address.Without(e.Prefix, except).All() {
			out = append(out, firewall.ExpiringSource{Prefix: p, Until: e.Until})
		}
	}
	return out
}
