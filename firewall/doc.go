// Package firewall is the host's firewall, seen from above any one kernel interface.
//
// It answers one question: does the kernel enforce what the administrator wants, and if not, what
// is the smallest change that makes it so?
//
// State is what is wanted: canonical, minimal, comparable with Equal. A Backend (firewall/nft,
// firewall/xt) translates it into kernel objects, out of rules that firewall/pipeline has made of
// it, reports the kernel's objects as they are, and computes the difference as a pure function.
// Reconciler strings these together and trusts nothing but what it reads back.
//
// This package does no I/O of its own: no netlink, no exec, no files; clock and backends are handed
// in. It never imports a backend, the policy reader or the command line.
//
// # Architecture
//
// The program turns a policy into a State, a State into rules, and the kernel's rules back into
// what a person can read. Two paths leave from the kernel: one to the difference, one to the
// exposure.
//
//	policy ─compile─▶ State ─▶ pipeline ─┬─▶ nft ─▶ objects ─┐
//	                                     └─▶ xt  ─▶ words ───┼─ Diff ─▶ Plan ─▶ transactions
//	kernel ─▶ netlink ─▶ what is there ──────────────────────┴─▶ exposure             │
//	   ▲────────────────────────────── read back ─────────────────────────────────────┘
//
// The packages, from the rim to the middle:
//
//   - cmd/portgrave parses, calls and prints: one file a verb. daemon is the long-running process,
//     api its socket, manual the pages and completions.
//   - firewall/host does what the verbs do on this host: apply, confirm, rollback, leases, boot and
//     the check against locking oneself out; with history, lease and statefiles.
//   - policy reads what the administrator writes and compiles it. It never touches the kernel.
//   - firewall/pipeline says which rules a State needs, and how changes are worded, for all
//     backends at once.
//   - firewall/nft and firewall/xt are the backends, for nf_tables and for iptables with ipset:
//     each writes these rules in its engine's words, and keeps what its engine does in its own way.
//     firewall/backendtest holds the tests that both must pass.
//   - firewall/exposure says what the whole host lets in, through everybody's rules; its package
//     audit compares that with the policy and with the sockets that listen.
//   - firewall/netlink is the one way to talk to the kernel's netlink, with every defence that
//     takes. Its package nftables has the objects of nf_tables as types, and inetdiag the sockets.
//   - firewall/iptsave reads and writes the text of iptables-save and ipset.
//   - firewall/watch, denied, connections and process tell who changed the rules, who was refused,
//     which connections run, and which process is behind them.
//   - firewall/address has sets of addresses, on which everything else is built.
//
// Imports point one way: cmd to host, policy and exposure; host to the backends; these to pipeline;
// pipeline and policy to firewall; firewall to address. What is in the middle is pure: parse,
// compile, diff, render and evaluate are functions that table tests cover. Netlink, programs, the
// clock and files are handed in at the rim.
//
// A change runs in this order: observe the kernel, compare, record the new generation, write the
// difference, observe again. A new State is recorded before it is in force, or undone if it can't
// be recorded, so disk and kernel never disagree. No packet sees anything but the old State or the
// new one. The text .github/CONTRIBUTING.md walks through four changes of the program itself.
package firewall
