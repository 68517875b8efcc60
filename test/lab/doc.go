// Package lab builds small worlds out of network namespaces, so that tests can try a firewall with
// real listeners and real packets, over IPv4 and IPv6, without touching the machine's own network.
//
// A World has five nodes; each is a network namespace of its own:
//
//	Internet ── Router ── Host ── Office
//	                       │
//	                   Container
//
//	Internet   eth0     203.0.113.10    2001:db8:113::10    has all sources that no other node has
//	Router     eth0     203.0.113.1     2001:db8:113::1     towards Internet; PathMTU narrows it
//	           eth1     198.51.100.1    2001:db8:100::1     towards Host
//	Host       eth0     198.51.100.10   2001:db8:100::10    and a second pair of addresses, .11
//	           eth1     10.20.0.1       fd00:20::1          towards Office
//	           docker0  172.17.0.1      fd00:17::1          a bridge, as Docker makes it
//	Office     eth0     10.20.1.1       fd00:20::1:1        routes 10.20.0.0/16 and fd00:20::/48
//	Container  eth0     172.17.0.2      fd00:17::2          World.Publish opens its ports by DNAT
//
// Host is the machine under test. It forwards, and masquerades what Container sends out, with a
// table named "dockerlike" as another program would. Run the firewall on Host with Node.Do or
// Node.Command, and send packets from the other nodes: Connect tries one connection, Session
// follows an established one, Probe tries thousands of spoofed sources, and Stream probes
// continuously while something changes.
//
// The lab is harmless to the machine. A namespace is held by a file descriptor and has no name, so
// nothing is mounted, and nothing is left when the process ends. Code runs inside a node on a
// locked thread, after a check that the thread's namespace is the node's (by inode). A thread that
// can't be switched back never returns to the Go runtime; it ends with its goroutine.
//
// The package needs root, or root inside a user namespace (unshare -Urn), and the programs nft and
// nsenter. It never changes the namespace it was started in, and sends no packet out of its own.
package lab
