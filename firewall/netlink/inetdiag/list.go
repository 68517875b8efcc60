package inetdiag

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/netlink"
	"golang.org/x/sys/unix"
)

// List dumps the sockets of one protocol and family (unix.AF_INET, unix.AF_INET6) that are in one
// of the states, a bit each (1<<unix.BPF_TCP_LISTEN: the numbers of include/net/tcp_states.h, which
// BPF exports). UDP knows two: BPF_TCP_ESTABLISHED if it is connected, BPF_TCP_CLOSE if not.
//
// Errors are those of netlink.Table. A kernel without the protocol, or without its diag module,
// answers with one that netlink.Absent knows; asking makes it load the module only if it has the
// protocol already (Linux 4.17, net/core/sock_diag.c, sock_load_diag_module).
func List(
	ctx context.Context,
	from netlink.Source,
	p firewall.Protocol,
	family uint8,
	states uint32,
) ([]Socket, error) {
	return list(ctx, from, unix.SOCK_DIAG_BY_FAMILY, p, request(family, p, states, [IDLen]byte{}))
}

// tcpDiagGetSock is TCPDIAG_GETSOCK, and oldRequestLen the length of its struct inet_diag_req:
// family, two lengths that nobody reads, extensions, socket, states, and a field that is ignored
// (include/uapi/linux/inet_diag.h).
const (
	tcpDiagGetSock = 18
	oldRequestLen  = 4 + IDLen + 2*4
)

// ListTCP is List of TCP in both families at once. It asks in the way of before Linux 3.3, which
// stands for any family (net/ipv4/inet_diag.c, inet_diag_dump_compat): the kernel walks its table
// of all connections of all namespaces once instead of twice, milliseconds each time.
func ListTCP(ctx context.Context, from netlink.Source, states uint32) ([]Socket, error) {
	request := make([]byte, oldRequestLen)
	binary.NativeEndian.PutUint32(request[4+IDLen:], states)
	return list(ctx, from, tcpDiagGetSock, firewall.TCP, request)
}

func list(
	ctx context.Context,
	from netlink.Source,
	kind uint16,
	p firewall.Protocol,
	header []byte,
) ([]Socket, error) {
	r := netlink.Request{Kind: kind, Header: header, AnswerHeader: MessageLen}
	list, err := netlink.Table(ctx, from, unix.NETLINK_SOCK_DIAG, r,
		func(m netlink.Message) (Socket, bool, error) { return decode(m, p) })
	if err != nil {
		return list, fmt.Errorf("listing %s sockets (sock_diag): %w", p, err)
	}
	return list, nil
}

// Destroy asks the kernel to end a connection at its socket (SOCK_DESTROY). The cookie names this
// very socket, so nothing that took its place is hit. It wraps the kernel's refusals.
func Destroy(ctx context.Context, conn *netlink.Conn, s Socket) error {
	return conn.Ask(ctx, netlink.Request{
		Kind:   unix.SOCK_DESTROY,
		Flags:  unix.NLM_F_ACK,
		Header: request(s.Family, s.Protocol, 1<<32-1, s.ID),
	}, nil)
}
