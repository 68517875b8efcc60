// Package netdump reads whole tables of the kernel over netlink: sockets, routes, interfaces, tracked connections.
//
// A dump is answered piece by piece while the table lives on, so it may be interrupted or overrun our buffer.
// Then it is read again from the start, a bounded number of times, and if that doesn't help the caller is told. A message
// that is shorter than it claims is an error, not an entry.
//
// The package never writes to the kernel, never changes the network namespace of a thread, and knows nothing of what the
// messages mean.
package netdump
