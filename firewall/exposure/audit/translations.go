package audit

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/sockets"
)

// translations judges the ports whose packets go elsewhere.
func (a *auditor) translations() {
	found := search(a.Rules)
	defer a.judgeDirectTargets(found)
	defer a.virtualIPs(found)
	ranges, cut := found.ports(a.Rules, a.mentionedPorts())
	if cut {
		a.report.Unread = append(
			a.report.Unread,
			fmt.Sprintf("more than %d published ports: the others are not listed", maxPublished),
		)
	}
	for _, r := range ranges {
		if a.passesOver(r.protocol, r.first, r.last) {
			continue
		}
		for _, i := range a.interfaces {
			for _, p := range a.publishedBy(r, i.Name) {
				a.published(r, i.Name, p)
			}
		}
	}
}

// publishedBy asks which sources get to a published port's target by an interface. It returns a
// part for each destination with its own answer, as one address may be published and another not.
func (a *auditor) publishedBy(r portRange, iface string) []part {
	var parts []part
	moved := func(p exposure.Piece) bool { return p.Outcome.Passes() && p.Translated }
	for _, f := range address.Families {
		q := exposure.Question{Family: f, Protocol: r.protocol, Interface: iface, Port: r.first}
		all := a.dialledBy(iface, f)
		for _, p := range a.partsOf(q, all, func(q exposure.Question) reach {
			return a.ask(a.evaluator, q, moved)
		}) {
			if p.possible.empty() && len(p.targets) == 0 {
				continue
			}
			if p.addresses == nil {
				p.addresses = all
			}
			parts = append(parts, p)
		}
	}
	if len(parts) == 2 && parts[0].families[0] != parts[1].families[0] { // one for each family
		parts[0].add(parts[1].reach)
		parts[0].families = append(parts[0].families, parts[1].families...)
		parts[0].addresses = slices.Concat(parts[0].addresses, parts[1].addresses)
		parts = parts[:1]
	}
	return parts
}

// published judges a published port.
func (a *auditor) published(r portRange, iface string, p part) {
	var believed reach
	for _, f := range p.families {
		q := exposure.Question{Family: f, Protocol: r.protocol, Interface: iface, Port: r.first}
		believed.add(
			a.reachUntranslated(
				q,
				slices.DeleteFunc(slices.Clone(p.addresses), func(x netip.Addr) bool {
					return x.Is4() != (f == address.IPv4)
				}),
			),
		)
	}
	for port := int(r.first); port <= int(r.last); port++ {
		a.present[portKey{r.protocol, uint16(port)}] = true
	}
	x := Exposure{
		Protocol:  r.protocol.String(),
		Port:      r.first,
		Address:   "*",
		Interface: iface,
		Target:    strings.Join(p.targets, ", "),
	}
	if at := a.publishedAt(p.addresses, iface, p.families); len(at) > 0 {
		if x.Address = at[0]; len(at) > 1 {
			x.Addresses = at
		}
	}
	if r.last > r.first {
		x.PortLast = r.last
	}
	if bound := a.allBoundInside(p.targets, r.protocol); len(bound) > 0 {
		a.judgeBoundInside(x, p.reach, p.families, p.addresses, bound)
		return
	}
	a.behind(&x, p.targets, r.protocol)
	p.decided = append(p.decided, a.refusing(p.targets, r.protocol, iface)...)
	a.judge(x, p.reach, p.families, p.addresses, &believed)
	a.judgeNotTaken(p.targets, r.protocol)
}

// mentionedPorts are the ports of the policy, those that leases open differently by themselves, and
// those of listeners.
func (a *auditor) mentionedPorts() (out []firewall.PortRange) {
	if a.Policy != nil {
		for _, svc := range a.Policy.Services {
			for _, part := range svc.ByLease() {
				out = append(out, part.Ports...)
			}
		}
	}
	for _, l := range a.Sockets.Listeners {
		out = append(out, firewall.PortRange{Protocol: l.Protocol, First: l.Port, Last: l.Port})
	}
	return out
}

// publishedAt returns the addresses at which a port is published; none if it is published at all of
// the host's addresses of its families.
func (a *auditor) publishedAt(
	dialled []netip.Addr,
	iface string,
	families []address.Family,
) (words []string) {
	all := 0
	for _, f := range families {
		all += len(a.dialledBy(iface, f))
	}
	if len(dialled) == all {
		return nil
	}
	for _, address := range dialled {
		words = append(words, address.String())
	}
	return words
}

// reachUntranslated asks which sources would get to the port without translations: what a firewall
// on the host assumes to decide.
func (a *auditor) reachUntranslated(q exposure.Question, dialled []netip.Addr) reach {
	if a.untranslated == nil {
		a.untranslated = a.newEvaluator(withoutTranslation(a.Rules), a.Host)
	}
	var all reach
	for _, alike := range a.untranslated.GroupAddresses(q.Family, q.Protocol, q.Port, dialled) {
		q.Destination = alike[0]
		all.add(
			a.ask(
				a.untranslated, q,
				func(p exposure.Piece) bool { return p.Outcome == exposure.Delivered },
			),
		)
	}
	return all
}

// behind finds the receiver of a published port: a socket of this host, or the only candidate on
// the same port in another namespace.
func (a *auditor) behind(x *Exposure, targets []string, p firewall.Protocol) {
	for _, t := range targets {
		at, err := netip.ParseAddrPort(t)
		if err != nil {
			continue
		}
		takers := sockets.Takers(a.listeners, p, at.Addr(), at.Port(), "")
		if !a.Host.Owns(at.Addr()) {
			takers, _ = a.takers(p, at)
		}
		if len(takers) == 0 || len(takers[0].Owners) == 0 {
			continue
		}
		y := exposureOf(takers[0], x.Interface)
		x.Process, x.PID, x.Unit, x.Container = y.Process, y.PID, y.Unit, y.Container
		if x.Container == "" && !takers[0].Namespace.Current {
			x.Container = takers[0].Namespace.String()
		}
		return
	}
}

// refusing names the targets without a listener, for a port with several targets: some connections
// succeed and others fail.
func (a *auditor) refusing(targets []string, p firewall.Protocol, iface string) (out []string) {
	if len(targets) < 2 {
		return nil
	}
	for _, t := range targets {
		at, err := netip.ParseAddrPort(t)
		if err != nil {
			continue
		}
		takers, known := a.takers(p, at)
		if a.Host.Owns(at.Addr()) {
			takers, known = sockets.Takers(a.listeners, p, at.Addr(), at.Port(), iface), true
		}
		if known && len(takers) == 0 {
			out = append(
				out, fmt.Sprintf("nothing listens at %s, one of %d targets", t, len(targets)),
			)
		}
	}
	return out
}

func targetOf(p exposure.Piece) string {
	switch {
	case !p.Translated:
		return ""
	case !p.Target.IsValid():
		return p.Within
	}
	return p.Target.String()
}
