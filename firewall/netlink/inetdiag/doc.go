// Package inetdiag lists the TCP, UDP and SCTP sockets of a network namespace as the kernel has
// them, over sock_diag (include/uapi/linux/inet_diag.h), and asks it to end one of them.
//
// It decodes and encodes messages; package netlink carries them. It draws no conclusions: who holds
// a socket, who opened a connection and what a listener accepts is for others to say. It never ends
// a socket by itself.
package inetdiag
