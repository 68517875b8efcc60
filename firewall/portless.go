package firewall

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/portgrave/portgrave/firewall/address"
)

// Protocols without ports. A service lists such a protocol as a whole; its PortRange has First and
// Last 0. Numbers are those of IANA's "Assigned Internet Protocol Numbers".
const (
	ICMP   Protocol = 1
	IGMP   Protocol = 2
	IPIP   Protocol = 4
	GRE    Protocol = 47
	ESP    Protocol = 50
	AH     Protocol = 51
	ICMPv6 Protocol = 58
	VRRP   Protocol = 112
	// Ping stands for the echo requests of ICMP and ICMPv6, which are no protocol of their own.
	// IANA reserves the number 255, so no packet has it.
	Ping Protocol = 255
)

// portlessNames are the names of protocols without ports, as a policy writes them.
var portlessNames = map[Protocol]string{
	IGMP: "igmp", IPIP: "ipip", 41: "6in4", GRE: "gre", ESP: "esp", AH: "ah", 88: "eigrp", 89: "ospf",
	103: "pim", VRRP: "vrrp", 115: "l2tp", Ping: "ping",
}

// notPortless are the numbers that no service can list, and what to write instead.
var notPortless = map[Protocol]string{
	0:  "it is an extension header of IPv6",
	43: "it is an extension header of IPv6",
	44: "it is an extension header of IPv6",
	59: "it is an extension header of IPv6",
	60: "it is an extension header of IPv6",
	ICMP: "write ping for echo requests; the other messages of ICMP stay open or are closed with " +
		"essentials",
	ICMPv6: "write ping for echo requests; the other messages of ICMPv6 stay open or are closed " +
		"with essentials",
	TCP:  "write tcp",
	UDP:  "write udp",
	SCTP: "write sctp",
	Ping: "it is reserved",
}

// PortlessNames lists the names of protocols without ports, in the order of the alphabet.
func PortlessNames() []string {
	names := []string{"ipv6"}
	for _, name := range portlessNames {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// HasPorts reports whether the protocol's packets have ports that a service can list.
func (p Protocol) HasPorts() bool { return slices.Contains(Protocols, p) }

// Portless is the range that lists a protocol without ports.
func Portless(p Protocol) PortRange { return PortRange{Protocol: p} }

// Listable reports whether a service can list the protocol as a whole.
func (p Protocol) Listable() bool {
	_, not := notPortless[p]
	return !not || p == Ping
}

// parsePortless reads the name of a protocol without ports, or a number.
func parsePortless(s string) (Protocol, error) {
	if s == "ipv6" { // what /etc/protocols calls IPv6 in another protocol
		return 41, nil
	}
	for p, name := range portlessNames {
		if name == s {
			return p, nil
		}
	}
	if p := map[string]Protocol{"icmp": ICMP, "icmp4": ICMP, "icmpv4": ICMP, "icmp6": ICMPv6,
		"icmpv6": ICMPv6, "ipv6-icmp": ICMPv6}[s]; p != 0 {
		return 0, fmt.Errorf("protocol %q: %s", s, notPortless[p])
	}
	digits := strings.TrimPrefix(s, "protocol-")
	n, err := strconv.ParseUint(digits, 10, 8)
	if err != nil || strconv.FormatUint(n, 10) != digits {
		return 0, fmt.Errorf(
			"unknown protocol %q: use tcp, udp or sctp; or, of those without ports, "+
				"%s or a number",
			s,
			strings.Join(PortlessNames(), ", "),
		)
	}
	p := Protocol(n)
	if why, not := notPortless[p]; not {
		return 0, fmt.Errorf("protocol %d: %s", n, why)
	}
	return p, nil
}

// Of reports whether the protocol exists in a family: packets of it may be seen there.
func (p Protocol) Of(f address.Family) bool {
	return p != IGMP || f == address.IPv4 // IPv6 has MLD, which is part of ICMPv6
}

// EchoRequest is the ICMP message that Ping stands for in a family.
func EchoRequest(f address.Family) ICMPMessage {
	if f == address.IPv6 {
		return ICMPMessage{address.IPv6, "echo-request", 128}
	}
	return ICMPMessage{address.IPv4, "echo-request", 8}
}
