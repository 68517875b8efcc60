package audit

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// Ways past a published port: the target's own address, for sources with a route to it, and
// addresses that only the host's DNAT knows.

// destination is an address that rules translate.
type destination struct {
	protocol firewall.Protocol
	address  netip.Addr
}

// directTarget is where rules send packets.
type directTarget struct {
	protocol firewall.Protocol
	target   netip.AddrPort
}

// Bounds on what is asked about one by one.
const (
	maxDoors   = 512
	maxVirtual = 256
	// fewAddresses is the most destinations of one rule that count as single ones rather than a
	// network.
	fewAddresses = 16
)

// noteNAT records the targets that a translation names, and the single destinations that it
// translates.
func (f *finder) noteNAT(s exposure.NAT, in concern) {
	for _, p := range firewall.Protocols {
		if !in.protocols.Contains(exposure.Number(uint64(p))) {
			continue
		}
		for six, set := range map[bool]exposure.Ranges{false: in.dest4, true: in.dest6} {
			for _, a := range singles(set, six) {
				d := destination{p, a}
				f.virtual[d] = f.virtual[d].Union(in.ports)
			}
		}
		for _, t := range targetsOf(s, in) {
			d := directTarget{p, t}
			f.directTargets[d] = f.directTargets[d].Union(in.ports)
		}
	}
}

// singles lists the addresses of a small set one by one.
func singles(set exposure.Ranges, six bool) (out []netip.Addr) {
	if set.Len() > fewAddresses {
		return nil
	}
	for r := range set.All() {
		if r.From != r.To {
			continue
		}
		if six {
			out = append(out, r.From.IPv6())
		} else {
			out = append(out, r.From.IPv4())
		}
	}
	return out
}

// targetsOf returns the addresses and ports that a translation names. If it keeps the port, they
// have the ports that come there, if these are few.
func targetsOf(s exposure.NAT, in concern) (out []netip.AddrPort) {
	if s.Addr == nil {
		return nil
	}
	v, constant := s.Addr.IsConst()
	if !constant {
		return nil
	}
	addresses := []netip.Addr{v.IPv4()}
	switch {
	case s.Family == exposure.FamilyIPv6 || s.Family == exposure.FamilyInet && in.dest4.Empty():
		addresses = []netip.Addr{v.IPv6()}
	case s.Family == exposure.FamilyInet && !in.dest6.Empty():
		return nil // a table of both families, whose rule decides elsewhere which one it translates
	}
	var ports []exposure.Range
	if s.Port == nil {
		ports = in.ports.List()
	} else if p, constant := s.Port.IsConst(); constant {
		ports = []exposure.Range{exposure.One(p)}
	}
	for _, r := range ports {
		port, _ := r.From.Uint64()
		if r.From == r.To && len(ports) <= fewAddresses {
			out = append(out, netip.AddrPortFrom(addresses[0], uint16(port)))
		}
	}
	return out
}

// judgeDirectTargets judges the targets of published ports at their own addresses.
func (a *auditor) judgeDirectTargets(f *finder) {
	doors := make([]directTarget, 0, len(f.directTargets))
	for d := range f.directTargets {
		if !a.Host.Owns(d.target.Addr()) && !d.target.Addr().IsLoopback() {
			doors = append(doors, d)
		}
	}
	slices.SortFunc(
		doors,
		func(x, y directTarget) int {
			return cmp.Or(cmp.Compare(x.protocol, y.protocol), x.target.Compare(y.target))
		},
	)
	if len(doors) > maxDoors {
		a.report.Unread = append(
			a.report.Unread,
			fmt.Sprintf(
				"%d published targets: only %d were checked at their own addresses",
				len(doors),
				maxDoors,
			),
		)
		doors = doors[:maxDoors]
	}
	for _, d := range doors {
		for _, i := range a.outside() {
			a.judgeDirectTarget(d, f.directTargets[d], i.Name)
		}
	}
}

// outside are the interfaces that don't lead to the host's own workloads.
func (a *auditor) outside() (out []exposure.Interface) {
	s := firewall.State{}
	if a.Policy != nil {
		s = *a.Policy
	}
	inside := s.Inside()
	for _, i := range a.interfaces {
		if !slices.ContainsFunc(
			inside,
			func(p string) bool { return firewall.MatchInterface(p, i.Name) },
		) {
			out = append(out, i)
		}
	}
	return out
}

