// Package rawset asks nf_tables for a set of intervals with as little as can be done outside the kernel: messages that are encoded before
// the clock starts, in one batch, sent by one system call. What that takes is the kernel's own time, which every way to load a set through nf_tables must pay: the
// benchmarks divide by it.
//
// A Socket works in the network namespace of the thread that opened it.
package rawset
