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

// The essential dhcp lets in answers to the DHCP client: over IPv4 from source port 67, over IPv6
// to a link-local address, both from every source by every interface. The rules may be narrower or
// wider.

// noteDHCP notes where the rules differ from the essential.
func (w *importWriter) noteDHCP() {
	var refused, wider []string
	for _, on := range w.interfaces {
		if len(w.addressesBy(on, address.IPv4)) > 0 {
			q := exposure.Question{
				Family: address.IPv4, Protocol: firewall.UDP, Interface: on.Name,
				Port: firewall.DHCPClientPort, Answers: exposure.NoAnswers,
			}
			certain, possible := w.through(q)
			q.Destination = netip.AddrFrom4([4]byte{255, 255, 255, 255})
			_, broadcast := w.through(q)
			servers := exposure.AllSources(address.IPv4).Minus(w.unroutable[0])
			refused = w.appendRefused(refused, q, servers.Minus(possible.Union(broadcast)))
			// A rule that asks for the source port holds for no source certainly.
			if !certain.Minus(w.unroutable[0]).Empty() && w.takes(q.Port, func(netip.Addr) bool {
				return true
			}) {
				wider = appendOnce(wider, "udp/68 from other source ports than 67")
			}
		}
		for _, to := range w.addressesBy(on, address.IPv6) {
			q := exposure.Question{
				Family: address.IPv6, Protocol: firewall.UDP, Interface: on.Name,
				Port: firewall.DHCPv6ClientPort, Destination: to, Answers: exposure.NoAnswers,
				NoExtensions: true,
			}
			_, possible := w.through(q)
			switch {
			case to.IsLinkLocalUnicast():
				refused = w.appendRefused(refused, q,
					neighbours.Minus(w.unroutable[1]).Minus(possible))
			case !possible.Minus(w.unroutable[1]).Empty() && w.takes(q.Port, func(a netip.Addr) bool {
				return a.IsUnspecified() || a.Unmap() == to
			}):
				wider = appendOnce(wider, "udp/546 at other addresses than link-local ones")
			}
		}
	}
	if len(refused) > 0 {
		w.note(
			"the rules refuse some answers to the DHCP client, and this policy lets them in from "+
				"every source by every interface: %s; to refuse them, write dhcp: false in essentials and "+
				"a service for the port with the servers in allow",
			shortList(refused),
		)
	}
	if len(wider) > 0 {
		w.note("the rules let in %s, which this policy refuses: to keep it, write dhcp: false in "+
			"essentials and a service for the port", strings.Join(wider, " and "))
	}
}

// through are the sources that certainly, and those that possibly, get in.
func (w *importWriter) through(q exposure.Question) (certain, possible exposure.Ranges) {
	answer, err := w.evaluator.Evaluate(q)
	if err != nil {
		return exposure.Ranges{}, exposure.AllSources(q.Family)
	}
	return answer.Through()
}

// appendRefused adds the sources that are refused, for people: "udp/68 by eth0 from 0.0.0.0/0".
func (w *importWriter) appendRefused(
	list []string,
	q exposure.Question,
	refused exposure.Ranges,
) []string {
	if refused.Empty() {
		return list
	}
	var from sources
	from[slot(q.Family)] = refused
	return appendOnce(list, fmt.Sprintf("udp/%d by %s from %s", q.Port, q.Interface,
		fewOf(w.pool.simplestPrefixes(w.pool.number(from)))))
}

// takes reports whether a program takes UDP packets to a port at some addresses.
func (s *survey) takes(port uint16, at func(netip.Addr) bool) bool {
	return slices.ContainsFunc(s.listeners, func(l sockets.Listener) bool {
		return l.Protocol == firewall.UDP && l.Port == port && !l.Loopback() && at(l.Address)
	})
}
