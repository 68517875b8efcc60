// Package lease is time-limited openings: an administrator opens a port to a source for two hours,
// by command, without touching the policy, and the opening ends by itself.
//
//	open 9090 ─▶ Request ─▶ Lease ─▶ Store ─┐
//	                                        ├─ Apply ─▶ State to enforce
//	what the policy compiled to: State ─────┘
//
// A Lease is merged into the State as expiring sources, so it is the kernel that ends it, whether
// or not anything of Portgrave runs at that moment. It is kept on disk with the wall-clock time of
// its end, and so survives a restart and a reboot; it is bounded by the policy's max_lease, and
// carries who opened it, from where and why.
//
// What a lease opens: its ports, on the interfaces and addresses on which some service lists them,
// to its sources, also where the policy's except takes them out: a command that names a source
// means it. Services that share a port on different interfaces or addresses are all opened. Where a
// service lists more ports than the lease, the lease is its firewall.Lease on those ports; on all
// of its ports it is among what expires. A rate and a log of the service's hold for the lease's
// sources too. A port that no service lists is opened under unlisted: deny, if that is forced;
// under unlisted: ignore a lease would close it for everybody else, so that is refused.
//
// Requests, leases and Apply are pure: the time is handed in. Store is the rim: one file a lease,
// written whole and synced, each with a checksum, so that a damaged one opens nothing and hides no
// other. Keeping other runs out is the caller's (history.Store.Lock).
//
// The clock decides when a lease runs, and a clock can be wrong. A lease runs from when it was
// opened until its end, and never outside of that: with the clock before its opening it waits. If
// the clock is set back while the system runs, the end moves back with it (Store.List), so that
// what was granted for two hours ends after two hours. If it is set forward, the lease ends at the
// time that was promised, early.
//
// The package never touches the kernel, never makes anything permanent, never extends a lease, and
// never opens a port that a lease does not name.
package lease
