package firewall

// PortPiece is a range of ports that the same services claim throughout.
type PortPiece struct {
	Ports PortRange
	// Services in name order; several only if their interfaces or addresses differ. Of their leases
	// they have only the one that opens Ports, if one does.
	Services []Service
}

// PortPieces cuts all claimed ports into the fewest pieces with one list of services each, and one
// lease of each service, ordered by protocol and port. It is what a backend's port look-up is made
// from.
func PortPieces(services []Service) []PortPiece {
	var lists [][]PortRange
	for _, svc := range services {
		lists = append(lists, svc.Ports)
	}
	type owner struct{ service, lease int }
	var owners []owner // of the lists behind those of the services
	for i, svc := range services {
		for j, l := range svc.Leases {
			lists, owners = append(lists, l.Ports), append(owners, owner{i, j})
		}
	}
	var pieces []PortPiece
	for _, cut := range CutPorts(lists...) {
		piece := PortPiece{Ports: cut.Ports}
		leases := map[int]int{} // by service
		for _, n := range cut.In {
			if n >= len(services) {
				o := owners[n-len(services)]
				leases[o.service] = o.lease
			}
		}
		for _, n := range cut.In {
			if n >= len(services) {
				break
			}
			svc := services[n]
			if j, leased := leases[n]; leased {
				svc.Leases = svc.Leases[j : j+1]
			} else {
				svc.Leases = nil
			}
			piece.Services = append(piece.Services, svc)
		}
		pieces = append(pieces, piece)
	}
	return pieces
}
