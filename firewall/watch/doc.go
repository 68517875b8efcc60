// Package watch reports what other programs change in nf_tables, immediately and with the author.
//
// Goals:
//
//   - Nothing is missed. Each commit is reported, or an event says that notifications were lost and
//     anything may have changed. The kernel numbers its commits; a gap counts as a loss.
//   - Nothing is polled. A thread sleeps in the kernel until a notification comes, and never wakes
//     between commits.
//   - The author is known. A program that writes rules often lives for a few milliseconds, so the
//     same thread reads /proc as soon as the kernel names the author, even if the consumer is busy.
//   - Own commits are recognised by the netlink socket that sent them, or by their parent process
//     if we run a program (iptables-restore). If that program ended before its parent could be
//     read, the commit is reported; the consumer then compares the rules and finds no difference.
//
// How it works: a socket in the multicast group NFNLGRP_NFTABLES receives a message for each object
// that a transaction added or removed, and finally NFT_MSG_NEWGEN with the new generation, the
// thread and its name. Messages are counted but not kept, and a commit becomes one Event in a queue
// of fixed size. Elements of other programs' sets are read too. A socket filter could drop them,
// but reading costs half a microsecond for an element, while notifying costs the writer ten with or
// without a filter. Only leaving the group helps the writer: see Watcher.Pause.
//
// It never changes or reads rules, decides whether a change is drift, or guesses an author.
//
// Legacy xtables sends no notifications, but the kernel's audit records who replaced a table: see
// Audit.
//
// The kernel sends no notification for elements that expire or that packets add, for ipsets, and
// when a table disappears because its owner closed its socket (without the flag persist).
package watch
