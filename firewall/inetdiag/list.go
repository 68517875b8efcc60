package inetdiag

import (
	"context"
	"fmt"

	"github.com/mdlayher/netlink"
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/netdump"
	"golang.org/x/sys/unix"
)

// List dumps the sockets of one protocol and family (unix.AF_INET, unix.AF_INET6) that are in one of the states, a bit each
// (1<<unix.BPF_TCP_LISTEN: the numbers of include/net/tcp_states.h, which BPF exports). UDP knows two: BPF_TCP_ESTABLISHED
// if it is connected, BPF_TCP_CLOSE if not.
//
// Errors are those of netdump.Table. A kernel without the protocol, or without its diag module, answers with one that
// netdump.Absent knows; asking makes it load the module only if it has the protocol already (Linux 4.17, net/core/sock_diag.c,
// sock_load_diag_module).
func List(ctx context.Context, from netdump.Source, p firewall.Protocol, family uint8, states uint32) ([]Socket, error) {
	list, err := netdump.Table(ctx, from, unix.NETLINK_SOCK_DIAG, netlink.Message{
		Header: netlink.Header{Type: unix.SOCK_DIAG_BY_FAMILY},
		Data:   Request(family, p, states, [IDLen]byte{}),
	}, func(b []byte) (Socket, bool, error) { return Decode(b, p) })
	if err != nil {
		return list, fmt.Errorf("listing %s sockets (sock_diag): %w", p, err)
	}
	return list, nil
}
