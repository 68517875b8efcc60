// Package hostview reads what the kernel of this host knows besides rules into exposure.Host:
// interfaces, addresses, routes of all tables, routing rules (rtnetlink), and the sysctls that
// decide where a packet goes (/proc/sys).
//
// It sees the network namespace of the calling thread: a caller that has entered another one keeps
// the thread locked. Interfaces come from netlink, not from /sys/class/net, which shows those of
// the namespace that mounted it; /proc/sys/net shows those of the thread that opens a file.
//
// Each kind is one dump. A dump that the kernel marks as interrupted by a change is taken again. It
// never changes anything, and needs no privilege.
package hostview
