package nft

import (
	"net/netip"

	"github.com/portgrave/portgrave/firewall"
	"golang.org/x/sys/unix"
)

// message is an ICMP or ICMPv6 type: its name in nft and its number.
type message struct {
	family firewall.Family
	name   string
	number byte
}

// Types by essential (IANA "ICMP Type Numbers", "ICMPv6 Type Numbers"; choice after RFC 4890 §4.4).
var essentialMessages = []struct {
	essential firewall.Essentials
	messages  []message
}{
	{firewall.EssentialICMPErrors, []message{
		{firewall.IPv4, "destination-unreachable", 3}, {firewall.IPv4, "time-exceeded", 11}, {firewall.IPv4, "parameter-problem", 12},
		{firewall.IPv6, "destination-unreachable", 1}, {firewall.IPv6, "packet-too-big", 2}, {firewall.IPv6, "time-exceeded", 3}, {firewall.IPv6, "parameter-problem", 4}}},
	{firewall.EssentialEcho, []message{{firewall.IPv4, "echo-request", 8}, {firewall.IPv6, "echo-request", 128}}},
	{firewall.EssentialNeighbourDiscovery, []message{
		{firewall.IPv6, "nd-router-solicit", 133}, {firewall.IPv6, "nd-router-advert", 134}, {firewall.IPv6, "nd-neighbor-solicit", 135},
		{firewall.IPv6, "nd-neighbor-advert", 136}, {firewall.IPv6, "nd-redirect", 137}}},
	{firewall.EssentialMulticastMembership, []message{
		{firewall.IPv6, "mld-listener-query", 130}, {firewall.IPv6, "mld-listener-report", 131}, {firewall.IPv6, "mld-listener-done", 132},
		{firewall.IPv6, "mld2-listener-report", 143}}},
}

// unlisted is the chain of packets for ports that no service lists, in deny mode.
func (c *compiler) unlisted() {
	var rules []rule
	for _, e := range essentialMessages {
		if c.state.Essentials.Has(e.essential) {
			for _, m := range e.messages {
				rules = append(rules, newRule().icmpType(m.family, m.name, m.number).accept())
			}
		}
	}
	if c.state.Essentials.Has(firewall.EssentialMulticastMembership) {
		rules = append(rules, newRule().l4proto("igmp", unix.IPPROTO_IGMP).accept())
	}
	if c.state.Essentials.Has(firewall.EssentialDHCP) {
		// Servers answer from port 67 to 68 (RFC 2131 §4.1), from 547 to 546 and, always, from
		// a link-local address (RFC 8415 §7.2). The answers may be broadcast, so conntrack can't know them.
		rules = append(rules, newRule().family(firewall.IPv4).udpPorts(67, 68).accept(),
			newRule().saddrPrefix(netip.MustParsePrefix("fe80::/10")).udpPorts(547, 546).accept())
	}
	// Second connections of protocols that a conntrack helper follows (FTP, SIP): part of what the
	// host started. ICMP has been dealt with by name above.
	related := uint32(4)
	rules = append(rules, newRule().l4proto("tcp", unix.IPPROTO_TCP).ctState("related", related).accept(),
		newRule().l4proto("udp", unix.IPPROTO_UDP).ctState("related", related).accept(),
		newRule().gotoChain(unlistedChain+"/refuse"))
	c.chain(unlistedChain, "", rules...)
	c.refuse(unlistedChain+"/refuse", unlistedChain, "", "unlisted", true)
}
