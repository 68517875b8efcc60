// Package audit finds which sources can reach each port of a host, compares that with the policy,
// and reports mismatches.
//
//	sockets ──────────┐                                   ┌─▶ exposures: a row for each port, interface and who is behind it
//	translations ─────┼─▶ questions ─▶ Evaluator ─▶ judge ┤
//	policy (State) ───┘                                   └─▶ findings
//
// It asks a question for each listening socket and each interface that packets can come in by, and
// for each port that a translation (DNAT, redirect) sends elsewhere, with or without a socket:
// ports published for containers have none. Answers have two bounds, the sources that certainly and
// those that possibly get through. Findings of sources that shouldn't get in use the possible ones,
// findings of blocked sources the certain ones, so doubt never hides a hole.
//
// A source gets through to a TCP or SCTP port only if it gets an answer. Packets of other protocols
// take effect without an answer, so there a lost answer only removes the source from the certain
// ones.
//
// The package is pure: its callers read rules, host and sockets. It never uses the network, except
// through the Prober that callers pass in, which tests the TLS and health checks that the policy
// requires.
package audit
