package connections

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
	"github.com/portgrave/portgrave/firewall"
	"golang.org/x/sys/unix"
)

// socket is one TCP or UDP socket as sock_diag reports it.
type socket struct {
	protocol firewall.Protocol
	family   uint8 // of the socket: an AF_INET6 one may carry IPv4
	state    uint8
	v6only   bool
	local    netip.AddrPort // never IPv4-mapped
	remote   netip.AddrPort // port 0: it has no peer
	inode    uint32         // 0: no process holds it any more, or none yet
	// id is struct inet_diag_sockid as the kernel sent it: tuple, bound interface, and the cookie
	// that names this one socket for as long as the kernel runs.
	id [sockidLen]byte
}

// Sizes of include/uapi/linux/inet_diag.h.
const (
	sockidLen   = 48             // struct inet_diag_sockid
	diagHeadLen = 4              // family, state, timer, retrans
	diagMsgLen  = 4 + 48 + 5*4   // struct inet_diag_msg
	diagReqLen  = 4 + 4 + 48     // struct inet_diag_req_v2
	inodeAt     = diagMsgLen - 4 // idiag_inode is its last field
)

// skV6Only is INET_DIAG_SKV6ONLY (include/uapi/linux/inet_diag.h): an unsigned byte, sent for IPv6
// sockets without a peer.
const skV6Only = 11

// tcpStates are the states asked for: neither over (TIME_WAIT, CLOSE) nor only just opened by this
// host (SYN_SENT). The numbers are those of include/net/tcp_states.h, which BPF exports.
const tcpStates uint32 = 1<<unix.BPF_TCP_ESTABLISHED | 1<<unix.BPF_TCP_SYN_RECV | 1<<unix.BPF_TCP_NEW_SYN_RECV |
	1<<unix.BPF_TCP_FIN_WAIT1 | 1<<unix.BPF_TCP_FIN_WAIT2 | 1<<unix.BPF_TCP_CLOSE_WAIT | 1<<unix.BPF_TCP_LAST_ACK |
	1<<unix.BPF_TCP_CLOSING | 1<<unix.BPF_TCP_LISTEN

// udpStates: a UDP socket is ESTABLISHED when it is connected, and CLOSE otherwise.
const udpStates uint32 = 1<<unix.BPF_TCP_ESTABLISHED | 1<<unix.BPF_TCP_CLOSE

// sockets dumps the TCP and UDP sockets of the namespace: those with a peer, and those that wait for one.
func sockets(ctx context.Context, dial dialer) (connected, listening []socket, err error) {
	for _, p := range []struct {
		protocol firewall.Protocol
		states   uint32
	}{{firewall.TCP, tcpStates}, {firewall.UDP, udpStates}} {
		for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
			list, err := dump(ctx, dial, unix.NETLINK_SOCK_DIAG, netlink.Message{
				Header: netlink.Header{Type: unix.SOCK_DIAG_BY_FAMILY},
				Data:   diagRequest(family, p.protocol, p.states, [sockidLen]byte{}),
			}, func(b []byte) (socket, bool, error) { return parseSocket(b, p.protocol) })
			if absent(err) && (p.protocol == firewall.UDP || family == unix.AF_INET6) {
				continue // without udp_diag or IPv6 there is nothing of the kind to list
			}
			if err != nil {
				return nil, nil, fmt.Errorf("listing %s sockets (sock_diag): %w", p.protocol, err)
			}
			for _, s := range list {
				switch {
				case s.remote.Port() != 0:
					connected = append(connected, s)
				case p.protocol == firewall.UDP || s.state == unix.BPF_TCP_LISTEN:
					listening = append(listening, s)
				}
			}
		}
	}
	return connected, listening, nil
}

// diagRequest is struct inet_diag_req_v2 (include/uapi/linux/inet_diag.h): family, protocol,
// extensions, padding, states, socket.
func diagRequest(family uint8, p firewall.Protocol, states uint32, id [sockidLen]byte) []byte {
	b := make([]byte, 0, diagReqLen)
	b = append(b, family, uint8(p), 0, 0)
	b = binary.NativeEndian.AppendUint32(b, states)
	return append(b, id[:]...)
}

// parseSocket reads struct inet_diag_msg and the attributes behind it.
func parseSocket(b []byte, p firewall.Protocol) (socket, bool, error) {
	if len(b) < diagMsgLen {
		return socket{}, false, errTruncated
	}
	s := socket{protocol: p, family: b[0], state: b[1], inode: binary.NativeEndian.Uint32(b[inodeAt:])}
	copy(s.id[:], b[diagHeadLen:])
	// struct inet_diag_sockid: both ports, both addresses of 16 bytes, interface, cookie.
	s.local = endpoint(s.family, s.id[4:20], s.id[0:2])
	s.remote = endpoint(s.family, s.id[20:36], s.id[2:4])
	err := attributes(b[diagMsgLen:], func(kind uint16, data []byte) error {
		if kind == skV6Only && len(data) > 0 {
			s.v6only = data[0] != 0
		}
		return nil
	})
	return s, s.family == unix.AF_INET || s.family == unix.AF_INET6, err
}

// boundTo is the index of the interface that the socket is bound to; 0 is none. A socket with a
// link-local peer is always bound.
func (s socket) boundTo() int { return int(binary.NativeEndian.Uint32(s.id[36:40])) }

// endpoint reads an address of sock_diag, which has 16 bytes for it, IPv4 in the first four, and a port
// in network order.
func endpoint(family uint8, address, port []byte) netip.AddrPort {
	if family == unix.AF_INET {
		address = address[:4]
	}
	a, _ := netip.AddrFromSlice(address)
	return netip.AddrPortFrom(a.Unmap(), binary.BigEndian.Uint16(port))
}

// ErrNoDestroy: the kernel was built without CONFIG_INET_DIAG_DESTROY and can't end a local connection.
// The rules drop the client's packets nevertheless, so the connection is dead for the client, and the server sends
// no more than the client's window holds.
var ErrNoDestroy = errors.New("this kernel can't end connections (it lacks CONFIG_INET_DIAG_DESTROY); the rules already drop the client's packets")

// destroy ends one connection at its socket: a TCP peer gets a reset, the process an error
// (ECONNABORTED). The cookie names this very socket, so nothing that took its place is hit.
func destroy(dial dialer, s socket) error {
	if s.remote.Port() == 0 {
		return fmt.Errorf("the socket on %s/%s has no peer and is never destroyed", s.protocol, s.local)
	}
	conn, err := dial(unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return permission(err)
	}
	defer func() { _ = conn.Close() }()
	_, err = conn.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.SOCK_DESTROY, Flags: netlink.Request | netlink.Acknowledge},
		Data:   diagRequest(s.family, s.protocol, 1<<32-1, s.id),
	})
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ESTALE):
		return nil // it ended by itself; ESTALE: another socket has its tuple by now
	case errors.Is(err, unix.EOPNOTSUPP):
		return ErrNoDestroy
	}
	return permission(err)
}
