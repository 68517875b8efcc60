package audit

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// Packet is the packet to explain. Interface and Destination may be empty: then the packet comes by
// the interface by which the host would answer the source, which is loopback for its own addresses.
// If Destination belongs to another interface and the source is behind a router, it comes by that
// interface.
type Packet struct {
	From        netip.Addr
	Destination netip.Addr
	Port        uint16
	Protocol    firewall.Protocol
	Interface   string
	// Guesses say what Locate had to guess.
	Guesses []string
}

// question asks about packets like a located one, from some sources.
func (p Packet) question(of exposure.Ranges) exposure.Question {
	return exposure.Question{
		Family:      familyOf(p.From),
		Protocol:    p.Protocol,
		Interface:   p.Interface,
		Destination: p.Destination,
		Port:        p.Port,
		Sources:     of,
	}
}

// Locate fills in a packet's empty fields. Where no route leads to the source, which then gets no
// answer either, it guesses. It returns an error that names the missing option if it can't.
func Locate(host *exposure.Host, p Packet) (Packet, error) {
	p.From, p.Destination = p.From.Unmap().WithZone(""), p.Destination.Unmap().WithZone("")
	if lo := loopback(host); p.Interface == "" && lo != nil && interfaceWith(host, p.From) != nil {
		// What the host sends to itself comes by loopback, whatever the address.
		p.Interface = lo.Name
		if !p.Destination.IsValid() {
			p.Destination = p.From
		}
	}
	if p.Interface == "" {
		i, direct := interfaceTowards(host, p.From)
		if to := interfaceWith(host, p.Destination); to != nil && !direct {
			i = to
		}
		if i == nil {
			if i = likelyInterface(host, p.From); i == nil {
				return p, fmt.Errorf(
					"no route leads to %s, so it can't be told on which interface its packets arrive: "+
						"name it with --interface, and the address with --to",
					p.From,
				)
			}
			if onlyInterface(host, p.From) == nil {
				p.Guesses = append(p.Guesses, fmt.Sprintf(
					"the packet comes by %s, since no main route leads to %s: "+
						"name another interface with --interface",
					i.Name, p.From,
				))
			}
		}
		p.Interface = i.Name
	}
	i := host.Interface(p.Interface)
	if i == nil {
		return p, fmt.Errorf("there is no interface %q", p.Interface)
	}
	if p.Destination.IsValid() {
		if p.Destination.Is4() != p.From.Is4() {
			return p, fmt.Errorf("%s and %s are of different IP versions", p.From, p.Destination)
		}
		return p, nil
	}
	if p.Destination = addressFor(i, p.From); p.Destination.IsValid() {
		return p, nil
	}
	for n := range host.Interfaces {
		other := &host.Interfaces[n]
		if a := addressFor(other, p.From); a.IsValid() && !other.Loopback &&
			!a.IsLinkLocalUnicast() {
			p.Destination = a
			p.Guesses = append(p.Guesses, fmt.Sprintf(
				"the packet is for %s, since %s has no address to be dialled from %s: "+
					"name another with --to",
				a, i.Name, p.From,
			))
			return p, nil
		}
	}
	return p, fmt.Errorf(
		"no interface has an address to be dialled from %s: name one with --to", p.From,
	)
}

// addressFor is an interface's address that a source can dial; the zero Addr if it has none.
func addressFor(i *exposure.Interface, source netip.Addr) netip.Addr {
	for _, a := range i.Addresses {
		if a.Addr().Is4() == source.Is4() &&
			a.Addr().IsLinkLocalUnicast() == source.IsLinkLocalUnicast() {
			return a.Addr().WithZone("")
		}
	}
	return netip.Addr{}
}

// loopback is the host's loopback interface; nil if there is none.
func loopback(host *exposure.Host) *exposure.Interface {
	i := slices.IndexFunc(host.Interfaces, func(i exposure.Interface) bool { return i.Loopback })
	if i < 0 {
		return nil
	}
	return &host.Interfaces[i]
}

// interfaceWith is the interface that has an address. It is nil if none has, and for loopback.
func interfaceWith(host *exposure.Host, a netip.Addr) *exposure.Interface {
	for i := range host.Interfaces {
		on := &host.Interfaces[i]
		if !on.Loopback &&
			slices.ContainsFunc(
				on.Addresses, func(p netip.Prefix) bool { return a.IsValid() && p.Addr() == a },
			) {
			return on
		}
	}
	return nil
}

// likelyInterface is the interface by which packets from elsewhere likely come: the first with an
// address of the source's family, bridges and tunnels last. It is nil if there is none.
func likelyInterface(host *exposure.Host, source netip.Addr) (best *exposure.Interface) {
	kinds := []string{"", "bond", "vlan", "veth"}
	rank := func(i *exposure.Interface) int {
		if n := slices.Index(kinds, i.Kind); n >= 0 {
			return n
		}
		return len(kinds)
	}
	for n := range host.Interfaces {
		i := &host.Interfaces[n]
		if !i.Loopback && i.Up && addressFor(i, source).IsValid() &&
			(best == nil || rank(i) < rank(best)) {
			best = i
		}
	}
	return best
}

// onlyInterface is the host's only interface with an address of the source's family. It is nil if
// there are several, or none.
func onlyInterface(host *exposure.Host, source netip.Addr) *exposure.Interface {
	var found *exposure.Interface
	for n := range host.Interfaces {
		i := &host.Interfaces[n]
		if i.Loopback || !i.Up || !addressFor(i, source).IsValid() {
			continue
		}
		if found != nil {
			return nil
		}
		found = i
	}
	return found
}

// maxSplitDefault is the longest prefix of a route that counts as part of the default route:
// programs that send all traffic into a tunnel split the default route.
const maxSplitDefault = 4

// interfaceTowards is the interface by which the host would answer: that of the longest route to
// the source in its main tables. direct: no router and no tunnel for all traffic lies between.
func interfaceTowards(
	host *exposure.Host,
	source netip.Addr,
) (best *exposure.Interface, direct bool) {
	bits, metric := -1, uint32(0)
	for _, r := range host.Routes {
		if r.Table != 254 && r.Table != 255 && r.Table != 253 || !r.Dest.IsValid() ||
			r.Dest.Addr().Is4() != source.Is4() ||
			!r.Dest.Contains(source) ||
			len(
				r.NextHops,
			) == 0 || r.Type != exposure.RouteUnicast && r.Type != exposure.RouteLocal {
			continue
		}
		if r.Dest.Bits() > bits || r.Dest.Bits() == bits && r.Metric < metric {
			if i := host.ByIndex(r.NextHops[0].Index); i != nil {
				best, bits, metric = i, r.Dest.Bits(), r.Metric
				direct = !r.NextHops[0].Gateway.IsValid() && bits > maxSplitDefault
			}
		}
	}
	return best, direct
}
