// Package nft enforces a firewall.State through nf_tables, over netlink, never through the nft
// program.
//
// Everything lives in one table, inet portgrave, with three base chains:
//
//	          conntrack   prerouting         DNAT                ┌─▶ input −300: decides ─▶ socket
//	packet ─▶ (−200) ───▶ −110: remembers ─▶ (−100) ─▶ routing ──┤
//	                                                             └─▶ forward −300: decides on DNATed
//
//	prerouting      first packet, from outside    → ct label 92   its answers count as no replies
//	                first packet, past direct     → ct label 93
//	                …, from iif's own fe80::/10   → ct label 91   any host may have the same
//	                …, to an own address          → ct label 90   DNAT hides that
//	vrf             …, by a VRF, from outside     → ct label 91 or 90, by the addresses in the VRF
//	input           reply                         → replies       what the host started; else by its
//	                                                              own port
//	                protocol and original port    vmap @ports-… → svc/NAME   one look-up for all
//	                protocol without ports, ping  → svc/NAME      a rule each, where some are listed
//	                no connection                 → untracked     by the packet's own port
//	                first packet, own source      → listed-source refused from a listed port
//	                (unlisted: deny)              → exempt; virtual IPs pass, those of IPVS by
//	                                                @virtual/…; then unlisted
//	forward         DNATed by this host           → translated    as input, by the original port
//	                first packet, own source      → listed-source as above; own-source under deny
//	                (direct) new                  → direct        refused if it goes to a container
//	                                                              past DNAT
//	exempt          iifname lo                    → accept        loopback is never filtered
//	                (established: keep)           → accept        running connections
//	                first packet                  → own-source    from outside with our own address
//	virtual         DNATed, not an own address    → accept        for the host's own workloads
//	svc/NAME/where  address conditions, virtual, interface conditions → svc/NAME, else
//	                svc/NAME/refuse. Each chain that the ports lead to begins with a jump to exempt.
//	svc/NAME        source matches (a few sources: a rule each) or is in a set → count, accept; else
//	                svc/NAME/refuse
//	                (thousands of sources) → svc/NAME/ipv4, one hash set a prefix length, looked up
//	                in one rule; very many: rules there that lead to svc/NAME/ipv4-7, the same for
//	                an eighth of the addresses (large.go)
//	svc/NAME/lease-tcp-8005
//	                a lease's ports lead here (with …/where before it) in place of svc/NAME: source
//	                is in a set → as in svc/NAME, else svc/NAME
//	svc/NAME/allow  only with rate or log: limits and logs before counting and accepting
//	svc/NAME/refuse log, count, drop or reject
//	questions       (multicast-answers) at hook output: notes what the host asks groups, for
//	                unlisted to let answers in
//	shared/…        conditions of services that share a port on different interfaces or addresses
//
// The decision falls once, after routing: what reaches input is for this host, exactly, while a
// look at the destination before routing takes multicast that a bridge only passes on for the
// host's, and misses addresses in VRFs and in routing tables of one's own. The port is the one that
// the client dialled, which conntrack remembers, wherever the packet goes: a process here, a
// published container port, a NodePort, a virtual IP. A packet never passes input and forward both,
// so it is counted, rated and logged once. Accepting is not final: chains of other tables still
// run.
//
// A reply is a reply only of what this host began. A packet from outside that bears one of the
// host's own addresses would begin a connection in which its receiver seems to answer; own-source
// refuses it. What comes by a VRF is judged by the label that prerouting gave it on the interface
// itself: past routing, Linux 6.1 finds no own address there, and later kernels find one also in
// what the host sends to itself, which a VRF brings back as if from outside.
//
// The packet mark is neither set nor read. Four bits of the connection's label are, since marks are
// what everybody fights over and labels hardly anybody uses.
//
// compile (pure) turns a State into the ruleset that the kernel shall hold, with the rules of
// package pipeline where another backend has them too (render.go); Observe reads the ruleset it
// does hold; diff (pure) compares the two object by object, rules by their expressions rather than
// by comments or hashes. Rules and verdict maps are switched in one transaction. Interval sets go
// live a moment after the rules that use them, so a set is either changed in a transaction in which
// no rule around it changes, or loaded under a new name first and switched to in the next
// transaction: no packet meets anything but the old verdict or the new one. Hash sets are changed
// where they stand, in two steps if sources come and go: first wider, then narrower (program.go).
// What goes leaves after its use has ended (retire.go).
//
// A table has no flags unless it is to be this socket's alone (protect.go). Flags can't change on a
// table that stands, so it is made anew behind a second one that judges packets meanwhile
// (handover.go).
//
// What the table holds is remembered with the kernel's generation, so a daemon that has nothing to
// do reads nothing (memory.go).
//
// The package never touches another table, and never deletes a table named portgrave that it did
// not write unless told to.
package nft
