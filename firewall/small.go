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
		if svc.Sources.Len()+len(svc.AllExpiring()) > smallSources {
			svc.Sources, svc.Expiring, svc.Leases = address.Set{}, nil, nil
			reduced[svc.Name] = i
		}
		small.Services[i] = svc
	}
	if len(reduced) == 0 {
		return s, false
	}
	small.Refuse = RefuseDrop
	index := s.Index()
	for _, c := range LockedOut(small, running, Connection{}, now, nameOwners) {
		f := c.Flow()
		d := index.Decide(f, now)
		i, found := reduced[d.Service]
		if d.Verdict != Allowed || !found {
			continue
		}
		small.Services[i].keep(s.Services[i], f, now)
	}
	return small, true
}

// keep lets one client in that a canonical service lets in: to all ports, or to those of its lease.
func (svc *Service) keep(all Service, f Flow, now time.Time) {
	client := f.Source.Unmap().WithZone("")
	own := netip.PrefixFrom(client, client.BitLen())
	if all.Allows(client, now) {
		one, _ := address.New(own) // an address always makes a prefix
		svc.Sources = svc.Sources.Union(one)
		return
	}
	for _, l := range all.Leases {
		if end, expires := until(l.Expiring, client); expires && l.opens(f.Protocol, f.Port) {
			// All parts are canonical.
			*svc, _ = svc.WithLeases(Lease{l.Ports, []ExpiringSource{{own, end}}})
		}
	}
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
