// Package lab builds small worlds out of network namespaces, so that a firewall can be tried with
// real listeners and real packets, over IPv4 and IPv6, without touching the machine that runs it.
//
// A World has five nodes; each is a network namespace of its own:
//
//	Internet ── Router ── Host ── Office
//	                       │
//	                   Container
//
//	Internet   eth0     203.0.113.10    2001:db8:113::10    holds every source the others don't
//	Router     eth0     203.0.113.1     2001:db8:113::1     towards Internet; PathMTU narrows it
//	           eth1     198.51.100.1    2001:db8:100::1     towards Host
//	Host       eth0     198.51.100.10   2001:db8:100::10    and a second pair of addresses, .11
//	           eth1     10.20.0.1       fd00:20::1          towards Office
//	           docker0  172.17.0.1      fd00:17::1          a bridge, as Docker makes it
//	Office     eth0     10.20.1.1       fd00:20::1:1        10.20.0.0/16 and fd00:20::/48 lie behind it
//	Container  eth0     172.17.0.2      fd00:17::2          World.Publish opens its ports by DNAT
//
// Host is the machine under test: it forwards, and masquerades what Container sends out, in a table
// named "dockerlike" that is none of ours. Run the firewall there with Node.Do or Node.Command, and
// ask from the other nodes: Connect tells one connection's fate, Session follows one that runs,
// Probe asks for thousands of spoofed sources, Stream asks without pause while something changes.
//
// How it stays harmless: a namespace is held by a file descriptor and has no name, so nothing is
// mounted and nothing is left when the process ends. Code runs inside a node on a locked thread,
// and only after the thread's namespace was compared with the node's by inode. A thread that could
// not be switched back is never given back to the Go runtime; it ends with its goroutine.
//
// The package needs root, or root inside a user namespace (unshare -Urn), and the programs nft and
// nsenter. It never changes the namespace it was started in, and sends nothing out of its own.
package lab
