package nft

import (
	"github.com/portgrave/portgrave/firewall"
	"golang.org/x/sys/unix"
)

// unlisted is the chain of packets for ports that no service lists, in deny mode.
func (c *compiler) unlisted() {
	var rules []rule
	for _, m := range c.state.Essentials.Messages() {
		rules = append(rules, newRule().icmpType(m.Family, m.Type).accept())
	}
	if c.state.Essentials.Has(firewall.EssentialMulticastMembership) {
		rules = append(rules, newRule().l4proto(unix.IPPROTO_IGMP).accept())
	}
	if c.state.Essentials.Has(firewall.EssentialDHCP) {
		rules = append(
			rules,
			newRule().family(firewall.IPv4).
				udpPorts(firewall.DHCPServerPort, firewall.DHCPClientPort).
				accept(),
			newRule().daddr(firewall.IPv6, firewall.LinkLocal6).udpTo(firewall.DHCPv6ClientPort).accept(),
		)
	}
	if c.state.Essentials.Has(firewall.EssentialMulticastAnswers) {
		rules = append(rules, c.answers()...)
	}
	// Second connections of protocols that a conntrack helper follows (FTP, SIP): part of what the
	// host started. Only their first packets are in state related.
	rules = append(
		rules,
		newRule().l4proto(unix.IPPROTO_TCP).expected().accept(),
		newRule().l4proto(unix.IPPROTO_UDP).expected().accept(),
		newRule().gotoChain(unlistedChain+"/refuse"),
	)
	c.chain(unlistedChain, "", rules...)
	c.refuse(unlistedChain+"/refuse", unlistedChain, "", firewall.LogLabelUnlisted, true)
}
