package audit

import (
	"fmt"
	"net/netip"

	"github.com/portgrave/portgrave/firewall/exposure"
)

// A namespace is known by its address. Packets for the address needn't get there: a route may lead
// them to another machine, through another namespace, or out of an interface that the namespace
// isn't behind. None of that is followed, so such packets may arrive or not.

// detour says what may keep packets that leave by an interface from a namespace that has their
// destination; "" if they go straight there, as far as this host knows.
func (a *auditor) detour(at *namespace, out string, target netip.Addr) string {
	if !a.namespaces.open(at) {
		return "" // what is done in there isn't known
	}
	by := ""
	if out != "" {
		by = " by " + out
	}
	for _, g := range a.Host.Gateways(out, target) {
		// Some networks route to an address of the host itself, for a program to take over.
		if !g.IsValid() || g == target || a.Host.Owns(g) || at.host.Owns(g) {
			continue
		}
		next := "another machine or an unknown namespace"
		if n := a.namespaces.at(g); n != nil {
			next = n.name
		}
		return fmt.Sprintf(
			"%s is in %s, and packets for it leave%s for %s, elsewhere: %s isn't followed",
			target, at.name, by, g, next,
		)
	}
	return a.unplugged(at, out, target)
}

// unplugged says that the host's end of a namespace's veth doesn't take packets from an interface;
// "" if it does, or if the namespace isn't connected by a veth.
func (a *auditor) unplugged(at *namespace, out string, target netip.Addr) string {
	inside, via := interfaceWith(at.host, target), a.Host.Interface(out)
	if inside == nil {
		inside = onlyInterface(at.host, target)
	}
	if inside == nil || via == nil || inside.Kind != "veth" || !inside.LinkElsewhere {
		return ""
	}
	end := a.Host.ByIndex(inside.Link)
	if end == nil || end.Kind != "veth" || end.Link != inside.Index || !end.LinkElsewhere {
		return "" // its other end is elsewhere too
	}
	switch {
	case !end.Up || end.NoCarrier || !inside.Up:
		return fmt.Sprintf("%s, which leads to %s, is down", end.Name, at.name)
	case end == via || end.Master == via.Index:
		return ""
	case via.Kind == "bridge":
		return fmt.Sprintf("%s, which leads to %s, isn't a port of %s", end.Name, at.name, out)
	case via.Kind == "" || via.Kind == "veth" && via.LinkElsewhere || via.Tunnel():
		return fmt.Sprintf("packets leave by %s, and %s leads to %s", out, end.Name, at.name)
	}
	return "" // by a VLAN or a switch, which may lead there
}

// mayNotArrive adds to the ways in a namespace that its packets may not get there.
func mayNotArrive(ways []exposure.Piece, p exposure.Piece, by exposure.Decider) []exposure.Piece {
	for i := range ways {
		ways[i].Unknowns = append(
			ways[i].Unknowns[:len(ways[i].Unknowns):len(ways[i].Unknowns)],
			by,
		)
	}
	p.Outcome, p.DecidedBy, p.Reply = exposure.Dropped, by, nil
	p.Unknowns = append(p.Unknowns[:len(p.Unknowns):len(p.Unknowns)], by)
	return append(ways, p)
}
