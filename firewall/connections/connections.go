package connections

import (
	"context"
	"io/fs"
	"net/netip"
	"os"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/netlink"
	"github.com/portgrave/portgrave/firewall/process"
)

// Kernel is firewall.Connections over sock_diag and conntrack of the current network namespace.
//
// It keeps what the last List saw, so that End hits exactly that connection and nothing that
// took its place. It is used by one goroutine at a time.
type Kernel struct {
	dial netlink.Dialer
	proc fs.FS
	last map[key][]found
}

// key names a connection as firewall sees it.
type key struct {
	protocol        firewall.Protocol
	client, dialled netip.AddrPort
	forwarded       bool
}

func keyOf(c firewall.Connection) key { return key{c.Protocol, c.Client, c.Dialled, c.Forwarded} }

var _ firewall.Connections = (*Kernel)(nil)

// New returns a Kernel. It opens nothing yet: what is missing shows in List and End.
func New() (*Kernel, error) {
	return &Kernel{dial: netlink.Dial, proc: os.DirFS("/proc")}, nil
}

// List implements firewall.Connections, ordered by protocol, dialled address and client.
//
// Local UDP appears only where a socket is connected to the one client, since nothing else of it
// can be ended: a socket that serves everybody must live, and the rules drop the refused client's
// packets. Without conntrack in the kernel, local connections alone are listed.
func (k *Kernel) List(ctx context.Context) ([]firewall.Connection, error) {
	from := netlink.NewPool(k.dial)
	defer func() { _ = from.Close() }()
	connected, listening, err := sockets(ctx, from)
	if err != nil {
		return nil, err
	}
	var tracked []flow
	if !tracksNothing(k.proc) {
		if tracked, err = flows(ctx, from); err != nil {
			return nil, err
		}
	}
	local, err := localTo(ctx, from)
	if err != nil {
		return nil, err
	}
	all := inbound(connected, listening, tracked, local)
	k.nameInterfaces(ctx, all)
	k.last = make(map[key][]found, len(all))
	out := make([]firewall.Connection, len(all))
	for i, f := range all {
		out[i] = f.Connection
		k.last[keyOf(f.Connection)] = append(k.last[keyOf(f.Connection)], f)
	}
	return out, ctx.Err()
}

// nameInterfaces tells on which interfaces the clients' packets arrive.
func (k *Kernel) nameInterfaces(ctx context.Context, all []found) {
	if len(all) == 0 {
		return
	}
	from := newArrivals(k.dial)
	defer from.close()
	for i := range all {
		f := &all[i]
		if f.socket != nil && f.socket.Interface() != 0 {
			f.Interface = from.name(f.socket.Interface())
		} else {
			f.Interface = from.from(ctx, f.Client.Addr())
		}
	}
}

// NameOwners implements firewall.Connections for what the last List returned.
func (k *Kernel) NameOwners(ctx context.Context, of []firewall.Connection) {
	wanted := map[uint32]bool{}
	sockets := make([]uint32, len(of))
	for i, c := range of {
		for _, f := range k.last[keyOf(c)] {
			if f.socket != nil && f.socket.Inode != 0 {
				sockets[i], wanted[f.socket.Inode] = f.socket.Inode, true
			}
		}
	}
	if len(wanted) == 0 {
		return
	}
	names := owners(ctx, process.Reader{Proc: k.proc}, wanted)
	for i, socket := range sockets {
		of[i].Owner = names[socket]
	}
}

// End implements firewall.Connections. A local connection is destroyed at its socket, a forwarded
// one at its conntrack entry. A connection that the last List did not have is looked for once more;
// if it is not there it has ended.
func (k *Kernel) End(ctx context.Context, c firewall.Connection) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if _, known := k.last[keyOf(c)]; !known {
		if _, err := k.List(ctx); err != nil {
			return err
		}
	}
	for _, f := range k.last[keyOf(c)] {
		var err error
		if f.FromHost {
			err = forget(ctx, k.dial, *f.flow)
		} else if f.flow != nil {
			err = bury(ctx, k.dial, *f.flow)
		} else {
			err = destroy(ctx, k.dial, *f.socket)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
