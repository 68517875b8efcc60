package exposure

import (
	"net/netip"
	"slices"

	"github.com/portgrave/portgrave/firewall/address"
)

// Answer is all the ways that the packets of a Question may go.
//
// Every source of the question is in at least one piece. A source is in several pieces where
// something unknown decides: each of them is a possible way, and no other way is possible, but for
// packets that aren't ordinary and are stopped.
type Answer struct {
	Question Question
	Pieces   []Piece
	// Assumed lists the assumptions made without a host or an interface, and those about ordinary
	// packets, for people.
	Assumed []string
	// Work is the cost of the answer, in steps of some tens of nanoseconds.
	Work int
}

// Piece is one way, and the sources that may go it.
type Piece struct {
	Sources Ranges
	Outcome Outcome
	// Target is the packet's final destination: after NAT, or the transparent proxy's socket. Its
	// address is the zero Addr if the question's is and nothing changed it. It is the zero AddrPort
	// if something unknown may have changed it.
	Target netip.AddrPort
	// Within is the range of a target that isn't known exactly, for people; "" if it may be any.
	Within string
	// Translated: the target differs from what the client dialled.
	Translated bool
	// Rewritten: the source is no longer the client's (masquerade, SNAT); Maybe: on some ways.
	Rewritten Tri
	// Out is the outgoing interface of a forwarded packet; "" if unknown.
	Out string
	// Unusual: only packets that aren't ordinary go this way. They get through, as a piece of those
	// that are stopped would change neither bound. So the sources are possible, and what becomes of
	// their ordinary packets is in other pieces.
	Unusual bool
	// DecidedBy is what decided: for a stopped packet, what stopped it; for one let through, the
	// last that accepted it, rules before policies. If more than maxNamed neighbouring rules differ
	// only in their sources (thousands of bans), they make one piece, and DecidedBy is the chain
	// with the rules' numbers in the reason. Explain names the single rule.
	DecidedBy Decider
	// Unknowns are the deciders on this way that might have gone otherwise, in order, without
	// repetition.
	Unknowns []Decider
	// Reply is the outcome of the answer. It is nil if the packet doesn't get through, over
	// loopback, and for protocols without answers.
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

// Reach returns the sources that certainly, and those that possibly, go one of the ways that a
// function picks.
func (a Answer) Reach(picks func(Piece) bool) (certain, possible Ranges) {
	var picked, others []Ranges
	for _, p := range a.Pieces {
		if picks(p) {
			picked = append(picked, p.Sources)
		} else if !p.Unusual {
			others = append(others, p.Sources)
		}
	}
	possible = unionOf(picked)
	return possible.minusAll(others), possible
}

// piecesOf returns the ways of one source's packet. Those of unusual packets count only where no
// ordinary one gets through.
func (a Answer) piecesOf(source Value) (out []Piece) {
	passes := false
	for _, p := range a.Pieces {
		if p.Sources.Contains(source) {
			out = append(out, p)
			passes = passes || p.Outcome.Passes() && !p.Unusual
		}
	}
	return slices.DeleteFunc(out, func(p Piece) bool { return passes && p.Unusual })
}

// Through returns the sources that certainly, and those that possibly, get through.
func (a Answer) Through() (certain, possible Ranges) {
	return a.Reach(func(p Piece) bool { return p.Outcome.Passes() })
}

// Prefixes converts a set of this answer's sources to prefixes.
func (a Answer) Prefixes(s Ranges) address.Set { return s.Prefixes(a.Question.Family) }
