// Package jobs measures the work of Portgrave that no peer does, but that must not take long: check and plan of large policies, the audit of a host with many
// rules and sockets, and how long a host is open after somebody has flushed its rules while the daemon runs.
//
// It all happens in the host of lab worlds.
package jobs
