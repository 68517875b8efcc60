// Package process tells who is behind a process number: its name, program, systemd unit, container and user, and which
// descriptors it holds. Reports that name a process ask here, whether it changed a rule or listens on a port.
//
// Everything comes from /proc, which is passed in. What can't be read stays empty: processes end while they are looked at,
// and those of other users may not be looked at without CAP_SYS_PTRACE. Unit and container are read from the names of
// control groups, by the habits of those who make them; the outermost counts, since whoever is confined below one can name
// what he makes there as he likes.
//
// The package never signals, traces or stops a process.
package process
