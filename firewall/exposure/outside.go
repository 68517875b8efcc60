package exposure

import (
	"slices"

	"github.com/portgrave/portgrave/firewall"
)

// Packets from another machine where nothing is known of the host, as for rules read from files.

// fromOutside reports whether the packet comes from outside and nothing is known of the host.
func (w *walk) fromOutside() bool { return w.e.host == nil && w.q.Outside }

// assumeOutside notes the assumptions about such a packet.
func (w *walk) assumeOutside() {
	whose := "the host itself"
	if w.q.Elsewhere {
		whose = "another machine"
	}
	w.noteAssumption("the packet is for " + whose + ", and routing takes any source")
	by := "by an interface that isn't known, other than lo"
	if w.q.Interface != "" {
		by = "by " + w.q.Interface
	}
	w.noteAssumption("the packet comes from another machine, " + by +
		": not from or to 127.0.0.0/8 or ::1 (route_localnet is off)")
	if w.isFour() {
		w.noteAssumption(
			"routing takes no source in 224.0.0.0/4, nor 255.255.255.255, and 0.0.0.0 for " +
				"broadcasts of UDP alone",
		)
		return
	}
	w.noteAssumption(
		"routing takes no source in ff00::/8 or ::ffff:0:0/96, and forwards none in fe80::/10, nor ::",
	)
}

func (w *walk) noteAssumptions(list []string) {
	for _, s := range list {
		w.noteAssumption(s)
	}
}

func (w *walk) noteAssumption(what string) {
	if !slices.Contains(w.assumed, what) {
		w.assumed = append(w.assumed, what)
	}
}

// outsideChecks are the IPv4 sources that no host accepts from the wire while route_localnet is
// off.
func (w *walk) outsideChecks(p *packet, r routed) []sourceCheck {
	return []sourceCheck{
		{w.refusedSources4(p, r).Union(NewRanges(loopback4)), No, "martian source"},
	}
}

// linkMulticast4 are the multicast groups that no router forwards (224.0.0.0/24).
var linkMulticast4 = Numbers(0xe0000000, 0xe00000ff)

// refusedSources4 are the IPv4 sources, besides loopback, that no host accepts from the wire. It
// accepts 0.0.0.0 if the destination is the broadcast 255.255.255.255, as from DHCP clients
// (brd_input comes before the check of sources in ip_route_input_slow, net/ipv4/route.c), or a
// multicast group of the link (ip_mc_validate_source). No connection begins that way, and nothing
// is answered.
func (w *walk) refusedSources4(p *packet, r routed) Ranges {
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

// fibFromOutside is the result where a rule looks the source up in the routes: the source is
// another machine's, and comes in by the interface that the route back leaves by. Without this
// assumption, a rule that checks sources would leave nothing certain.
func (w *walk) fibFromOutside(o Operand, width int) view {
	switch o.Fib.Want {
	case FibType:
		w.noteAssumption("sources are addresses of other machines (addrtype, fib)")
		return exactly(Number(uint64(RouteUnicast)), width)
	case FibExists, FibReversePath:
		w.noteAssumption("sources come in where the way back to them leads (rpfilter, fib)")
		return exactly(Number(1), width)
	}
	w.noteAssumption("sources come in where the way back to them leads (rpfilter, fib)")
	return between(Range{Number(1), Ones(width)}, width)
}
