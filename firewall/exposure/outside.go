package exposure

import (
	"slices"

	"github.com/portgrave/portgrave/firewall"
)

// What is known of a packet from another machine where nothing is known of the host: a dump of
// rules is asked about such packets.

// outside reports whether the packet comes from outside, and nothing is known of the host.
func (w *walk) outside() bool { return w.e.host == nil && w.q.Outside }

// assumeOutside notes what is taken for granted of such a packet.
func (w *walk) assumeOutside() {
	whose := "the host itself"
	if w.q.Elsewhere {
		whose = "another machine"
	}
	w.takeForGranted("the packet is for " + whose + ", and routing takes any source")
	by := "by an interface that isn't known, other than lo"
	if w.q.Interface != "" {
		by = "by " + w.q.Interface
	}
	w.takeForGranted("the packet comes from another machine, " + by +
		": not from or to 127.0.0.0/8 or ::1 (route_localnet is off)")
	if w.isFour() {
		w.takeForGranted("routing takes no source in 224.0.0.0/4, nor 255.255.255.255, and 0.0.0.0 for " +
			"broadcasts of UDP alone")
		return
	}
	w.takeForGranted("routing takes no source in ff00::/8 or ::ffff:0:0/96, and forwards none in fe80::/10, nor ::")
}

func (w *walk) takeForGranted(what string) {
	if !slices.Contains(w.assumed, what) {
		w.assumed = append(w.assumed, what)
	}
}

// outsideChecks are the IPv4 sources that no host takes from a wire while route_localnet is off.
func (w *walk) outsideChecks(p *packet, r routed) []sourceCheck {
	return []sourceCheck{{w.nobody4(p, r).Union(NewRanges(loopback4)), No, "martian source"}}
}

// linkMulticast4 are the multicast groups that no router forwards (224.0.0.0/24).
var linkMulticast4 = Numbers(0xe0000000, 0xe00000ff)

// nobody4 are the IPv4 sources that no host takes from a wire, but for loopback. It takes 0.0.0.0
// for the broadcast 255.255.255.255, which a client of DHCP sends (brd_input comes before the check
// of sources in ip_route_input_slow, net/ipv4/route.c), and for multicast groups of the link
// (ip_mc_validate_source). No connection begins that way, and nothing is answered.
func (w *walk) nobody4(p *packet, r routed) Ranges {
	never := NewRanges(multicast4, One(Ones(32)))
	_, known := view{within: p.now.addr}.single()
	switch w.q.Protocol {
	case firewall.TCP, firewall.SCTP, firewall.Ping:
	default:
		to := NewRanges(p.now.addr).Intersect(NewRanges(linkMulticast4, One(Ones(32))))
		if r.kind != toWire && !to.Empty() && (known || w.e.host == nil) {
			return never
		}
	}
	return never.Union(NewRanges(One(Value{})))
}

// fibFromOutside is what a rule finds that asks the routes about the source: a source comes in
// where the way back to it leads, and is another machine's. Without that, a rule that checks sources
// would leave nothing certain.
func (w *walk) fibFromOutside(o Operand, width int) view {
	switch o.Fib.Want {
	case FibType:
		w.takeForGranted("sources are addresses of other machines (addrtype, fib)")
		return sure(Number(uint64(RouteUnicast)), width)
	case FibExists, FibReversePath:
		w.takeForGranted("sources come in where the way back to them leads (rpfilter, fib)")
		return sure(Number(1), width)
	}
	w.takeForGranted("sources come in where the way back to them leads (rpfilter, fib)")
	return between(Range{Number(1), Ones(width)}, width)
}
