// Package control is what can be done to a host's firewall, whoever asks: the command line, or somebody at the daemon's socket.
//
//	verb ──▶ Operations ─┬─▶ Local                                          ─▶ history, leases, reconciler ─▶ kernel
//	                     └─▶ Remote ─▶ control socket ─▶ Handler ─▶ Local ─┘   (in the daemon's loop)
//
// Local does each operation in this process, under the lock of the state directory. Where a daemon runs, its table may be
// its alone, so the command line asks it instead: Remote sends the same request over the control socket, HTTP with JSON under
// /v1/, and Handler has a Local answer it. Requests, results and errors are the same values either way, so that whoever
// sits at a terminal sees no difference.
//
// A request carries everything that only the caller knows: the compiled policy, who he is, the SSH session he must not lose. What is in force,
// which leases run, and what the kernel holds, Local finds out for itself.
//
// The package prints nothing, and reads no policy file.
package control
