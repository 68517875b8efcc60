// Package exposure finds who can reach a port of this host, through every rule on it: Docker's,
// ufw's, firewalld's, kube-proxy's, fail2ban's, an administrator's, Portgrave's.
//
//	nf_tables (netlink) ─┐
//	legacy x_tables      ├─ readers ─▶ Ruleset ─┐
//	iptables-save files  │                      │               ┌─▶ Answer: sources, and the rule
//	nft list ruleset ────┘                      ├─ Evaluate ────┤   that decided each piece
//	                                            │   (pure)      └─▶ Explanation: one packet's path
//	links, addresses, routes, sysctls ─▶ Host ──┘
//	                                   Question ─┘
//
//	sockets (package exposure/sockets) ─▶ the questions worth asking, and who listens behind an answer
//
// A Question fixes everything about a connection's first packet but its source. Evaluate carries
// the set of all sources through the hooks in the kernel's order. A Match splits the set into the
// sources for which it holds, those for which it doesn't, and those for which either is possible;
// the latter go both ways. At the end every source lies in one or more pieces, each a possible way:
//
//	possible = every source in a piece that gets through
//	certain  = possible, without the sources in any piece that doesn't
//
// Both bounds are sound, whatever the number of unknowns, and equal without unknowns. What senders
// choose (TTL, length, extension headers, source port) isn't unknown where it decides for ordinary
// packets: certain is about those, possible about all (usual.go), and the answer lists what it
// takes for granted. Pieces that
// arrive at the same rule in the same state are merged, so unknowns don't multiply.
//
// Ruleset is one model for all sources. Readers translate both rule languages into the same few
// words:
//
//	Operand    a value that a rule reads: a field of the packet, shifted and masked
//	Set        tuples of ranges, anonymous or named
//	Match      a tuple of operands is in a Set, or isn't
//	Statement  a Match, a verdict, or an effect; a Rule is a list of them, run in order
//
// What doesn't fit is kept as Unknown with its text. Nothing is guessed or left out: an unknown
// widens the gap between the bounds, and the answer names it.
//
// How a packet walks, as far as this package follows it (priorities in hooks.go):
//
//	netdev ingress, inet ingress
//	prerouting   defrag −400, raw −300, conntrack −200, mangle −150, destination NAT −100, others between them
//	routing      source validation (rp_filter, martians), then local or forwarded
//	input        ... filter 0, security 50, source NAT 100          then the socket
//	forward      ... filter 0, security 50
//	postrouting  ... source NAT 100; netdev egress                  then the wire
//
// A client connects only if the answer comes back, so the answer to each piece that gets through is
// followed too (reply.go), in the same walk with the clients as destinations.
//
//	delivered    routing, output (raw, conntrack, mangle and routing again, filter), postrouting, egress
//	forwarded    ingress, prerouting, routing with source validation, forward, postrouting, egress
//
// Answer.Through is about first packets, Answer.Connects about those that are answered.
//
// Packages below it fill the model or use it:
//
//	nftables     nf_tables over netlink; xtinfo and xtmatch for what iptables-nft leaves there
//	xtables      iptables-save, ip6tables-save and ipset save; the legacy tables of this host
//	nftjson      nft -j list ruleset
//	nfttext      nft list ruleset, and the commands in nftables.conf
//	rulesetfile  files of all these formats, recognised by their contents
//	hostview     links, addresses, routes, sysctls
//	sockets      who listens
//	live         all of it, of this host
//	audit        rows and findings, explanations, imported policies
//
// Several readers may fill one Ruleset: a host can run legacy x_tables and nf_tables at once. A
// reader returns an error for malformed input, and records what it can't access in Ruleset.Missing.
//
// This package never changes anything, loads a kernel module or sends a packet. It follows
// a connection after its first answer only as far as later.go says, and not beyond this host. It
// never says "closed" where it doesn't know.
package exposure
