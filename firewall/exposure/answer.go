package exposure

import (
	"net/netip"

	"github.com/portgrave/portgrave/firewall"
)

// Answer is all the ways that the packets of a Question may go.
//
// Every source of the question is in at least one piece. It is in several where something unknown decides: then each piece is a
// possible way, and no other way is possible.
type Answer struct {
	Question Question
	Pieces   []Piece
	// Assumed lists what was taken for granted for want of a host or an interface, for people.
	Assumed []string
	// Work is how much of it the answer took, in steps of some tens of nanoseconds.
	Work int
}

// Piece is one way, and the sources that may go it.
type Piece struct {
	Sources Ranges
	Outcome Outcome
	// Target is where the packet is addressed to in the end: after NAT, or the transparent proxy's socket. The address is the zero Addr if the question's
	// was and nothing changed it. The zero AddrPort: something unknown may have changed it to anything.
	Target netip.AddrPort
	// Within is the range of a target that isn't known exactly, for people; "" if it may be anything.
	Within string
	// Translated: the target isn't what the client dialled.
	Translated bool
	// Rewritten: the source isn't the client's any more (masquerade, SNAT); Maybe: on some of the ways.
	Rewritten Tri
	// Out is the outgoing interface of a forwarded packet; "" if it isn't known.
	Out string
	// DecidedBy is who decided: for a packet stopped, who stopped it; for one let through, the last who accepted it, a rule before a policy. Where more
	// than maxNamed neighbouring rules tell sources apart by nothing but the source (thousands of bans), they make one piece, and it is the chain with
	// the rules' numbers in the reason; Explain names the very rule.
	DecidedBy Decider
	// Unknowns are the statements on this way that might as well have gone otherwise, in order, without repetition; empty if none.
	Unknowns []Decider
	// Reply is what becomes of the answer; nil if the packet doesn't get through, or nothing is known of answers: over loopback,
	// and of protocols without any.
	Reply *Reply
}

// Outcome is where a way ends.
type Outcome uint8

const (
	Delivered Outcome = iota // to the sockets of this host
	Forwarded                // out of another interface
	Dropped
	Rejected
)

func (o Outcome) String() string {
	return [...]string{"delivered", "forwarded", "dropped", "rejected"}[o&3]
}

// Passes reports whether the packet got through the host's rules.
func (o Outcome) Passes() bool { return o == Delivered || o == Forwarded }

// Reach is the sources that surely, and those that possibly, go one of the ways that a function picks.
func (a Answer) Reach(picks func(Piece) bool) (certain, possible Ranges) {
	var otherwise Ranges
	for _, p := range a.Pieces {
		if picks(p) {
			possible = possible.Union(p.Sources)
		} else {
			otherwise = otherwise.Union(p.Sources)
		}
	}
	return possible.Minus(otherwise), possible
}

// Through is the sources that surely, and those that possibly, get through to anywhere.
func (a Answer) Through() (certain, possible Ranges) {
	return a.Reach(func(p Piece) bool { return p.Outcome.Passes() })
}

// Prefixes are a set of this answer's sources as prefixes.
func (a Answer) Prefixes(s Ranges) firewall.Prefixes { return s.Prefixes(a.Question.Family) }
