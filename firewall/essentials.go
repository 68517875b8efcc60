package firewall

import (
	"net/netip"

	"github.com/portgrave/portgrave/firewall/address"
)

// ICMPMessage is one ICMP or ICMPv6 type.
type ICMPMessage struct {
	Family address.Family
	Name   string // as nft calls it
	Type   uint8
}

// Types by essential (IANA "ICMP Type Numbers", "ICMPv6 Type Numbers"; choice after RFC 4890 §4.4).
var essentialMessages = []struct {
	essential Essentials
	messages  []ICMPMessage
}{
	{EssentialICMPErrors, []ICMPMessage{
		{address.IPv4, "destination-unreachable", 3},
		{address.IPv4, "time-exceeded", 11},
		{address.IPv4, "parameter-problem", 12},
		{address.IPv6, "destination-unreachable", 1},
		{address.IPv6, "packet-too-big", 2},
		{address.IPv6, "time-exceeded", 3},
		{address.IPv6, "parameter-problem", 4},
	}},
	{EssentialEcho, []ICMPMessage{
		{address.IPv4, "echo-request", 8},
		{address.IPv6, "echo-request", 128},
	}},
	{EssentialNeighbourDiscovery, []ICMPMessage{
		{address.IPv6, "nd-router-solicit", 133},
		{address.IPv6, "nd-router-advert", 134},
		{address.IPv6, "nd-neighbor-solicit", 135},
		{address.IPv6, "nd-neighbor-advert", 136},
		{address.IPv6, "nd-redirect", 137},
	}},
	{EssentialMulticastMembership, []ICMPMessage{
		{address.IPv6, "mld-listener-query", 130},
		{address.IPv6, "mld-listener-report", 131},
		{address.IPv6, "mld-listener-done", 132},
		{address.IPv6, "mld2-listener-report", 143},
	}},
}

// Messages lists the ICMP messages that the set keeps open. IGMP and DHCP are no ICMP: see DHCP's
// ports below.
func (s Essentials) Messages() []ICMPMessage {
	var out []ICMPMessage
	for _, e := range essentialMessages {
		if s.Has(e.essential) {
			out = append(out, e.messages...)
		}
	}
	return out
}

// Ports of the answers that a DHCP client waits for. IPv4 servers answer from port 67 to 68 (RFC
// 2131 §4.1). DHCPv6 servers may answer from any of their addresses and ports; what they answer to
// is port 546 of the client's link-local address (RFC 8415 §7.2, §16). The answers may be
// broadcast, or come from another address than the question went to, so conntrack can't know them.
const (
	DHCPServerPort, DHCPClientPort = 67, 68
	DHCPv6ClientPort               = 546
)

// LinkLocal6 is where a DHCPv6 client is answered (RFC 4291 §2.5.6).
var LinkLocal6 = netip.MustParsePrefix("fe80::/10")