// judgeDirectTarget judges one target by one interface. A source that gets there although the
// published port refuses it bypasses the port.
func (a *auditor) judgeDirectTarget(d directTarget, published exposure.Ranges, iface string) {
	behind := a.behindInterface(d.target.Addr())
	if behind == iface {
		return // they are neighbours, so the host's rules don't matter
	}
	if len(a.boundInside(d.protocol, d.target)) > 0 {
		return // the container refuses the packets
	}
	family := address.IPv4
	if d.target.Addr().Is6() {
		family = address.IPv6
	}
	q := exposure.Question{
		Family:      family,
		Protocol:    d.protocol,
		Interface:   iface,
		Destination: d.target.Addr(),
		Port:        d.target.Port(),
	}
	r := a.ask(
		a.evaluator,
		q,
		func(p exposure.Piece) bool {
			// An unknown target may be the dialled one.
			return p.Outcome == exposure.Forwarded &&
				(!p.Translated || p.Target == netip.AddrPort{})
		},
	)
	if r.possible.empty() {
		return
	}
	var allowed address.Set
	var names []string
	for x := range published.All() {
		first, _ := x.From.Uint64()
		last, _ := x.To.Uint64()
		name := fmt.Sprintf("%s/%d", d.protocol, first)
		if last > first {
			name += fmt.Sprintf("-%d", last)
		}
		names = append(names, name)
		for port := first; port <= last && port-first < fewAddresses; port++ {
			allowed = allowed.Union(a.declared(d.protocol, uint16(port), iface, nil).allowed)
		}
	}
	past := r.possible.minus(sourcesOf(allowed, family)).minus(r.nowhere)
	if past.empty() && !a.compares {
		return
	}
	x := Exposure{
		Protocol:  d.protocol.String(),
		Port:      d.target.Port(),
		Address:   d.target.Addr().String(),
		Interface: iface,
		Finding:   OK,
		Direct:    true,
		Reachable: Bounds{
			a.shared.simplest(r.certain, r.nowhere),
			a.shared.simplest(r.possible, r.nowhere),
		},
		Allowed:   allowed,
		DecidedBy: r.decidedBy(),
	}
	a.behind(&x, []string{d.target.String()}, d.protocol)
	for _, s := range r.assumed {
		a.assumed[s] = true
	}
	if past.empty() {
		a.report.Exposures = append(a.report.Exposures, x)
		return
	}
	hint := "name the interface that leads there in direct"
	if behind != "" {
		hint = fmt.Sprintf("direct: {interfaces: [%q]} closes that way", behind)
	}
	sure, reached := !r.surely(past).empty(), "can be reached"
	if !sure {
		reached = "may be reachable"
	}
	a.findSure(
		&x,
		sure,
		Bypass,
		a.shared.simplest(past, r.nowhere),
		fmt.Sprintf(
			"%s %s at its own address %s, past what decides about %s, which is published "+
				"to it: %s",
			x.name(),
			reached,
			d.target.Addr(),
			strings.Join(names, ", "),
			hint,
		),
	)
	a.report.Exposures = append(a.report.Exposures, x)
}

// behindInterface is the interface whose network has an address; "" if none has.
func (a *auditor) behindInterface(address netip.Addr) string {
	for _, i := range a.interfaces {
		for _, p := range i.Addresses {
			if p.Masked().Contains(address) {
				return i.Name
			}
		}
	}
	return ""
}

// virtualIPs judges destinations that only the host's DNAT knows, by each interface to the outside.
func (a *auditor) virtualIPs(f *finder) {
	var list []destination
	for d := range f.virtual {
		if !a.Host.Owns(d.address) && !d.address.IsLoopback() && !d.address.IsMulticast() {
			list = append(list, d)
		}
	}
	slices.SortFunc(list, func(x, y destination) int {
		return cmp.Or(cmp.Compare(x.protocol, y.protocol), x.address.Compare(y.address))
	})
	if len(list) > maxVirtual {
		a.report.Unread = append(
			a.report.Unread,
			fmt.Sprintf("%d virtual addresses: only %d were checked", len(list), maxVirtual),
		)
		list = list[:maxVirtual]
	}
	for _, d := range list {
		for r := range f.virtual[d].All() {
			first, _ := r.From.Uint64()
			last, _ := r.To.Uint64()
			if last-first >= fewAddresses {
				continue // for any port: a redirected network, such as a transparent proxy's
			}
			for port := first; port <= last; port++ {
				for _, i := range a.outside() {
					a.virtualIP(d, uint16(port), i.Name)
				}
			}
		}
	}
}

func (a *auditor) virtualIP(d destination, port uint16, iface string) {
	family := address.IPv4
	if d.address.Is6() {
		family = address.IPv6
	}
	q := exposure.Question{
		Family:      family,
		Protocol:    d.protocol,
		Interface:   iface,
		Destination: d.address,
		Port:        port,
	}
	r := a.ask(
		a.evaluator,
		q,
		func(p exposure.Piece) bool { return p.Outcome.Passes() && p.Translated },
	)
	if r.possible.empty() && len(r.targets) == 0 {
		return
	}
	a.present[portKey{d.protocol, port}] = true
	x := Exposure{
		Protocol:  d.protocol.String(),
		Port:      port,
		Address:   d.address.String(),
		Interface: iface,
		Target:    strings.Join(r.targets, ", "),
	}
	if bound := a.allBoundInside(r.targets, d.protocol); len(bound) > 0 {
		a.judgeBoundInside(
			x, r, []address.Family{family}, []netip.Addr{d.address}, bound,
		)
		return
	}
	a.behind(&x, r.targets, d.protocol)
	a.judge(x, r, []address.Family{family}, []netip.Addr{d.address}, nil)
}
