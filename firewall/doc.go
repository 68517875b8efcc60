// Package firewall is the host's firewall, seen from above any one kernel interface.
//
// It answers one question: does the kernel enforce what the administrator wants,
// and if not, what is the smallest change that makes it so?
//
//	policy ──compile──▶ State ─┐
//	                           ├─ Diff ─▶ Plan ─▶ Apply ─▶ kernel
//	kernel ──Observe─▶ Observation ─┘                        │
//	   ▲─────────────────────── read back ───────────────────┘
//
// State is what is wanted: canonical, minimal, comparable with Equal. A Backend
// (firewall/nft, firewall/xt) translates it into kernel objects, reports the kernel's objects as
// they are, and computes the difference as a pure function. Reconciler strings these
// together and trusts nothing but what it reads back.
//
// This package does no I/O of its own: no netlink, no exec, no files; clock and backends
// are handed in. It never imports a backend, the policy reader or the command line.
package firewall
