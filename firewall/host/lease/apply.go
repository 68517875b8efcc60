package lease

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
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
	listed, unlisted := piecesOf(s.Services, running)
	names := namesOf(s.Services)
	out := s
	out.Services = nil
	for i, svc := range s.Services {
		out.Services = append(out.Services, opened(svc, listed[i], running, names)...)
	}
	out.Services = append(out.Services, openedUnlisted(s, unlisted, running, names)...)
	// All else is canonical already: parts of a service claim no more than it did.
	slices.SortFunc(
		out.Services,
		func(a, b firewall.Service) int { return strings.Compare(a.Name, b.Name) },
	)
	return out, nil
}

// piece is a range of ports that the same leases open throughout.
type piece struct {
	ports  firewall.PortRange
	leases []int // ascending; none where no lease opens
}

// piecesOf cuts the ports of all services and leases: listed are the pieces of each service,
// unlisted those of leases alone.
func piecesOf(services []firewall.Service, leases []Lease) (listed [][]piece, unlisted []piece) {
	index := map[string]int{} // services from 0 on, leases after them
	var all []firewall.Service
	for _, svc := range services {
		index[svc.Name] = len(all)
		all = append(all, svc)
	}
	for i, l := range leases {
		name := "(lease " + strconv.Itoa(i) + ")" // no service can be called that
		index[name] = len(all)
		all = append(all, firewall.Service{Name: name, Ports: l.Ports})
	}
	listed = make([][]piece, len(services))
	for _, p := range firewall.PortPieces(all) {
		var in, by []int
		for _, svc := range p.Services {
			if i := index[svc.Name]; i < len(services) {
				in = append(in, i)
			} else {
				by = append(by, i-len(services))
			}
		}
		for _, i := range in {
			listed[i] = append(listed[i], piece{p.Ports, by})
		}
		if len(in) == 0 {
			unlisted = append(unlisted, piece{p.Ports, by})
		}
	}
	return listed, unlisted
}

// group is the pieces of one service that shall have the same expiring sources.
type group struct {
	ports    []firewall.PortRange
	expiring []firewall.ExpiringSource
}

// groupPieces puts pieces together by what is open on them, not by who opened it: leases that mean
// the same split nothing. opens is what a lease adds to what expires already.
func groupPieces(
	pieces []piece,
	expiring []firewall.ExpiringSource,
	opens func(lease int) []firewall.ExpiringSource,
) []group {
	byLeases, byContent := map[string]int{}, map[string]int{}
	var groups []group
	for _, p := range pieces {
		key := fmt.Sprint(p.leases)
		i, known := byLeases[key]
		if !known {
			merged := slices.Clone(expiring)
			for _, l := range p.leases {
				merged = append(merged, opens(l)...)
			}
			merged = firewall.LatestEnds(merged)
			content := contentKey(merged)
			if i, known = byContent[content]; !known {
				i = len(groups)
				groups = append(groups, group{expiring: merged})
			}
			byLeases[key], byContent[content] = i, i
		}
		groups[i].ports = append(groups[i].ports, p.ports)
	}
	return groups
}

func contentKey(expiring []firewall.ExpiringSource) string {
	var b strings.Builder
	for _, e := range expiring {
		fmt.Fprintf(&b, "%s %d,", e.Prefix, e.Until.Unix())
	}
	return b.String()
}

// opened is a service with its leases: itself, and one service more for each group of ports that
// leases open differently.
func opened(svc firewall.Service, pieces []piece, leases []Lease, names names) []firewall.Service {
	adds := additions(svc, pieces, leases)
	if len(adds) == 0 {
		return []firewall.Service{svc}
	}
	groups := groupPieces(
		pieces,
		svc.Expiring,
		func(i int) []firewall.ExpiringSource { return adds[i] },
	)
	keeps := keeper(groups, svc.Expiring)
	var out []firewall.Service
	for i, g := range groups {
		part := svc
		part.Ports, part.Expiring = mustMerge(g.ports), g.expiring
		if i != keeps {
			part.Name = names.take(stem(svc.Name)+leased, part.Ports[0])
		}
		out = append(out, part)
	}
	return out
}

// additions is what each lease opens on a service that is not allowed for good. A service may have
// a million sources; what the leases have in common with them is few, and is looked for once.
func additions(
	svc firewall.Service,
	pieces []piece,
	leases []Lease,
) map[int][]firewall.ExpiringSource {
	adds := map[int][]firewall.ExpiringSource{}
	var asked []netip.Prefix
	for _, p := range pieces {
		for _, i := range p.leases {
			if _, seen := adds[i]; !seen {
				adds[i] = nil
				asked = slices.AppendSeq(asked, leases[i].Sources.All())
			}
		}
	}
	if len(adds) == 0 {
		return nil
	}
	all, _ := address.New(asked...) // they were in sets, so they are fit for one
	permanent := all.Intersect(svc.Sources)
	for i := range adds {
		fresh := leases[i].Sources
		if permanent.Len() > 0 {
			fresh = fresh.Minus(permanent)
		}
		adds[i] = ending(fresh, leases[i].Until)
	}
	return adds
}

func ending(sources address.Set, until time.Time) []firewall.ExpiringSource {
	out := make([]firewall.ExpiringSource, 0, sources.Len())
	for p := range sources.All() {
		out = append(out, firewall.ExpiringSource{Prefix: p, Until: until})
	}
	return out
}

// mustMerge is mergePorts for pieces of what was merged before.
func mustMerge(ports []firewall.PortRange) []firewall.PortRange {
	merged, err := mergePorts(ports)
	if err != nil {
		panic(fmt.Sprintf("lease: merging pieces of ports: %v", err))
	}
	return merged
}

// keeper picks the group that keeps the service's name, and with it its chains, sets and counters
// in the kernel: the ports that no lease opens; if leases open all of them, those where they open
// least. So one lease more on the same ports changes elements only.
func keeper(groups []group, unchanged []firewall.ExpiringSource) int {
	best := 0
	for i, g := range groups {
		if contentKey(g.expiring) == contentKey(unchanged) {
			return i
		}
		if len(g.expiring) < len(groups[best].expiring) {
			best = i
		}
	}
	return best
}

// openedUnlisted is the services of leases on ports that no service lists. Only under unlisted:
// deny: there such a port is closed to everybody, and stays closed to everybody else.
func openedUnlisted(
	s firewall.State,
	pieces []piece,
	leases []Lease,
	names names,
) []firewall.Service {
	if s.Unlisted != firewall.UnlistedDeny {
		return nil
	}
	var forced []piece
	for _, p := range pieces {
		by := slices.DeleteFunc(
			slices.Clone(p.leases),
			func(i int) bool { return !leases[i].Unlisted },
		)
		if len(by) == 0 {
			continue
		}
		if s.Essentials.Keep(p.ports.Protocol) {
			continue // it is open to everybody, and would be closed to all but the lease's sources
		}
		for _, r := range withoutDHCP(s, p.ports) {
			forced = append(forced, piece{r, by})
		}
	}
	var out []firewall.Service
	for _, g := range groupPieces(forced, nil, func(i int) []firewall.ExpiringSource { return ending(leases[i].Sources, leases[i].Until) }) {
		out = append(
			out,
			firewall.Service{
				Name:     names.take(ownStem, g.ports[0]),
				Ports:    mustMerge(g.ports),
				Expiring: g.expiring,
				Log:      firewall.LogDenied,
			},
		)
	}
	return out
}

// withoutDHCP takes the ports of the host's DHCP clients out of a range, if their answers are
// essential: whoever lists such a port decides alone who may reach it, so a lease would lose the
// host its address.
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
