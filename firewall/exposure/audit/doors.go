package audit

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// Second doors: the own address of what a port is published to, for anyone who has a route there,
// and addresses that only the host's DNAT knows.

// destination is an address that rules translate.
type destination struct {
	protocol firewall.Protocol
	address  netip.Addr
}

// door is where rules send packets.
type door struct {
	protocol firewall.Protocol
	target   netip.AddrPort
}

// Bounds on what is asked about one by one.
const (
	maxDoors   = 512
	maxVirtual = 256
	// fewAddresses is how many destinations of one rule are taken for single ones rather than for a
	// network.
	fewAddresses = 16
)

// noteNAT remembers the targets that a translation names, and the single destinations that it
// takes.
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
			d := door{p, t}
			f.doors[d] = f.doors[d].Union(in.ports)
		}
	}
}

// singles are the addresses of a set that holds a few, one by one.
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

// targetsOf are the addresses and ports that a translation names outright; of one that leaves the
// port alone, with the ports that come there if they are few.
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
		return nil // a table of both families, which says elsewhere which one it means
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

// doors judges the targets of published ports at their own addresses.
func (a *auditor) doors(f *finder) {
	doors := make([]door, 0, len(f.doors))
	for d := range f.doors {
		if !a.Host.Owns(d.target.Addr()) && !d.target.Addr().IsLoopback() {
			doors = append(doors, d)
		}
	}
	slices.SortFunc(
		doors,
		func(x, y door) int { return cmp.Or(cmp.Compare(x.protocol, y.protocol), x.target.Compare(y.target)) },
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
			a.door(d, f.doors[d], i.Name)
		}
	}
}

// outside are the interfaces that lead to others than the host's own workloads.
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

// door judges one target by one interface: a source that gets there though the published port
// refuses it has found a way past it.
func (a *auditor) door(d door, published exposure.Ranges, iface string) {
	behind := a.behindInterface(d.target.Addr())
	if behind == iface {
		return // they are neighbours, whatever the host says
	}
	family := firewall.IPv4
	if d.target.Addr().Is6() {
		family = firewall.IPv6
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
			// A target that isn't known may be the one that was dialled.
			return p.Outcome == exposure.Forwarded && (!p.Translated || p.Target == netip.AddrPort{})
		},
	)
	if r.possible.empty() {
		return
	}
	var allowed firewall.Prefixes
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
	if past.empty() {
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
	hint := "name the interface that leads there in direct"
	if behind != "" {
		hint = fmt.Sprintf("direct: {interfaces: [%q]} closes that way", behind)
	}
	a.find(
		&x,
		Bypass,
		a.shared.simplest(past, r.nowhere),
		fmt.Sprintf(
			"%s can be reached at its own address %s, past what decides about %s, which is published to it: %s",
			x.name(),
			d.target.Addr(),
			strings.Join(names, ", "),
			hint,
		),
	)
	a.report.Exposures = append(a.report.Exposures, x)
}

// behindInterface is the interface whose network an address is in; "" if it is in none.
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

// virtualIPs judges destinations that only the host's DNAT knows, by each interface from outside.
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
				continue // for whatever port: a network that is sent elsewhere, such as a transparent proxy's
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
	family := firewall.IPv4
	if d.address.Is6() {
		family = firewall.IPv6
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
	a.behind(&x, r.targets, d.protocol)
	a.judge(x, r, []firewall.Family{family}, []netip.Addr{d.address}, nil)
}
