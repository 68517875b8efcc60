package sockets

import (
	"cmp"
	"net/netip"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/process"
)

// Listener is a local address and port that takes packets from any sender: a TCP socket
// in state LISTEN, an SCTP socket that listens, a UDP socket that is bound but not connected.
// Several sockets on the same address and port (SO_REUSEPORT, or SO_REUSEADDR for UDP) are one
// Listener.
type Listener struct {
	Namespace Namespace
	Protocol  firewall.Protocol
	// Address it is bound to, never IPv4-mapped and without a zone. Unspecified is the wildcard:
	// 0.0.0.0 takes every local IPv4 address, "::" every IPv6 one and, unless V6Only, every IPv4
	// one too.
	Address netip.Addr
	Port    uint16
	// V6Only is the socket's own IPV6_V6ONLY, whatever net.ipv6.bindv6only says today. It means
	// something for "::" alone.
	V6Only bool
	// Interface whose packets alone it takes: SO_BINDTODEVICE, or the scope of its link-local
	// address; "" is all of them. One that has no name any more is "index 7", which no interface
	// can be called.
	Interface string
	// Sockets is how many there are on this address and port, at least 1.
	Sockets int
	// Owners hold the sockets. A server comes before systemd that keeps its socket for it, and
	// otherwise the lower process number first, which usually is who opened it.
	Owners []Owner
	// Unowned says why for some of the sockets no owner is known; "" if each has one.
	Unowned string
	// User who made the first of the sockets, as the kernel remembers it, also if no owner is
	// known.
	User string
}

// Owner is a program that holds a socket.
type Owner struct {
	process.Process // the one with the lowest number
	// PIDs of all that hold it and are otherwise the same: name, executable, unit, container and
	// user. Ascending, at least one.
	PIDs []int
}

// systemd reports whether the owner is systemd as process 1, which holds sockets for the services
// that they start.
func (o Owner) systemd() bool { return o.PID == 1 && o.Name == "systemd" }

// Activated reports whether systemd alone holds the socket: nothing runs yet, the first packet
// starts a service. Which one, /proc doesn't say: the owner's unit is that of systemd itself,
// init.scope ("systemctl list-sockets" knows).
func (l Listener) Activated() bool {
	return len(l.Owners) == 1 && l.Owners[0].systemd() && l.Unowned == ""
}

// Loopback reports whether it is bound to this host's loopback addresses or interface.
func (l Listener) Loopback() bool { return l.Address.IsLoopback() || l.Interface == "lo" }

// Multicast reports whether it is bound to a multicast address, so that it takes what is sent to
// that group and nothing else. Only UDP sockets can be.
func (l Listener) Multicast() bool { return l.Address.IsMulticast() }

// broadcast is the limited broadcast address (RFC 919).
var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// Accepts reports whether the kernel's socket lookup would hand a first packet of the Listener's
// protocol, with this destination and arriving on this interface, to it. dst and port are those
// after any DNAT; an IPv4-mapped dst counts as IPv4. iface "" is an unknown one: then true means
// that some interface would do. Of what the host sends to an address of its own, iface is the one
// that bears the address, though rules see it on lo (net/ipv4/route.c,
// ip_route_output_key_hash_rcu, orig_oif).
//
// It is the lookup alone (compute_score in net/ipv4/inet_hashtables.c, net/ipv6/inet6_hashtables.c,
// net/ipv4/udp.c). Whether the packet is delivered locally at all is for routes and rules to say
// (127.0.0.1 from outside needs route_localnet). So is whether a more specific listener takes it
// first: see Takers. A packet to a multicast group or to the broadcast address is accepted by UDP
// alone; a wildcard socket gets the group's packets if the host has joined it, so true is an upper
// bound there.
//
// A packet that came in through a VRF counts as on both the port and the VRF: ask for each. A
// Listener bound to neither gets it only with net.ipv4.{tcp,udp}_l3mdev_accept, which isn't looked
// at, so true is an upper bound there too.
func (l Listener) Accepts(dst netip.Addr, port uint16, iface string) bool {
	iface = cmp.Or(iface, dst.Zone())
	dst = dst.WithZone("").Unmap()
	if !dst.IsValid() || dst.IsUnspecified() || port != l.Port {
		return false
	}
	if l.Interface != "" && iface != "" && l.Interface != iface {
		return false
	}
	if l.Protocol != firewall.UDP && (dst.IsMulticast() || dst == broadcast) {
		return false // tcp_v4_rcv and sctp_rcv want PACKET_HOST
	}
	switch {
	case !l.Address.IsUnspecified():
		return l.Address == dst
	case dst.Is4():
		return l.Address.Is4() || !l.V6Only
	default:
		return l.Address.Is6()
	}
}
