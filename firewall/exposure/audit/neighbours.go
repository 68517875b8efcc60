package audit

import (
	"fmt"
	"net/netip"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// Messages of neighbour discovery (RFC 4861): a neighbour asks for an address, and answers.
const (
	neighbourSolicitation  = 135
	neighbourAdvertisement = 136
)

// mentionNeighbours adds that the rules refuse neighbour discovery, if they do: then hosts on the
// link, its router among them, can't send the packet here, or get the answer. It isn't certain that
// the connection fails, as they may know each other by other means.
func (x *Explanation) mentionNeighbours(in Input, p Packet) {
	on := in.Host.Interface(p.Interface)
	if x.Reason != Connects || !p.From.Is6() || on == nil || on.Loopback || !on.Ethernet {
		return
	}
	link := exposure.NewRanges(exposure.Prefix(netip.MustParsePrefix("fe80::/64")))
	for _, a := range on.Addresses {
		if a.Addr().Is6() {
			link = link.Union(exposure.NewRanges(exposure.Prefix(a.Masked())))
		}
	}
	for _, t := range []uint8{neighbourSolicitation, neighbourAdvertisement} {
		answer, err := exposure.Evaluate(in.Rules, in.Host, exposure.Question{
			Family:    address.IPv6,
			Protocol:  firewall.Ping,
			ICMPType:  t,
			Interface: p.Interface,
			Answers:   exposure.NoAnswers,
			Sources:   link,
		})
		if err != nil {
			return
		}
		if _, possible := answer.Through(); possible.Empty() {
			x.Summary += fmt.Sprintf(
				"; but the rules refuse neighbour discovery by %s (ICMPv6 types 135 and 136), "+
					"without which IPv6 hosts don't find each other: let it in", p.Interface,
			)
			return
		}
	}
}
