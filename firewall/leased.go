package firewall

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/portgrave/portgrave/firewall/address"
)

// Lease is what leases open on some ports: sources until a moment, besides those that may reach the
// ports anyway.
type Lease struct {
	// Ports, ordered, disjoint, never adjacent within a protocol, never empty.
	Ports []PortRange `json:"ports"`
	// Expiring sources, disjoint from each other, ordered by prefix, never empty.
	Expiring []ExpiringSource `json:"expiring"`
}

// Equal reports whether two canonical leases open the same.
func (l Lease) Equal(o Lease) bool {
	return slices.Equal(l.Ports, o.Ports) && slices.EqualFunc(l.Expiring, o.Expiring, sameExpiring)
}

func sameExpiring(a, b ExpiringSource) bool {
	return a.Prefix == b.Prefix && a.Until.Equal(b.Until)
}

// opens reports whether the lease opens a port.
func (l Lease) opens(p Protocol, port uint16) bool {
	return slices.ContainsFunc(l.Ports, func(r PortRange) bool { return r.Contains(p, port) })
}

// WithLeases is a canonical service with more leases, in canonical form. What they open on ports
// that are not the service's is left out. The error says that ports are none.
func (svc Service) WithLeases(more ...Lease) (Service, error) {
	svc.Leases = slices.Concat(svc.Leases, more)
	return svc.canonicalLeases()
}

// canonicalLeases brings the leases of a service that is canonical otherwise into their one form.
// Each address has its latest end on each port. What leases open on all ports is part of Expiring,
// and what Sources and Expiring allow as long stands in no lease. Ports on which leases open the
// same are one lease, in the order of the ports.
func (svc Service) canonicalLeases() (Service, error) {
	var leases []Lease
	lists := [][]PortRange{svc.Ports}
	for _, l := range svc.Leases {
		ports, err := mergePorts(l.Ports)
		if err != nil {
			return svc, fmt.Errorf("lease: %w", err)
		}
		l.Expiring = canonicalExpiring(svc.Sources, l.Expiring)
		if len(l.Expiring) > 0 {
			leases, lists = append(leases, l), append(lists, ports)
		}
	}
	svc.Leases = nil
	if len(leases) == 0 {
		return svc, nil
	}
	// The service is the first of the lists.
	groups := groupCuts(CutPorts(lists...), func(in []int) []ExpiringSource {
		var all []ExpiringSource
		for _, i := range in[1:] {
			all = append(all, leases[i-1].Expiring...)
		}
		return LatestEnds(all)
	}, func(in []int) bool { return in[0] == 0 })
	everywhere := groups[0].Expiring
	for _, g := range groups[1:] {
		everywhere = onBoth(everywhere, g.Expiring)
	}
	if len(everywhere) > 0 {
		svc.Expiring = canonicalExpiring(svc.Sources, slices.Concat(svc.Expiring, everywhere))
	}
	svc.Leases = mergeLeases(groups, svc.Expiring)
	return svc, nil
}

// groupCuts puts pieces of ports together that lie in the same lists. opens is what is open there;
// pieces that are not wanted are left out.
func groupCuts(
	cuts []PortCut, opens func(in []int) []ExpiringSource, wanted func(in []int) bool,
) (groups []Lease) {
	known := map[string]int{}
	for _, cut := range cuts {
		if !wanted(cut.In) {
			continue
		}
		key := fmt.Sprint(cut.In)
		i, found := known[key]
		if !found {
			i = len(groups)
			known[key], groups = i, append(groups, Lease{Expiring: opens(cut.In)})
		}
		groups[i].Ports = append(groups[i].Ports, cut.Ports)
	}
	return groups
}

// mergeLeases puts groups together that open the same besides what is allowed anyway, and leaves
// out those that open nothing. They are compared by what is open, not by who opened it: leases that
// mean the same split nothing.
func mergeLeases(groups []Lease, allowed []ExpiringSource) (out []Lease) {
	known := map[string]int{}
	for _, g := range groups {
		expiring := beyond(g.Expiring, allowed)
		if len(expiring) == 0 {
			continue
		}
		var key strings.Builder
		for _, e := range expiring {
			fmt.Fprintf(&key, "%s %d,", e.Prefix, e.Until.Unix())
		}
		i, found := known[key.String()]
		if !found {
			i = len(out)
			known[key.String()], out = i, append(out, Lease{Expiring: expiring})
		}
		out[i].Ports = append(out[i].Ports, g.Ports...)
	}
	for i := range out {
		out[i].Ports, _ = mergePorts(out[i].Ports) // pieces of what was merged before
	}
	slices.SortFunc(out, func(a, b Lease) int { return comparePortRanges(a.Ports[0], b.Ports[0]) })
	return out
}

// onBoth is what two lists of expiring sources have in common, each address until the earlier end.
func onBoth(a, b []ExpiringSource) (out []ExpiringSource) {
	for len(a) > 0 && len(b) > 0 {
		x, y := a[0], b[0]
		if x.Prefix.Overlaps(y.Prefix) {
			longer := x
			if y.Prefix.Bits() > x.Prefix.Bits() {
				longer = y
			}
			if longer.Until = x.Until; y.Until.Before(x.Until) {
				longer.Until = y.Until
			}
			out = append(out, longer)
		}
		if address.Last(x.Prefix).Less(address.Last(y.Prefix)) {
			a = a[1:]
		} else {
			b = b[1:]
		}
	}
	return LatestEnds(out)
}

