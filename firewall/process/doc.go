// Package process describes a process by its number: its name, program, systemd unit, container and
// user, and its open descriptors. Reports that name a process use it, whether that process changed
// a rule or listens on a port.
//
// All information comes from /proc, which is passed in. What can't be read stays empty: processes
// end meanwhile, and reading other users' processes takes CAP_SYS_PTRACE. Unit and container are
// derived from the names of control groups. The outermost one counts, because a confined process
// can choose any name below its own group.
//
// The package never signals, traces or stops a process.
package process
