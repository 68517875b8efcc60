// Package daemon keeps the kernel on the policy for months without attention. It is wiring: it
// connects what tells of a change (the kernel's notifications, policy and network files, timers,
// signals, the control socket) with the reconciler, and tells others what it did.
//
//	nf_tables commits ─┐                             ┌─▶ drift log, journal
//	policy files ──────┤                             ├─▶ control socket: status, events, metrics
//	timers, signals ───┼─▶ one loop ─▶ reconciler ───┤
//	control socket ────┘   (lock, compare, repair)   └─▶ systemd: ready, watchdog
//
// One goroutine does all that touches the kernel, under the same lock as the command line, so that
// the two never work against each other. What is in force is the last generation of the history: a
// repair goes back to it, and only a policy that says something else than before makes a new one.
// Of its own accord it follows what networks hold, or what daemon: {follow: …} says; an edited
// policy waits until somebody applies it. A policy that can't be used is refused and reported; the
// rules stay. When the daemon ends, however it ends, the rules stay.
//
// The package never waits for a client, never takes more than a tenth of a processor to fight
// another program, and never puts a policy in force again that was taken back because nobody
// confirmed it. It puts nothing in force after a teardown. After a rollback, or a trial that nobody
// has confirmed, whatever uses a list stays as it is in force until that list's content changes, or
// until apply or reload (setaside.go).
package daemon