// beyond is what of a list of expiring sources another one does not allow as long.
func beyond(list, allowed []ExpiringSource) []ExpiringSource {
	if len(allowed) == 0 {
		return list
	}
	var out []ExpiringSource
	as := map[time.Time]address.Set{} // what is allowed at least until then
	for _, e := range list {
		set, known := as[e.Until]
		if !known {
			var b address.Builder
			for _, x := range allowed {
				if !x.Until.Before(e.Until) {
					_ = b.Add(x.Prefix) // of a canonical list
				}
			}
			set = b.Set()
			as[e.Until] = set
		}
		for p := range address.Without(e.Prefix, set).All() {
			out = append(out, ExpiringSource{Prefix: p, Until: e.Until})
		}
	}
	return LatestEnds(out)
}

// At is a canonical service as it decides on one of its ports: what leases open there is part of
// Expiring.
func (svc Service) At(p Protocol, port uint16) Service {
	i := slices.IndexFunc(svc.Leases, func(l Lease) bool { return l.opens(p, port) })
	return svc.leased(i)
}

// leased is the service as it decides on the ports of one of its leases, or (−1) on the others; its
// ports stay.
func (svc Service) leased(i int) Service {
	if i >= 0 {
		svc.Expiring = LatestEnds(slices.Concat(svc.Expiring, svc.Leases[i].Expiring))
	}
	svc.Leases = nil
	return svc
}

// ByLease is a canonical service as it decides, once for its ports that no lease opens, and once
// for those of each lease. It is itself if it has no leases.
func (svc Service) ByLease() (out []Service) {
	if len(svc.Leases) == 0 {
		return []Service{svc}
	}
	lists := [][]PortRange{svc.Ports}
	for _, l := range svc.Leases {
		lists = append(lists, l.Ports)
	}
	ports := make([][]PortRange, len(lists)) // of no lease, and of each
	for _, cut := range CutPorts(lists...) {
		i := cut.In[len(cut.In)-1] // 0 is the service
		ports[i] = append(ports[i], cut.Ports)
	}
	for i, list := range ports {
		if len(list) > 0 {
			part := svc.leased(i - 1)
			part.Ports, _ = mergePorts(list) // pieces of what was merged before
			out = append(out, part)
		}
	}
	slices.SortFunc(out, func(a, b Service) int {
		return comparePortRanges(a.Ports[0], b.Ports[0])
	})
	return out
}

// AllExpiring are the sources that end by themselves: those of all ports, and those of leases.
func (svc Service) AllExpiring() []ExpiringSource {
	if len(svc.Leases) == 0 {
		return svc.Expiring
	}
	out := slices.Clone(svc.Expiring)
	for _, l := range svc.Leases {
		out = append(out, l.Expiring...)
	}
	return out
}

// until is when a source ends that is in a canonical list; false if it is not.
func until(list []ExpiringSource, source netip.Addr) (time.Time, bool) {
	source = source.Unmap().WithZone("")
	i, _ := slices.BinarySearchFunc(list, source, func(e ExpiringSource, a netip.Addr) int {
		if e.Prefix.Addr().Compare(a) <= 0 {
			return -1
		}
		return 1
	})
	if i == 0 || !list[i-1].Prefix.Contains(source) {
		return time.Time{}, false
	}
	return list[i-1].Until, true
}

// PortCut is a range of ports that lies in the same lists throughout.
type PortCut struct {
	Ports PortRange
	In    []int // which lists, ascending
}

// CutPorts cuts lists of ports into the fewest pieces that lie in the same lists, ordered by
// protocol and port.
func CutPorts(lists ...[]PortRange) []PortCut {
	type edge struct {
		protocol Protocol
		port     uint32 // 65536 ends a range that ends at 65535
		list     int
		open     bool
	}
	var edges []edge
	for i, list := range lists {
		for _, r := range list {
			edges = append(
				edges,
				edge{r.Protocol, uint32(r.First), i, true},
				edge{r.Protocol, uint32(r.Last) + 1, i, false},
			)
		}
	}
	slices.SortStableFunc(edges, func(a, b edge) int {
		return cmp.Or(cmp.Compare(a.protocol, b.protocol), cmp.Compare(a.port, b.port))
	})
	var cuts []PortCut
	active := map[int]bool{}
	for i, e := range edges {
		if e.open {
			active[e.list] = true
		} else {
			delete(active, e.list)
		}
		// A piece ends where the next edge stands; edges at one place are taken together.
		if len(active) == 0 || i+1 == len(edges) || edges[i+1].protocol != e.protocol ||
			edges[i+1].port == e.port {
			continue
		}
		cut := PortCut{Ports: PortRange{
			Protocol: e.protocol,
			First:    uint16(e.port),
			Last:     uint16(edges[i+1].port - 1),
		}}
		for n := range active {
			cut.In = append(cut.In, n)
		}
		slices.Sort(cut.In)
		cuts = append(cuts, cut)
	}
	return cuts
}
