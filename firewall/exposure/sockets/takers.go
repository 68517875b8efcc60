package sockets

import (
	"net/netip"

	"github.com/portgrave/portgrave/firewall"
)

// Takers picks, out of the listeners of one namespace, those that get a first packet: among all
// that accept it, those on the exact address before those on a wildcard. If they are several,
// either the kernel gives the packet to all of them (UDP multicast and broadcast) or to one that
// can't be known from outside.
//
// Within the same address the kernel would prefer a socket bound to the interface, and AF_INET for
// IPv4. But where such sockets can meet at all they share the port (SO_REUSEPORT), and of those the
// first that comes along is taken whatever its score (net/ipv4/inet_hashtables.c,
// inet_lhash2_lookup; net/ipv4/udp.c, udp4_lib_lookup2).
func Takers(
	listeners []Listener,
	p firewall.Protocol,
	dst netip.Addr,
	port uint16,
	iface string,
) []Listener {
	var exact, wildcard []Listener
	for _, l := range listeners {
		switch {
		case l.Protocol != p || !l.Accepts(dst, port, iface):
		case l.Address.IsUnspecified():
			wildcard = append(wildcard, l)
		default:
			exact = append(exact, l)
		}
	}
	if a := dst.Unmap(); a.IsMulticast() || a == broadcast {
		return append(exact, wildcard...)
	}
	if len(exact) > 0 {
		return exact
	}
	return wildcard
}
