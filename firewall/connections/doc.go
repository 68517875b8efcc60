// Package connections lists the running connections that clients opened to this host, or through it
// to a published container port, and ends those that are no longer allowed.
//
// Refusing a client's packets is not enough to end its connection: a server goes on pushing until
// its send window is full. So a local TCP connection is destroyed at its socket (SOCK_DESTROY of
// sock_diag), and a forwarded one at its conntrack entry.
//
// Who opened a connection is what conntrack says; without an entry, or with one that was picked up
// in the middle of a connection, a listening socket on the local port tells. In doubt a connection
// is taken for one of the host's own and left alone.
//
// A local UDP socket that serves everybody has no connections to end: the rules drop the refused
// client's packets, and that is all there is to do. Only sockets connected to one client are
// listed.
//
// The package never destroys a listening socket: every destruction carries the kernel's cookie of
// that one connection. And it never deletes the conntrack entry of a local connection: without it
// the server's next packet would count as the first of an outgoing connection, and the client's
// packets as its replies.
package connections
