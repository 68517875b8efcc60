// Package xt enforces a firewall.State through iptables and ipset, for hosts whose kernel or other
// tools don't speak nf_tables. It runs the host's own programs: iptables-restore and
// ip6tables-restore, in the legacy or the nft variant, and ipset. Only the elements of sets, of
// which there may be a million, it writes and reads over netlink itself. It makes the same verdicts
// as package nft.
//
// Everything lives in chains named PORTGRAVE*, in each family's tables, and in ipsets of the same
// prefix. It decides once, after routing:
//
//	         conntrack ┌───────────────────┐    DNAT              ┌─────────────────────┐
//	packet ─▶ (−200) ─▶│ mangle PREROUTING │─▶ (−100) ─▶ route ─┬▶│ INPUT   PORTGRAVE   │─▶ socket
//	                   │ −150: PORTGRAVE-L │                    └▶│ FORWARD PORTGRAVE-F │─▶ container
//	                   └───────────────────┘                      └─────────────────────┘
//
//	refuse: drop    mangle (−150), the first rule
//	refuse: reject  filter (0), and security (50) behind it
//
//	PORTGRAVE-L      begins a connection from outside → label the connection (92), past direct (93)
//	                 … from the interface's own link-local address → another label (91)
//	                 … to one of our own addresses    → another label (90)
//	PORTGRAVE-LV     the same of what comes by a VRF  → 91 or 90, by the addresses in the VRF
//	PORTGRAVE        -i lo, a reply (, established: keep) → return
//	                 begins a connection              → -N
//	                 DNATed                           → -D
//	                 else by protocol                 → -P-tcp …, a tree over port numbers: at most
//	                                                    16 rules a level, 4 levels
//	                 (unlisted: deny)                 → -U, what no service lists
//	PORTGRAVE-U      an essential                     → return
//	                 answers a multicast question     → -C, which asks for a connected network
//	                 else                             → -UR
//	PORTGRAVE-F      likewise, but of what isn't DNATed only what goes to State.Direct → -B
//	PORTGRAVE-N      bears one of our own addresses, though from outside → -NP, which asks for
//	                 listed ports → -X
//	PORTGRAVE-D      like -P, by the original port of the connection; no label: → -V
//	PORTGRAVE-V      a virtual IP: from the host's own workloads → -T-tcp …, else like -D, but
//	                 nothing is unlisted
//	PORTGRAVE-T-…    services that name the original address → -E-…, else return
//	PORTGRAVE-I      a service of IPVS: from the host's own workloads → -J-tcp …, else like -P
//	PORTGRAVE-J-…    services that name the address → -M-…, else return
//	PORTGRAVE-H-…    conditions of services that share a port on different interfaces or addresses
//	PORTGRAVE-W-svc  interface and address conditions → -S-svc, else -R-svc
//	                 -K-…, -O-svc: the same by the original address
//	PORTGRAVE-S-svc  source, by rule or by ipset      → -A-svc, else -R-svc
//	PORTGRAVE-G-svc~tcp-8005  ports of a lease lead here in place of -S-svc (by -Y-…, -Z-… in
//	                 place of -W-svc, -O-svc): source, by ipset → -A-svc, else -S-svc
//	PORTGRAVE-A-svc  rate, log, then return (counted)
//	PORTGRAVE-R-svc  (counted) log, then drop or reject; so too -UR, -BR; -X always drops
//
// Chains go to each other (-g), all but -N, which is called, so a RETURN anywhere leads back to the
// built-in chain, where the rules of others go on: to accept is to say nothing.
//
// Under multicast-answers, mangle OUTPUT leads what the host sends to groups over UDP to
// PORTGRAVE-Q, which notes it in two ipsets: see answers.go. Packets fill these, so their elements
// are no drift.
//
// A packet is for this host if it reaches INPUT; nothing before routing tells that exactly, where
// addresses are local by a rule or a VRF, or packets are broadcast or multicast, which a bridge or
// a multicast route may only pass on. DNAT hides what the client dialled, and conntrack remembers
// it, but for whether it was an address of ours: that is the connection's label
// (firewall.OwnLabel). The packet mark is neither read nor set.
//
// xtables can answer with a reset or an ICMP error only in table filter. So under refuse: reject
// the tree stands there. Whatever gets past it, because somebody stands before us or has flushed
// the table, meets the same tree in table security, which drops: without rates and logs, for they
// are somebody's only once.
//
// A rate is a table of hashlimit. Full, it drops what comes from further sources at once, also
// under refuse: reject, and so does that of the log: such packets are counted as refused, or, where
// only the rate refuses, not at all.
//
// At INPUT the kernel shows xtables the name of a VRF, never that of the interface in it, and finds
// no address of ours there: whether a packet bears one is labelled in PREROUTING, where it still
// can be told.
//
// compile (pure) turns a State into the ruleset that the kernel shall hold, with the rules of
// package pipeline where another backend has them too (render.go); Observe reads the one it does
// hold from iptables-save and from the kernel's ipsets; compare (pure) finds what differs, rules by
// meaning rather than by text; steps (pure) puts the difference in order. Every step is one atomic
// commit of one table, or some sets' elements, which no packet notices until a later step; a table
// that goes first loses the jumps to it, one by one. Failing half-way, the steps are taken back.
//
// coreos/go-iptables finds each program's version and takes our jumps out of tables that go (see
// commands); whole tables are read with iptables-save and written with iptables-restore, since the
// library can neither save nor restore and takes a program run for each rule. Their text is read
// and written by package iptsave.
//
// The package never touches other chains but for its jump in a built-in one, and never runs the
// legacy variant to look where the kernel has not loaded it already.
package xt
