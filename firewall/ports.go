package firewall

import (
	"cmp"
	"slices"
)

// PortPiece is a range of ports that the same services claim throughout.
type PortPiece struct {
	Ports    PortRange
	Services []Service // in name order; several only if their interfaces or addresses differ
}

// PortPieces cuts all claimed ports into the fewest pieces with one list of services each, ordered
// by protocol and port. It is what a backend's port look-up is made from.
func PortPieces(services []Service) []PortPiece {
	type edge struct {
		protocol Protocol
		port     uint32 // 65536 ends a range that ends at 65535
		service  int
		open     bool
	}
	var edges []edge
	for i, svc := range services {
		for _, r := range svc.Ports {
			edges = append(
				edges,
				edge{r.Protocol, uint32(r.First), i, true},
				edge{r.Protocol, uint32(r.Last) + 1, i, false},
			)
		}
	}
	slices.SortStableFunc(
		edges,
		func(a, b edge) int { return cmp.Or(cmp.Compare(a.protocol, b.protocol), cmp.Compare(a.port, b.port)) },
	)
	var pieces []PortPiece
	active := map[int]bool{}
	for i, e := range edges {
		if e.open {
			active[e.service] = true
		} else {
			delete(active, e.service)
		}
		// A piece ends where the next edge stands; edges at one place are taken together.
		if len(active) == 0 || i+1 == len(edges) || edges[i+1].protocol != e.protocol ||
			edges[i+1].port == e.port {
			continue
		}
		var in []int
		for n := range active {
			in = append(in, n)
		}
		slices.Sort(in)
		piece := PortPiece{
			Ports: PortRange{
				Protocol: e.protocol,
				First:    uint16(e.port),
				Last:     uint16(edges[i+1].port - 1),
			},
		}
		for _, n := range in {
			piece.Services = append(piece.Services, services[n])
		}
		pieces = append(pieces, piece)
	}
	return pieces
}
