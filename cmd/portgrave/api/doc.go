// Package api is the daemon's control socket: HTTP with JSON under /v1/.
//
//	Listen ─▶ door ─▶ Server ─▶ host.Local, in the daemon's loop
//	Remote ─▶ socket
//
// Listen makes the socket. A door counts who comes in, and tells readers from those who may write
// by what the kernel says of the far end. Server answers requests by running the operations of a
// host.Local. Remote sends them, and is a host.Operations as the Local is. An error crosses the
// socket as a Failure and arrives as the value that it was. A policy crosses it as text, for the
// daemon to compile (see compile.go), or as a State in binary form (see wire.go).
//
// What a connection and a request may cost is bounded, and readers take turns. The package decides
// nothing about the firewall.
package api
