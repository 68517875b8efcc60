// Package xt enforces a firewall.State through iptables and ipset, for hosts whose kernel or other
// tools don't speak nf_tables. It runs the host's own programs: iptables-restore and ip6tables-restore, in
// the legacy or the nft variant, and ipset. Only the elements of sets, of which there may be a million, it writes and reads over netlink
// itself. It makes the same verdicts as package nft.
//
// Everything lives in chains named PORTGRAVE*, in each family's table mangle, and in ipsets of the same prefix:
//
//	               conntrack       ┌───────────────────┐   DNAT
//	packet ─▶ raw ─▶ (−200) ─────▶ │ mangle PREROUTING │ ─▶ (−100) ─▶ routing ─▶ INPUT │ FORWARD
//	                               │ −150: ours first  │
//	                               └───────────────────┘
//	PORTGRAVE        -i lo                            → return    loopback is never filtered
//	                 reply of a connection            → return    what the host started
//	                 (established: keep)              → return    running connections
//	                 destination is this host's own   → -P        routed traffic falls through: never ours
//	PORTGRAVE-P      by protocol → -P-tcp …           a tree over port numbers: at most 16 rules a level, 4 levels
//	                 (unlisted: deny) → -U            what no service lists
//	PORTGRAVE-H-…    conditions of the services that share a port on different interfaces or addresses
//	PORTGRAVE-W-svc  interface and address conditions → -S-svc, else -R-svc
//	PORTGRAVE-S-svc  source, by rule or by ipset      → -A-svc, else -R-svc
//	PORTGRAVE-A-svc  rate, log, then return (counted)
//	PORTGRAVE-R-svc  log, then drop (counted); for reject: mark and accept
//
// Chains go to each other (-g), never call, so a RETURN anywhere leads back to PREROUTING, where the rules
// of others go on: to accept is to say nothing.
//
// xtables can answer with a reset or an ICMP error only in table filter. So under refuse: reject a
// refused packet is marked, leaves mangle PREROUTING at once, lest another rule changes the mark, and meets
// REJECT first in filter INPUT or FORWARD. Whatever gets past that, because somebody stands before
// us or has flushed the table, is dropped in table security behind it.
//
// compile (pure) turns a State into the ruleset that the kernel shall hold; Observe reads the one it does
// hold from iptables-save and from the kernel's ipsets; compare (pure) finds what differs, rules by meaning rather than by text;
// steps (pure) puts the difference in order. Every step is one program run, or some sets' elements, and either one atomic commit of one table,
// or a change that no packet notices until a later step. Failing half-way, the steps are taken back.
//
// The programs are run directly: coreos/go-iptables hides the variant that it finds, can neither save nor restore, and takes a
// program run for each rule; test/bench measures it as a peer.
//
// The package never touches other chains but for its jump in a built-in one, and never runs the legacy variant to look where
// the kernel has not loaded it already.
package xt
