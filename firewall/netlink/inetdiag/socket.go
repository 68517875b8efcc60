package inetdiag

import (
	"encoding/binary"
	"net/netip"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/netlink"
	"golang.org/x/sys/unix"
)

// Socket is one socket as sock_diag reports it.
type Socket struct {
	Protocol firewall.Protocol
	Family   uint8          // of the socket: an AF_INET6 one may carry IPv4
	State    uint8          // unix.BPF_TCP_LISTEN, …, for every protocol
	V6Only   bool           // IPV6_V6ONLY; known of IPv6 sockets without a peer
	Local    netip.AddrPort // never IPv4-mapped, no zone
	Remote   netip.AddrPort // port 0: it has no peer
	// Bound are all addresses of an SCTP socket, which may have several; Local is but one of them.
	// Empty for other protocols.
	Bound []netip.Addr
	UID   uint32 // of who made it, in the user namespace of who asks
	Inode uint32 // what /proc/PID/fd calls it; 0: no process holds it any more, or none yet
	// ID is struct inet_diag_sockid as the kernel sent it: tuple, bound interface, and the cookie
	// that names this one socket for as long as the kernel runs.
	ID [IDLen]byte
}

// Sizes and places of include/uapi/linux/inet_diag.h.
const (
	IDLen       = 48               // struct inet_diag_sockid: ports, addresses, interface, cookie
	headLen     = 4                // family, state, timer, retrans
	MessageLen  = 4 + IDLen + 5*4  // struct inet_diag_msg
	requestLen  = 4 + 4 + IDLen    // struct inet_diag_req_v2
	uidAt       = MessageLen - 2*4 // idiag_uid
	inodeAt     = MessageLen - 4   // idiag_inode is its last field
	interfaceAt = 36               // idiag_if, within the id
	cookieAt    = 40               // idiag_cookie, within the id
)

// Attributes behind struct inet_diag_msg (enum of include/uapi/linux/inet_diag.h).
const (
	attrV6Only = 11 // INET_DIAG_SKV6ONLY: an unsigned byte, sent for IPv6 sockets without a peer
	attrLocals = 12 // INET_DIAG_LOCALS: an array of struct sockaddr_storage, sent for SCTP
)

// sockaddrLen is the size of struct sockaddr_storage (include/uapi/linux/socket.h).
const sockaddrLen = 128

// Interface is the index of the interface that the socket is bound to (SO_BINDTODEVICE, or the
// scope of its link-local address); 0 is none. A socket with a link-local peer is always bound.
func (s Socket) Interface() int { return int(binary.NativeEndian.Uint32(s.ID[interfaceAt:])) }

// Cookie names this one socket for as long as the kernel runs.
func (s Socket) Cookie() uint64 { return binary.NativeEndian.Uint64(s.ID[cookieAt:]) }

// request is struct inet_diag_req_v2: family, protocol, extensions, padding, states (a bit each),
// socket. It is the payload of SOCK_DIAG_BY_FAMILY and of SOCK_DESTROY.
func request(family uint8, p firewall.Protocol, states uint32, id [IDLen]byte) []byte {
	b := make([]byte, 0, requestLen)
	b = append(b, family, uint8(p), 0, 0)
	b = binary.NativeEndian.AppendUint32(b, states)
	return append(b, id[:]...)
}

// decode reads struct inet_diag_msg and the attributes behind it. It reports false for a socket of
// another family than IPv4 and IPv6.
func decode(m netlink.Message, p firewall.Protocol) (Socket, bool, error) {
	b := m.Header
	s := Socket{Protocol: p, Family: b[0], State: b[1],
		UID: binary.NativeEndian.Uint32(b[uidAt:]), Inode: binary.NativeEndian.Uint32(b[inodeAt:])}
	if s.Family != unix.AF_INET && s.Family != unix.AF_INET6 {
		return Socket{}, false, nil
	}
	copy(s.ID[:], b[headLen:])
	s.Local = endpoint(s.Family, s.ID[4:20], s.ID[0:2])
	s.Remote = endpoint(s.Family, s.ID[20:36], s.ID[2:4])
	err := netlink.Each(m.Attributes, func(kind uint16, data []byte) (err error) {
		switch {
		case kind == attrV6Only && len(data) > 0:
			s.V6Only = data[0] != 0
		case kind == attrLocals:
			s.Bound, err = sockaddrs(data)
		}
		return err
	})
	return s, err == nil, err
}

// endpoint reads an address of sock_diag, which has 16 bytes for it, IPv4 in the first four, and a
// port in network order.
func endpoint(family uint8, address, port []byte) netip.AddrPort {
	if family == unix.AF_INET {
		address = address[:4]
	}
	a, _ := netip.AddrFromSlice(address)
	return netip.AddrPortFrom(a.Unmap(), binary.BigEndian.Uint16(port))
}

// sockaddrs reads an array of struct sockaddr_storage: each a struct sockaddr_in (family, port,
// address) or sockaddr_in6 (family, port, flow, address).
func sockaddrs(b []byte) ([]netip.Addr, error) {
	var out []netip.Addr
	for ; len(b) >= sockaddrLen; b = b[sockaddrLen:] {
		address := b[4:8]
		switch binary.NativeEndian.Uint16(b) {
		case unix.AF_INET:
		case unix.AF_INET6:
			address = b[8:24]
		default:
			continue // no address of a network
		}
		a, _ := netip.AddrFromSlice(address)
		out = append(out, a.Unmap())
	}
	if len(b) != 0 {
		return nil, netlink.ErrMalformed
	}
	return out, nil
}
