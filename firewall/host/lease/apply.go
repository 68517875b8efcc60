package lease

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/portgrave/portgrave/firewall"
)

// Apply merges the leases that run at a moment into a canonical State, and returns the result in
// canonical form: at now and at every later moment it allows what s allows and what those leases
// open, and decides everything else as s does. Leases that are over, or wait, leave no trace, nor
// does a lease where it opens nothing (see Check).
//
// The order of leases does not matter. s is the State without leases: what the policy compiled to.
// The error says that a lease is none; no lease of a Store is.
func Apply(s firewall.State, leases []Lease, now time.Time) (firewall.State, error) {
	var running []Lease
	for _, l := range leases {
		if !l.Running(now) {
			continue
		}
		if err := l.check(); err != nil {
			return firewall.State{}, fmt.Errorf("lease %s: %w", l.ID, err)
		}
		l.Ports = mustMerge(l.Ports) // check has tried
		running = append(running, l)
	}
	if len(running) == 0 {
		return s, nil
	}
	out := s
	out.Services = slices.Clone(s.Services)
	for i, svc := range s.Services {
		var opens []firewall.Lease
		for _, l := range running {
			if overlap(svc.Ports, l.Ports) {
				opens = append(opens, firewall.Lease{Ports: l.Ports, Expiring: l.expiring()})
			}
		}
		var err error
		if out.Services[i], err = svc.WithLeases(opens...); err != nil {
			return firewall.State{}, err
		}
	}
	own, err := openedUnlisted(s, running)
	if err != nil {
		return firewall.State{}, err
	}
	out.Services = append(out.Services, own...)
	slices.SortFunc(
		out.Services,
		func(a, b firewall.Service) int { return strings.Compare(a.Name, b.Name) },
	)
	return out, nil
}

func overlap(a, b []firewall.PortRange) bool {
	return slices.ContainsFunc(a, func(r firewall.PortRange) bool {
		return slices.ContainsFunc(b, r.Overlaps)
	})
}

// piece is a range of ports that no service lists and the same leases open throughout.
type piece struct {
	ports  firewall.PortRange
	leases []int // ascending
}

// unlistedPieces cuts the ports of leases that no service lists.
func unlistedPieces(services []firewall.Service, leases []Lease) (out []piece) {
	var lists [][]firewall.PortRange
	for _, svc := range services {
		lists = append(lists, svc.Ports)
	}
	for _, l := range leases {
		lists = append(lists, l.Ports)
	}
	for _, cut := range firewall.CutPorts(lists...) {
		if cut.In[0] < len(services) {
			continue
		}
		for i := range cut.In {
			cut.In[i] -= len(services)
		}
		out = append(out, piece{cut.Ports, cut.In})
	}
	return out
}

// expiring are the lease's sources, with its end.
func (l Lease) expiring() []firewall.ExpiringSource {
	out := make([]firewall.ExpiringSource, 0, l.Sources.Len())
	for p := range l.Sources.All() {
		out = append(out, firewall.ExpiringSource{Prefix: p, Until: l.Until})
	}
	return out
}

// mustMerge is mergePorts for ports that have been checked.
func mustMerge(ports []firewall.PortRange) []firewall.PortRange {
	merged, err := mergePorts(ports)
	if err != nil {
		panic(fmt.Sprintf("lease: merging ports that have been checked: %v", err))
	}
	return merged
}

// openedUnlisted is the services of leases on ports that no service lists. Only under unlisted:
// deny: there such a port is closed to everybody, and stays closed to everybody else.
func openedUnlisted(s firewall.State, leases []Lease) (out []firewall.Service, err error) {
	if s.Unlisted != firewall.UnlistedDeny {
		return nil, nil
	}
	own := firewall.Service{Log: firewall.LogDenied}
	for _, p := range unlistedPieces(s.Services, leases) {
		if !slices.ContainsFunc(p.leases, func(i int) bool { return leases[i].Unlisted }) {
			continue
		}
		if s.Essentials.Keep(p.ports.Protocol) {
			continue // it is open to everybody, and would be closed to all but the lease's sources
		}
		own.Ports = append(own.Ports, withoutDHCP(s, p.ports)...)
	}
	if len(own.Ports) == 0 {
		return nil, nil
	}
	own.Ports = mustMerge(own.Ports)
	for _, l := range leases {
		if l.Unlisted {
			own.Leases = append(own.Leases, firewall.Lease{Ports: l.Ports, Expiring: l.expiring()})
		}
	}
	if own, err = own.WithLeases(); err != nil {
		return nil, err
	}
	names := namesOf(s.Services)
	for _, part := range own.ByLease() {
		part.Name = names.take(ownStem, part.Ports[0])
		out = append(out, part)
	}
	return out, nil
}

// withoutDHCP takes the ports of the host's DHCP clients out of a range, if their answers are
// essential: a service that lists such a port decides alone who may reach it, so a lease would lose
// the host its address.
func withoutDHCP(s firewall.State, r firewall.PortRange) []firewall.PortRange {
	out := []firewall.PortRange{r}
	if r.Protocol != firewall.UDP || !s.Essentials.Has(firewall.EssentialDHCP) {
		return out
	}
	for _, port := range []uint16{firewall.DHCPClientPort, firewall.DHCPv6ClientPort} {
		last := out[len(out)-1]
		if !last.Contains(firewall.UDP, port) {
			continue
		}
		out = out[:len(out)-1]
		if last.First < port {
			out = append(
				out,
				firewall.PortRange{Protocol: firewall.UDP, First: last.First, Last: port - 1},
			)
		}
		if port < last.Last {
			out = append(
				out,
				firewall.PortRange{Protocol: firewall.UDP, First: port + 1, Last: last.Last},
			)
		}
		if len(out) == 0 {
			return nil
		}
	}
	return out
}
