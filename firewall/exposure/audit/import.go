package audit

import (
	"context"
	"errors"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// ImportOptions say what an import takes in.
type ImportOptions struct {
	// IncludeUnknown takes every source that possibly gets in, instead of those that surely do.
	IncludeUnknown bool
}

// Imported is a policy that reproduces what the rules of a host do today, so that it can replace
// them. Sources that only an unknown condition lets in are left out unless they were asked for.
type Imported struct {
	Unlisted firewall.Unlisted
	Refuse   firewall.Refuse
	// Closed are essentials that the rules refuse today.
	Closed firewall.Essentials
	// Direct are interfaces of workloads whose own addresses the rules guard.
	Direct   []string
	Networks []ImportedNetwork
	Services []ImportedService
	// Notes say what the policy can't, a sentence each.
	Notes []string
}

// ImportedNetwork is a set of sources with the name that the rules give it.
type ImportedNetwork struct {
	Name    string
	Sources firewall.Prefixes
}

// ImportedService is a service that reproduces an opening.
type ImportedService struct {
	firewall.Service
	// Purpose is what comments of the rules say.
	Purpose string
	// Behind is who listens, for people; Target is where packets go instead of this host.
	Behind, Target string
	// Idle: the rules open it, and nobody listens.
	Idle bool
	// Rated are the rules that the rate stands for.
	Rated []string
	// Unlimited are the sources for which the rules have no rate, and the service has.
	Unlimited firewall.Prefixes
	// Unknown are the rules of which can't be known whom they let in. Their sources are left out,
	// or with IncludeUnknown taken in.
	Unknown []string
}

// Import puts together the policy that reproduces what the rules let in today.
//
// It asks the evaluator about everything that the rules tell apart: ports, protocols without ports,
// interfaces and the host's addresses, whether or not anybody listens. What most ports get on an
// interface is the default there. Where that refuses the public, the policy is unlisted: deny, and
// all that differs from the default is a service; else unlisted ports are left alone, and ports
// that are narrower than the default, or have a listener, are services.
func Import(ctx context.Context, in Input, o ImportOptions) (Imported, error) {
	if in.Rules == nil || in.Host == nil {
		return Imported{}, errors.New("an import needs the rules and the host")
	}
	// The host's own check of sources stays in force without the rules, so no service repeats it.
	in.Host = withoutSourceFilter(in.Host)
	s := &survey{
		auditor: &auditor{Input: in, evaluator: exposure.NewEvaluator(in.Rules, in.Host)},
		options: o,
		pool:    newPool(),
	}
	s.look()
	s.pool.unroutable = s.unroutable
	s.groups = multicastGroups(in.Rules)
	if err := s.ask(ctx); err != nil {
		return Imported{}, err
	}
	s.findDefaults()
	out := Imported{Unlisted: firewall.UnlistedIgnore, Refuse: s.refusal()}
	w := &importWriter{survey: s, out: &out, taken: map[string]bool{}}
	refusing := s.refusing()
	if refusing[firewall.IPv4] || refusing[firewall.IPv6] {
		out.Unlisted = firewall.UnlistedDeny
	}
	for _, f := range firewall.Families {
		if closed, has := refusing[f]; has && !closed && w.deny() {
			w.note("the rules leave most ports open over %s: who listens today keeps that, and all "+
				"else is closed", f)
		}
	}
	w.services()
	w.essentials()
	w.direct()
	w.networks()
	w.notes()
	return out, ctx.Err()
}

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
