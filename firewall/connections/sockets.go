package connections

import (
	"context"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/netlink"
	"github.com/portgrave/portgrave/firewall/netlink/inetdiag"
	"golang.org/x/sys/unix"
)

// tcpStates are the states asked for: neither over (TIME_WAIT, CLOSE) nor only just opened by this
// host (SYN_SENT). The numbers are those of include/net/tcp_states.h, which BPF exports.
const tcpStates uint32 = 1<<unix.BPF_TCP_ESTABLISHED | 1<<unix.BPF_TCP_SYN_RECV |
	1<<unix.BPF_TCP_NEW_SYN_RECV | 1<<unix.BPF_TCP_FIN_WAIT1 | 1<<unix.BPF_TCP_FIN_WAIT2 |
	1<<unix.BPF_TCP_CLOSE_WAIT | 1<<unix.BPF_TCP_LAST_ACK | 1<<unix.BPF_TCP_CLOSING |
	1<<unix.BPF_TCP_LISTEN

// udpStates: a UDP socket is ESTABLISHED when it is connected, and CLOSE otherwise.
const udpStates uint32 = 1<<unix.BPF_TCP_ESTABLISHED | 1<<unix.BPF_TCP_CLOSE

// sockets dumps the TCP and UDP sockets of the namespace: those with a peer, and those that wait
// for one.
func sockets(
	ctx context.Context,
	from netlink.Source,
) (connected, listening []inetdiag.Socket, err error) {
	all, err := inetdiag.ListTCP(ctx, from, tcpStates)
	if err != nil {
		return nil, nil, err
	}
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		list, err := inetdiag.List(ctx, from, firewall.UDP, family, udpStates)
		// without udp_diag or IPv6 there is nothing of the kind to list
		if err != nil && !netlink.Absent(err) {
			return nil, nil, err
		}
		all = append(all, list...)
	}
	for _, s := range all {
		switch {
		case s.Remote.Port() != 0:
			connected = append(connected, s)
		case s.Protocol == firewall.UDP || s.State == unix.BPF_TCP_LISTEN:
			listening = append(listening, s)
		}
	}
	return connected, listening, nil
}
