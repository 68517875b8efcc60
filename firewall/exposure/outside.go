package exposure

import "slices"

// What is known of a packet from another machine where nothing is known of the host: a dump of
// rules is asked about such packets.

// outside reports whether the packet comes from outside to a host of which nothing is known.
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
}

func (w *walk) takeForGranted(what string) {
	if !slices.Contains(w.assumed, what) {
		w.assumed = append(w.assumed, what)
	}
}

// outsideChecks are the IPv4 sources that no host takes from a wire while route_localnet is off.
var outsideChecks = []sourceCheck{{
	NewRanges(One(Value{}), loopback4, multicast4, One(Ones(32))), No, "martian source",
}}

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
