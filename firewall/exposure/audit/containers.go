package audit

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure/sockets"
)

// A program bound to its container's own 127.0.0.1 doesn't get packets of the container's published
// ports: they arrive in the container and are refused.

// boundInside returns the listeners on a target's port in the only other namespace that has its
// address, if all are bound to other addresses.
func (a *auditor) boundInside(p firewall.Protocol, target netip.AddrPort) (out []sockets.Listener) {
	at := a.namespaces.at(target.Addr())
	if at == nil {
		return nil
	}
	if takers, known := a.takers(p, target); len(takers) > 0 || !known {
		return nil
	}
	for _, l := range at.listeners {
		if l.Protocol == p && l.Port == target.Port() {
			out = append(out, l)
		}
	}
	return out
}

// boundWords names listeners and their addresses, for people.
func boundWords(list []sockets.Listener) string {
	var words []string
	for _, l := range list {
		where := l.Address.String()
		if l.Interface != "" {
			where += " on " + l.Interface
		}
		words = append(words, fmt.Sprintf("%s on %s", whoListens(listenerOf(l)), where))
	}
	return strings.Join(words, ", ")
}

// judgeNotTaken finds a published port whose packets get to a container where no program takes
// them. It is about the last row.
func (a *auditor) judgeNotTaken(targets []string, p firewall.Protocol) {
	x := &a.report.Exposures[len(a.report.Exposures)-1]
	if x.Process != "" || x.Reachable.Possible.Len() == 0 {
		return
	}
	for _, t := range targets {
		at, err := netip.ParseAddrPort(t)
		if err != nil {
			return
		}
		bound := a.boundInside(p, at)
		if len(bound) == 0 {
			if takers, known := a.takers(p, at); known && len(takers) == 0 && len(targets) == 1 &&
				!a.Host.Owns(at.Addr()) {
				a.find(x, NotListening, address.Set{}, fmt.Sprintf(
					"%s is published to %s in %s, and nothing listens there",
					x.name(), at, a.namespaces.at(at.Addr()).name,
				))
			}
			return
		}
		a.find(x, BoundInside, x.Reachable.Possible, fmt.Sprintf(
			"%s is published to %s, where nobody takes it: %s; bind it to 0.0.0.0 or [::] there",
			x.name(), at, boundWords(bound),
		))
	}
}
