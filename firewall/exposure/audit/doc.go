// Package audit says who can really reach each port of a host, compares that with the policy, and names what doesn't fit.
//
//	sockets ──────────┐                                   ┌─▶ exposures: a row for each port, interface and who is behind it
//	translations ─────┼─▶ questions ─▶ Evaluator ─▶ judge ┤
//	policy (State) ───┘                                   └─▶ findings
//
// A question is asked for each listening socket and each interface that packets can come in by, and for each port that a
// translation (DNAT, redirect) takes somewhere, whether or not anybody listens on it here: ports published for containers have no socket.
// The answers have two bounds, the sources that surely get through and those that possibly do; a finding that
// somebody gets in where he shouldn't counts the possible ones, one that somebody is kept out the certain ones, so that doubt never hides a hole.
//
// A source gets through to a port of TCP or SCTP if it is answered: what loses the answer keeps it out. A packet of another
// protocol is in all the same, so there a lost answer takes it from the certain sources alone.
//
// The package is pure: whoever calls it has read rules, host and sockets. It never asks a network, with one exception that is passed in: the
// Prober, which holds services to the TLS and the health check that the policy wants of them.
package audit
