package audit

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure/sockets"
)

// A program in a container that is bound to the container's own 127.0.0.1 takes nothing of what is
// published to the container: packets get there, and are refused.

// boundInside are the listeners on the port of a target, in the one other namespace that has its
// address, if all are bound to other addresses than that.
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

// boundWords are listeners and what they are bound to, for people.
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

// notTaken finds a published port whose packets get to a container in which nobody takes them. The
// row is the last one.
func (a *auditor) notTaken(targets []string, p firewall.Protocol) {
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
				a.find(x, NotListening, firewall.Prefixes{}, fmt.Sprintf(
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
