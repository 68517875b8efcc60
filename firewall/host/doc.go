// Package host does to this host's firewall what the verbs ask for: apply, confirm, rollback,
// teardown, leases, boot, and what is read about them.
//
//	verb ──▶ Operations ─┬─▶ Local ─────────────────────────────────────▶ history, leases,
//	                     └─▶ api.Remote ─▶ socket ─▶ api.Server ─▶ Local ─▶ reconciler ─▶ kernel
//
// Local does each operation in this process, under the lock of the state directory. A running
// daemon may own the table, so the command line asks the daemon then, over the socket that package
// cmd/portgrave/api serves. Requests, results and errors are the same values either way.
//
// A request carries what only the caller knows: the compiled policy, who asks, and the SSH session
// that must not be cut. Local finds out the rest: what is in force, which leases run, and what the
// kernel holds.
//
// Below it, history keeps the applied generations, lease the time-limited openings, statefiles the
// files of both, and bootclock reads the clocks that deadlines run on.
//
// The package never prints and never reads a policy file.
package host
