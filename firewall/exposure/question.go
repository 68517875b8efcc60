package exposure

import (
	"net/netip"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

// Question is the first packet of a connection from every source at once: which sources get
// through?
//
// The packet has mark 0, no connection, TCP flags SYN, and isn't a fragment. Source port, ECN,
// DSCP, TTL, length and payload are the client's choice, so unknown. Of ordinary packets some of
// that is known: see usual.go.
//
// With a nil Host the packet is assumed to be for the host itself: the destination is local, and
// routing accepts any source. Once NAT has changed the destination, it may be local or forwarded by
// any interface. A look-up of a source in the routes (FieldFib) is a maybe. The Answer lists this
// in Assumed.
type Question struct {
	Family   address.Family
	Protocol firewall.Protocol
	// Interface is where it arrives. "": unknown, and a match of it is a maybe.
	Interface string
	// Destination is the address that the client dialled. The zero Addr: one of the host's
	// addresses. Which one isn't known: fib says local, and a match of the address is a maybe.
	Destination netip.Addr
	// Within limits an unknown Destination to a range. The zero Range: any address.
	Within Range
	// Outside: the packet comes from another machine, so not by lo, nor from 127.0.0.0/8 or ::1. It
	// matters only without a Host and an Interface.
	Outside bool
	// Elsewhere: the destination is another machine's, so the packet is forwarded. It matters only
	// without a Host.
	Elsewhere bool
	Port      uint16
	// NoExtensions: the packet has no IPv6 extension headers. Otherwise the sender chooses, and only
	// ordinary packets are assumed to have none: behind rules that look for one, sources may be
	// possible without being certain.
	NoExtensions bool
	// ICMPType is the ICMPv6 message asked about, with the protocol Ping; 0: an echo request. It
	// must be one of neighbour discovery or MLD, which conntrack doesn't track
	// (nf_conntrack_icmpv6_init).
	ICMPType uint8
	// Answers says which answers to follow.
	Answers Answers
	// later: about a later packet of the connection, whose rules of NAT have run: see LoseLater.
	later bool
	// Sources limits the question to some sources; empty: all of the family.
	Sources Ranges
}

// Answers says which answers to first packets to follow.
type Answers uint8

const (
	AllAnswers Answers = iota
	OwnAnswers         // only this host's, not those of machines that it forwards to
	NoAnswers          // none: nothing stops them, or it doesn't matter
)

// Universe returns the sources asked about.
func (q Question) Universe() Ranges {
	if q.Sources.Empty() {
		return AllSources(q.Family)
	}
	return q.Sources
}
