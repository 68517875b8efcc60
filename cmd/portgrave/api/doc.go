// Package api is the daemon's control socket: HTTP with JSON under /v1/.
//
// Server answers requests by running the operations of a host.Local in the daemon's loop. Remote
// sends them, and is a host.Operations like the Local is. An error crosses the socket as a Failure
// and arrives as the value that it was. A policy's State crosses it in binary form (see wire.go).
//
// What a request may cost is bounded, and readers take turns. The package decides nothing about the
// firewall, and opens no socket for listening: package daemon does.
package api
