package connections

import (
	"context"
	"errors"
	"fmt"

	"github.com/portgrave/portgrave/firewall/netlink"
	"github.com/portgrave/portgrave/firewall/netlink/inetdiag"
	"golang.org/x/sys/unix"
)

// ErrNoDestroy: the kernel was built without CONFIG_INET_DIAG_DESTROY and can't end a local
// connection. The rules drop the client's packets nevertheless, so the connection is dead for the
// client, and the server sends no more than the client's window holds.
var ErrNoDestroy = errors.New(
	"this kernel can't end connections (it lacks CONFIG_INET_DIAG_DESTROY); the rules already drop " +
		"the client's packets",
)

// destroy ends one connection at its socket: a TCP peer gets a reset, the process an error
// (ECONNABORTED). The cookie names this very socket, so nothing that took its place is hit.
func destroy(ctx context.Context, dial netlink.Dialer, s inetdiag.Socket) error {
	if s.Remote.Port() == 0 {
		return fmt.Errorf(
			"the socket on %s/%s has no peer and is never destroyed",
			s.Protocol,
			s.Local,
		)
	}
	conn, err := dial(unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	err = inetdiag.Destroy(ctx, conn, s)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ESTALE):
		return nil // it ended by itself; ESTALE: another socket has its tuple by now
	case errors.Is(err, unix.EOPNOTSUPP):
		return ErrNoDestroy
	}
	return err
}
