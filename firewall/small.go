package firewall

import (
	"net/netip"
	"time"

	"github.com/portgrave/portgrave/firewall/address"
)

// smallSources is how many sources of a service Small keeps: as many as the backends write as rules
// of their own, without a set.
const smallSources = 16

// Small is a State that takes milliseconds to put in force, however many sources s has: services
// with more than a few let nobody in but the running SSH sessions that s allows. It stands in for s
// while there is no time for s, and never lets in whom s refuses. False: it is s, which has no long
// list.
//
// Refused packets are dropped whatever s says, since an answer would end connections that s allows.
// running are the connections to the host, and nameOwners fills in whose they are, as for
// LockedOut.
func (s State) Small(running []Connection, now time.Time,
	nameOwners func([]Connection)) (State, bool) {
	small := s
	small.Services = make([]Service, len(s.Services))
	reduced := map[string]int{} // services that lose their sources, by name
	for i, svc := range s.Services {
		if svc.Sources.Len()+len(svc.Expiring) > smallSources {
			svc.Sources, svc.Expiring = address.Set{}, nil
			reduced[svc.Name] = i
		}
		small.Services[i] = svc
	}
	if len(reduced) == 0 {
		return s, false
	}
	small.Refuse = RefuseDrop
	kept := map[int]*address.Builder{}
	index := s.Index()
	for _, c := range LockedOut(small, running, Connection{}, now, nameOwners) {
		d := index.Decide(c.Flow(), now)
		i, found := reduced[d.Service]
		if d.Verdict != Allowed || !found {
			continue
		}
		if kept[i] == nil {
			kept[i] = &address.Builder{}
		}
		client := c.Client.Addr().Unmap().WithZone("")
		// an address always makes a prefix
		_ = kept[i].Add(netip.PrefixFrom(client, client.BitLen()))
	}
	for i, b := range kept {
		if b != nil {
			small.Services[i].Sources = b.Set()
		}
	}
	return small, true
}

// Restores reports whether the plan puts rules right, and not only what stands in sets: until it is
// applied, it is unknown what gets in.
func (p Plan) Restores() bool {
	for _, c := range p.Changes {
		switch c.Object {
		case ObjectElement, ObjectSet:
		default:
			return true
		}
	}
	return false
}
