// Package nft enforces a firewall.State through nf_tables, over netlink, never through the nft
// program.
//
// Everything lives in one table, inet portgrave, with one base chain:
//
//	                     conntrack        ┌───────────────┐   DNAT
//	packet ─▶ ingress ─▶ (−200) ────────▶ │ prerouting    │ ─▶ (−100) ─▶ routing ─▶ input │ forward
//	                                      │ −110: ours    │
//	                                      └───────────────┘
//	prerouting       protocol . port vmap @ports   → svc/NAME     one hash look-up, however many services; for other ports, that is all
//	                 (unlisted: deny)              → exempt, then unlisted
//	exempt           iifname lo                    → accept       loopback is never filtered
//	                 destination not this host's   → accept       routed traffic is never ours
//	                 reply of a connection         → accept       what the host started
//	                 (established: keep)           → accept       running connections
//	svc/NAME/where   interface and address conditions → svc/NAME, else svc/NAME/refuse
//	                 Each chain that the ports lead to begins with a jump to exempt.
//	svc/NAME         source matches (a few sources: a rule each) or is in a set → count, accept; else svc/NAME/refuse
//	                 (thousands of sources) → svc/NAME/ipv4, one hash set a prefix length, looked up in one rule; very many:
//	                 rules there that lead to svc/NAME/ipv4-7, the same for an eighth of the addresses (large.go)
//	svc/NAME/allow   only with rate or log: limits and logs before counting and accepting
//	svc/NAME/refuse  log, count, drop or reject
//	shared/…         conditions of the services that share a port on different interfaces or addresses
//
// It stands after conntrack, so that replies are known, and before DNAT, so that the port is the
// one the client dialled, wherever the packet goes afterwards: a process here, a published
// container port, a NodePort. Accepting is not final: chains of other tables still run.
//
// compile (pure) turns a State into the ruleset that the kernel shall hold; Observe reads the
// ruleset it does hold; diff (pure) compares the two object by object, rules by their expressions
// rather than by comments or hashes. Rules and verdict maps are switched in one transaction.
// Interval sets go live a moment after the rules that use them, so a set is either changed in a transaction in which
// no rule around it changes, or loaded under a new name first and switched to in the next transaction: no packet
// meets anything but the old verdict or the new one. Hash sets are changed where they stand, in two steps if sources come and go: first wider,
// then narrower (program.go).
//
// A table has no flags unless it is to be this socket's alone (protect.go). Flags can't change on a table
// that stands, so it is made anew behind a second one that judges packets meanwhile (handover.go).
//
// What the table holds is remembered with the kernel's generation, so a daemon that has nothing to do reads nothing (memory.go).
//
// The package never touches another table, and never deletes a table named portgrave that it did
// not write unless told to.
package nft
