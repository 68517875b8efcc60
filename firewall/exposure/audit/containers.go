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
	for _, t := range a.finalTargets(at, p, target) {
		if !t.Addr().IsValid() ||
			len(sockets.Takers(at.listeners, p, t.Addr(), t.Port(), "")) > 0 {
			return nil // one of several targets may take packets
		}
	}
	for _, l := range at.listeners {
		if l.Protocol == p && l.Port == target.Port() {
			out = append(out, l)
		}
	}
	return out
}

// allBoundInside returns the listeners of targets, if none of them takes packets for a target.
func (a *auditor) allBoundInside(
	targets []string,
	p firewall.Protocol,
) (out []sockets.Listener) {
	for _, t := range targets {
		at, err := netip.ParseAddrPort(t)
		if err != nil {
			return nil
		}
		bound := a.boundInside(p, at)
		if len(bound) == 0 {
			return nil
		}
		out = append(out, bound...)
	}
	return out
}

// judgeBoundInside adds the row of a port whose packets get to containers that refuse them: no
// source reaches it, whatever the policy says.
func (a *auditor) judgeBoundInside(
	x Exposure,
	r reach,
	families []address.Family,
	addresses []netip.Addr,
	bound []sockets.Listener,
) {
	p, _ := firewall.ParseProtocol(x.Protocol)
	d := a.declared(p, x.Port, x.Interface, addresses)
	x.Service, x.Declared, x.Finding = d.service, d.governed, OK
	if d.governed {
		x.Allowed = sourcesOf(d.allowed, families...).prefixes()
	}
	for _, s := range r.assumed {
		a.assumed[s] = true
	}
	x.DecidedBy = append(
		r.decidedBy(), fmt.Sprintf("nobody takes it at %s: %s", x.Target, boundWords(bound)),
	)
	if !r.possible.empty() {
		a.find(&x, BoundInside, a.shared.simplest(r.possible, r.nowhere), fmt.Sprintf(
			"%s is published to %s, where nobody takes it: %s; bind it to 0.0.0.0 or [::] there",
			x.name(), x.Target, boundWords(bound),
		))
	}
	y := exposureOf(bound[0], x.Interface)
	x.Process, x.PID, x.Unit, x.Container = y.Process, y.PID, y.Unit, y.Container
	a.report.Exposures = append(a.report.Exposures, x)
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

// judgeNotTaken finds a published port whose packets get to a container where nothing listens. It
// is about the last row.
func (a *auditor) judgeNotTaken(targets []string, p firewall.Protocol) {
	x := &a.report.Exposures[len(a.report.Exposures)-1]
	if x.Process != "" || x.Reachable.Possible.Len() == 0 || len(targets) != 1 {
		return
	}
	at, err := netip.ParseAddrPort(targets[0])
	if err != nil {
		return
	}
	if takers, known := a.takers(p, at); known && len(takers) == 0 && !a.Host.Owns(at.Addr()) {
		a.find(x, NotListening, address.Set{}, fmt.Sprintf(
			"%s is published to %s in %s, and nothing listens there",
			x.name(), at, a.namespaces.at(at.Addr()).name,
		))
	}
}
