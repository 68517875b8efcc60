package firewall

// ICMPMessage is one ICMP or ICMPv6 type.
type ICMPMessage struct {
	Family Family
	Name   string // as nft calls it
	Type   uint8
}

// Types by essential (IANA "ICMP Type Numbers", "ICMPv6 Type Numbers"; choice after RFC 4890 §4.4).
var essentialMessages = []struct {
	essential Essentials
	messages  []ICMPMessage
}{
	{EssentialICMPErrors, []ICMPMessage{
		{IPv4, "destination-unreachable", 3}, {IPv4, "time-exceeded", 11}, {IPv4, "parameter-problem", 12},
		{IPv6, "destination-unreachable", 1}, {IPv6, "packet-too-big", 2}, {IPv6, "time-exceeded", 3}, {IPv6, "parameter-problem", 4}}},
	{EssentialEcho, []ICMPMessage{{IPv4, "echo-request", 8}, {IPv6, "echo-request", 128}}},
	{EssentialNeighbourDiscovery, []ICMPMessage{
		{IPv6, "nd-router-solicit", 133}, {IPv6, "nd-router-advert", 134}, {IPv6, "nd-neighbor-solicit", 135},
		{IPv6, "nd-neighbor-advert", 136}, {IPv6, "nd-redirect", 137}}},
	{EssentialMulticastMembership, []ICMPMessage{
		{IPv6, "mld-listener-query", 130}, {IPv6, "mld-listener-report", 131}, {IPv6, "mld-listener-done", 132},
		{IPv6, "mld2-listener-report", 143}}},
}

// Messages lists the ICMP messages that the set keeps open. IGMP and DHCP are no ICMP: see DHCP's ports below.
func (s Essentials) Messages() []ICMPMessage {
	var out []ICMPMessage
	for _, e := range essentialMessages {
		if s.Has(e.essential) {
			out = append(out, e.messages...)
		}
	}
	return out
}

// Ports of the answers that a DHCP client waits for. Servers answer from port 67 to 68 (RFC 2131 §4.1), from
// 547 to 546 and, always, from a link-local address (RFC 8415 §7.2). The answers may be broadcast,
// so conntrack can't know them.
const (
	DHCPServerPort, DHCPClientPort     = 67, 68
	DHCPv6ServerPort, DHCPv6ClientPort = 547, 546
)
