package main

import (
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure/audit"
	"github.com/portgrave/portgrave/policy"
)

// placer finds in the policy on disk, which is the one to edit, what one of our own rules has
// decided. It reads the policy at the first question, and the networks of a service once.
type placer struct {
	inv     *invocation
	read    bool
	policy  *policy.Policy // nil if it can't be read
	infos   map[string]policy.ServiceInfo
	refused map[string]refusedSources // by service
}

// refusedSources are the entries of a service's except, and what its allow holds.
type refusedSources struct {
	entries []policy.Exception
	allow   address.Set
}

func newPlacer(inv *invocation) *placer {
	return &placer{inv: inv, refused: map[string]refusedSources{}}
}

// place adds to an explanation of packets from some sources where the policy has the service, and
// the entry of its except that takes some of them away.
func (p *placer) place(x *audit.Explanation, from address.Set) {
	if x.Service == "" {
		return
	}
	if !p.read {
		p.read = true
		if read, err := p.inv.policyOnDisk(); err == nil {
			p.policy, p.infos = read, read.Infos()
		}
	}
	info, known := p.infos[x.Service]
	if !known {
		return
	}
	x.Policy = info.Location.String()
	if x.Reason != audit.DroppedHere {
		return
	}
	refused := p.refusedBy(x.Service)
	for _, e := range refused.entries {
		if !e.Sources.Disjoint(from) {
			x.Except, x.Unallowed = e.At.String(), refused.allow.Disjoint(from)
			return
		}
	}
}

// refusedBy is empty where a network can't be loaded.
func (p *placer) refusedBy(service string) refusedSources {
	r, known := p.refused[service]
	if !known {
		networks := p.inv.networks(howToRead{offline: true}, &stage{})
		if entries, allow, err := p.policy.Exceptions(p.inv.ctx, service, networks); err == nil {
			r = refusedSources{entries, allow}
		}
		p.refused[service] = r
	}
	return r
}
