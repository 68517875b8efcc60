package audit

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// ImportOptions say which sources an import includes.
type ImportOptions struct {
	// IncludeUnknown includes every source that possibly gets in, instead of those that certainly
	// do.
	IncludeUnknown bool
}

// Imported is a policy that reproduces the rules of a host, so that it can replace them. Sources
// that only an unknown condition lets in are omitted unless IncludeUnknown is set.
type Imported struct {
	Unlisted firewall.Unlisted
	Refuse   firewall.Refuse
	// Closed are the essentials that the rules refuse today.
	Closed firewall.Essentials
	// Direct are the interfaces of workloads to whose own addresses the rules forward nothing.
	Direct   []string
	Networks []ImportedNetwork
	Services []ImportedService
	// Notes say what the policy can't express, a sentence each.
	Notes []string
	// UnknownNotes are those notes that name a rule for all ports whose sources can't be known, with
	// that rule.
	UnknownNotes map[string]string
}

// ImportedNetwork is a set of sources with its name in the rules.
type ImportedNetwork struct {
	Name    string
	Sources address.Set
}

// ImportedService is a service that reproduces an opening.
type ImportedService struct {
	firewall.Service
	// Purpose is the text of the rules' comments.
	Purpose string
	// Behind is the listener, for people. Target is where packets go instead of this host.
	Behind, Target string
	// Everything: the service is for most ports.
	Everything bool
	// Idle: the rules open it, but nothing listens.
	Idle bool
	// Rated are the rules that the rate replaces.
	Rated []string
	// Unlimited are the sources that the rules don't limit, but the service's rate does.
	Unlimited address.Set
	// Withheld are the sources that Unknown may let in or not, and that are omitted.
	Withheld address.Set
	// Ending are sources that get in only until elements of sets expire, such as those of a lease.
	// They are omitted.
	Ending []EndingSource
	// MoreEnding says that there are more such sources, for people; "" if there are none.
	MoreEnding string
	// Unknown are rules whose sources can't be known. They are omitted or, with IncludeUnknown,
	// included.
	Unknown []string
	// Stopping are those of Unknown that refuse packets.
	Stopping []string
}

// Import builds the policy that reproduces what the rules let in today.
//
// It asks the evaluator about everything that the rules distinguish: ports, protocols without
// ports, interfaces and the host's addresses, with or without a listener. The answer for most ports
// of an interface is its default. If the default refuses the public, the policy has unlisted: deny,
// and everything that differs from the default becomes a service. Otherwise unlisted ports are left
// alone, and ports that are narrower than the default, or have a listener, become services.
func Import(ctx context.Context, in Input, o ImportOptions) (Imported, error) {
	if in.Rules == nil || in.Host == nil {
		return Imported{}, errors.New("an import needs the rules and the host")
	}
	// The host's own check of sources stays in force without the rules, so no service repeats it.
	in.Host = withTentative(withoutSourceFilter(in.Host))
	s := &survey{
		// What the rules do to neighbour discovery is the policy's essentials' matter.
		auditor: &auditor{Input: in, neighboursKnown: true},
		options: o,
		pool:    newPool(),
	}
	s.evaluator = s.newEvaluator(in.Rules, in.Host)
	if lasting := in.Rules.Lasting(); lasting != in.Rules {
		s.lasting = s.newEvaluator(lasting, in.Host)
		s.findExpiring()
	}
	s.collectHost()
	s.unroutable = s.unroutable.union(s.localNetworks()) // the host's own addresses too
	s.pool.unroutable = s.unroutable
	s.groups = s.namedGroups()
	s.telling = tellsGroups(in.Rules)
	if err := s.ask(ctx); err != nil {
		return Imported{}, err
	}
	s.findDefaults()
	out := Imported{Unlisted: firewall.UnlistedIgnore, Refuse: s.refusal()}
	w := &importWriter{survey: s, out: &out, taken: map[string]bool{}}
	closed, open := s.refusing()
	if closed {
		out.Unlisted = firewall.UnlistedDeny
	} else if s.tooManyPorts {
		return Imported{}, errTooManyPorts
	}
	if closed && len(open) > 0 {
		w.note("the rules leave most ports open %s: who listens today keeps that, and all else is "+
			"closed, until the # before the services all-ports is removed", strings.Join(open, " and "))
	}
	w.services()
	w.noteBlocklists()
	w.essentials()
	w.addPing()
	w.findDirect()
	w.networks()
	w.notes()
	return out, ctx.Err()
}

// errTooManyPorts: a policy that leaves unlisted ports alone would open ports that the rules close.
var errTooManyPorts = errors.New(
	"the rules leave most ports open, and tell too many of the others " +
		"apart to ask about each: a policy would open ports that they close. Put ports with the same " +
		"sources into one rule or set, or refuse by default in the old rules, then import again",
)

// withoutSourceFilter is the host without rp_filter.
func withoutSourceFilter(h *exposure.Host) *exposure.Host {
	c := *h
	c.All.RPFilter = 0
	c.Interfaces = append([]exposure.Interface(nil), h.Interfaces...)
	for i := range c.Interfaces {
		c.Interfaces[i].Sysctls.RPFilter = 0
	}
	return &c
}

// withTentative is the host once duplicate address detection has ended, within a second or two. An
// address that comes just now would otherwise be told apart from the others.
func withTentative(h *exposure.Host) *exposure.Host {
	c := *h
	c.Routes = slices.Clone(h.Routes)
	for _, i := range h.Interfaces {
		table := uint32(255)
		if master := h.ByIndex(i.Master); master != nil && master.VRFTable != 0 {
			table = master.VRFTable
		}
		for _, a := range i.Tentative {
			r := exposure.Route{
				Table: table, Type: exposure.RouteLocal, Dest: netip.PrefixFrom(a, a.BitLen()),
				NextHops: []exposure.NextHop{{Index: i.Index}},
			}
			// The kernel has the route already for an optimistic address (RFC 4429).
			if !slices.ContainsFunc(c.Routes, func(o exposure.Route) bool {
				return o.Table == r.Table && o.Type == r.Type && o.Dest == r.Dest &&
					slices.Equal(o.NextHops, r.NextHops)
			}) {
				c.Routes = append(c.Routes, r)
			}
		}
	}
	return &c
}
