package firewall

import (
	"context"
	"net/netip"
	"slices"
	"time"
)

// Connection is a running connection that a client opened to this host.
type Connection struct {
	Protocol Protocol
	// Client is the far end.
	Client netip.AddrPort
	// Dialled is the local address and port that the client dialled, before any translation.
	Dialled netip.AddrPort
	// Interface its packets arrive on; "" if that can't be told.
	Interface string
	// Forwarded connections end elsewhere (a published container port), local ones in a socket
	// here.
	Forwarded bool
	// FromHost: the host has sent the first packet, as it seems, from a port on which one of its
	// programs waits. A packet that bore the host's address, forged before any rule refused it,
	// looks the same.
	FromHost bool
	// Owner is the program behind a local socket ("sshd"), "" if that can't be told, or before
	// Connections.NameOwners was asked.
	Owner string
}

// Connections lists and ends running connections. firewall/connections is the real one.
type Connections interface {
	// List returns the running connections that clients opened to this host or through it to a
	// published port, and those that may be FromHost; no others that the host itself opened.
	List(ctx context.Context) ([]Connection, error)
	// NameOwners fills in the owners of connections that List returned. It looks through all
	// processes, which may take longer than the list, so it is asked of those whose owner matters.
	NameOwners(ctx context.Context, of []Connection)
	// End makes a connection stop at once, in both directions. One that is gone already is no
	// error.
	End(ctx context.Context, c Connection) error
}

// Cut picks the connections that the State refuses. A connection whose interface is unknown is
// picked only if no interface would allow it: ending is final, so doubt spares it. The kernel's
// rules, which do know the interface, drop its packets all the same.
//
// first: no rules stood before. Only then it picks connections that are FromHost: which of them are
// forged can't be told, and the host's own come back with its next packet.
func (s State) Cut(running []Connection, first bool, now time.Time) []Connection {
	if s.Established == EstablishedKeep {
		return nil
	}
	if !first {
		running = fromClients(running)
	}
	return s.refused(running, now)
}

// fromClients are the connections that clients have opened for certain.
func fromClients(running []Connection) (out []Connection) {
	for _, c := range running {
		if !c.FromHost {
			out = append(out, c)
		}
	}
	return out
}

// refused are those connections whose packets the State refuses if they are looked at.
func (s State) refused(running []Connection, now time.Time) (refused []Connection) {
	if len(running) == 0 {
		return nil
	}
	index := s.Index()
	for _, c := range running {
		if index.Decide(c.Flow(), now).Verdict == Refused {
			refused = append(refused, c)
		}
	}
	return refused
}

// LockedOut picks the connections through which an administrator works on this host and that want
// would refuse: those of an SSH server, and the session given by session if it is valid. nameOwners
// fills in whose the connections are, and is asked of those that are refused.
func LockedOut(want State, running []Connection, session Connection, now time.Time,
	nameOwners func([]Connection)) []Connection {
	running = fromClients(running)
	isSession := func(c Connection) bool {
		return c.Client == session.Client && c.Dialled == session.Dialled
	}
	if session.Client.IsValid() && !slices.ContainsFunc(running, isSession) {
		running = append(slices.Clip(running), session)
	}
	// "established: keep" would spare these connections but not the next login: a lock-out all the
	// same.
	refused := want.refused(running, now)
	if len(refused) == 0 {
		return nil
	}
	nameOwners(refused)
	return slices.DeleteFunc(refused, func(c Connection) bool {
		return !isSSHServer(c.Owner) && !isSession(c)
	})
}

// isSSHServer knows the process names of SSH servers: OpenSSH (sshd; since 9.8 sshd-session) and
// Dropbear.
func isSSHServer(process string) bool {
	return process == "sshd" || process == "sshd-session" || process == "dropbear"
}

// Flow is a packet of the connection from its client.
func (c Connection) Flow() Flow {
	return Flow{
		Protocol:    c.Protocol,
		Source:      c.Client.Addr(),
		Destination: c.Dialled.Addr(),
		Port:        c.Dialled.Port(),
		Interface:   c.Interface,
	}
}
