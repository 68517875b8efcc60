package firewall

import (
	"context"
	"net/netip"
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
	// Forwarded connections end elsewhere (a published container port), local ones in a socket here.
	Forwarded bool
	// Owner is the program behind a local socket ("sshd"), "" if that can't be told.
	Owner string
}

// Connections lists and ends running connections. firewall/connections is the real one.
type Connections interface {
	// List returns the running connections that clients opened to this host or through it to a
	// published port; never those that the host itself opened.
	List(ctx context.Context) ([]Connection, error)
	// End makes a connection stop at once, in both directions. One that is gone already is no error.
	End(ctx context.Context, c Connection) error
}

// Cut picks the connections that the State refuses. A connection whose interface is unknown is
// picked only if no interface would allow it: ending is final, so doubt spares it. The kernel's
// rules, which do know the interface, drop its packets all the same.
func (s State) Cut(running []Connection, now time.Time) []Connection {
	if s.Established == EstablishedKeep || len(running) == 0 {
		return nil
	}
	var cut []Connection
	index := s.Index()
	for _, c := range running {
		if index.Decide(c.flow(), now).Verdict == Refused {
			cut = append(cut, c)
		}
	}
	return cut
}

func (c Connection) flow() Flow {
	return Flow{Protocol: c.Protocol, Source: c.Client.Addr(), Destination: c.Dialled.Addr(), Port: c.Dialled.Port(), Interface: c.Interface}
}
