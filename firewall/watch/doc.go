// Package watch reports what other programs change in nf_tables, at once and with its author.
//
// Goals:
//
//   - Nothing is missed. Every commit is reported, or an event says that notifications were lost
//     and anything may have changed. The kernel numbers its commits, and a gap counts as a loss.
//   - Nothing is polled. A thread sleeps in the kernel until a notification comes; between
//     commits it never wakes.
//   - The author is known. Who writes rules often lives for a few milliseconds, so /proc is read by
//     the same thread, right after the kernel named the author, however busy the consumer is.
//   - Own commits are told apart by the netlink socket that sent them; those of programs that we run (iptables-restore), by
//     their parent. One that was gone before that could be read is reported like anybody's: the consumer looks, and finds nothing.
//
// How it works: a socket in the multicast group NFNLGRP_NFTABLES gets a message for each object
// that a transaction added or removed, and at its end NFT_MSG_NEWGEN with the new generation, the thread and
// its name. The messages are only counted, never kept; a commit becomes one Event in a queue of fixed
// size. Elements of other people's sets are read like everything else: a socket filter could keep them
// out, but reading costs half a microsecond an element where notifying costs the writer ten, filter or no
// filter. Only leaving the group helps the writer: see Watcher.Pause.
//
// What it never does: change a rule, read rules back, decide whether a change is drift, or guess an author.
//
// Legacy xtables sends no notifications, but the kernel's audit records who replaced a table: see Audit.
//
// What the kernel does not tell, and so nobody here can: elements that expire or that packets
// add, ipset, and the end of a table whose owner closed its socket (without the flag persist).
package watch
