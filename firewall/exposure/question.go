package exposure

import (
	"net/netip"

	"github.com/portgrave/portgrave/firewall"
)

// Question is the first packet of a connection, with every source at once: who gets through with it?
//
// The packet is fresh: mark 0, no connection, TCP flags SYN, not a fragment, whatever source port the client chose (unknown), whatever
// ECN, DSCP, TTL and payload.
//
// With a nil Host (a dump) the packet is taken as one for the host itself: the destination is local and routing takes any source. After NAT
// has changed the destination it may be local or forwarded, by any interface. What a rule asks the routes about a source (FieldFib) is a
// maybe. The Answer says so in Assumed.
type Question struct {
	Family   firewall.Family
	Protocol firewall.Protocol
	// Interface is where it arrives. "": unknown; whatever asks for it is a maybe.
	Interface string
	// Destination is what the client dialled. The zero Addr: one of the host's addresses, which one isn't known: fib says local, and what asks for
	// the address is a maybe.
	Destination netip.Addr
	// Within limits a Destination that isn't known to a range; the zero Range: any address.
	Within Range
	// Outside: the packet comes from another machine, so not by lo, nor from 127.0.0.0/8 or ::1. It
	// matters only without a Host, and only where Interface doesn't tell.
	Outside bool
	// Elsewhere: the destination is another machine's, so the packet is forwarded. Without a Host alone.
	Elsewhere bool
	Port      uint16
	// Answers is which answers are followed.
	Answers Answers
	// Sources limits the question to some sources; empty: all of the family.
	Sources Ranges
}

// Answers is which answers to first packets are followed.
type Answers uint8

const (
	AllAnswers Answers = iota
	OwnAnswers         // of this host, not of machines that packets are forwarded to
	NoAnswers          // none: it is known that nothing stops them, or doesn't matter
)

// Universe is the sources asked about.
func (q Question) Universe() Ranges {
	if q.Sources.Empty() {
		return AllSources(q.Family)
	}
	return q.Sources
}
