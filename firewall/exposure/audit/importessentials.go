package audit

import (
	"slices"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// Essentials let messages in from every source by every interface. The rules may be narrower.

// essentials reproduces how the rules treat what the protocols need: pings as today, DHCP unless it
// is refused.
func (w *importWriter) essentials() {
	for _, x := range w.subjects {
		if x.Protocol == firewall.Ping {
			w.ping(x)
		}
	}
	if w.deny() && w.closedTo(firewall.DHCPClientPort) && w.closedTo(firewall.DHCPv6ClientPort) {
		w.out.Closed |= firewall.EssentialDHCP
	}
	if !w.deny() {
		return
	}
	if !w.out.Closed.Has(firewall.EssentialDHCP) {
		w.noteDHCP()
	}
	if asked, open := w.messages(address.IPv6, 135, 136); asked &&
		!open { // solicitation, advertisement
		w.out.Closed |= firewall.EssentialNeighbourDiscovery
		w.note(
			"the rules refuse neighbour discovery, without which IPv6 doesn't work, and so does this " +
				"policy: remove neighbour-discovery from essentials to use IPv6",
		)
	}
	if igmp, mld := w.membership(); !igmp && !mld {
		w.out.Closed |= firewall.EssentialMulticastMembership
	} else if igmp != mld {
		closed := map[bool]string{true: "MLD", false: "IGMP"}[igmp]
		w.note("the rules refuse %s, and this policy lets it in: essentials closes both IGMP and MLD "+
			"(multicast-membership)", closed)
	}
	w.noteRefusedMessages()
	w.noteOptionalMessages()
	_, open4 := w.messages(address.IPv4, 3, 11, 12)
	_, open6 := w.messages(address.IPv6, 1, 2, 3, 4)
	if !open4 && !open6 {
		// Most rules let errors about a connection in (RELATED); icmp-errors: false wouldn't.
		w.note(
			"the rules refuse ICMP errors that belong to no connection, and this policy lets them " +
				"in: path MTU discovery needs the others, and essentials closes both (icmp-errors)",
		)
	}
}

// membership reports whether the rules let in IGMP, and MLD.
func (w *importWriter) membership() (igmp, mld bool) {
	for _, x := range w.subjects {
		if x.Protocol == firewall.IGMP {
			igmp = slices.ContainsFunc(x.profiles, func(p *profile) bool { return !p.empty() })
		}
	}
	_, mld = w.messages(address.IPv6, 130, 131, 132, 143)
	return igmp, mld
}

// messages asks about ICMP types by each interface that has the family. asked: there is one. open:
// some source may send one of the types.
func (w *importWriter) messages(f address.Family, types ...uint8) (asked, open bool) {
	for _, on := range w.interfaces {
		if len(w.addressesBy(on, f)) == 0 {
			continue
		}
		for _, t := range types {
			answer, err := w.evaluator.Evaluate(exposure.Question{
				Family:    f,
				Protocol:  firewall.Ping,
				ICMPType:  t,
				Interface: on.Name,
				Answers:   exposure.NoAnswers,
			})
			if err != nil {
				return true, true
			}
			_, possible := answer.Reach(func(p exposure.Piece) bool { return p.Outcome.Passes() })
			if !possible.Minus(w.unroutable[slot(f)]).Empty() {
				return true, true
			}
			asked = true
		}
	}
	return asked, false
}

// closedTo reports whether a UDP port is certainly closed to every source.
func (w *importWriter) closedTo(port uint16) bool {
	for _, x := range w.subjects {
		if x.Contains(firewall.UDP, port) {
			return !slices.ContainsFunc(x.profiles, func(p *profile) bool { return !p.empty() })
		}
	}
	return false
}
