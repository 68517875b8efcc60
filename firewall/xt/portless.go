package xt

import (
	"strconv"

	"github.com/portgrave/portgrave/firewall"
)

// number is how a protocol is named to iptables: not every host has an /etc/protocols to look names
// up in.
func number(p firewall.Protocol) string { return strconv.Itoa(int(p)) }

// portless leads a protocol without ports to the chain that decides. It stands before the ports:
// ip6tables looks past the Authentication Header at what it protects, so "-p 51" never matches.
func (c *compiler) portless(p firewall.Protocol, chain string) rule {
	switch {
	case p == firewall.Ping:
		return args(append(c.icmp(firewall.EchoRequest(c.family)), "-g", chain)...)
	case p == firewall.AH && c.family == firewall.IPv6:
		return args("-m", "ah", "-g", chain)
	}
	return args("-p", number(p), "-g", chain)
}

// icmp are the words that match a message of the family.
func (c *compiler) icmp(m firewall.ICMPMessage) []string {
	number := strconv.Itoa(int(m.Type))
	if c.family == firewall.IPv6 {
		return []string{"-p", "ipv6-icmp", "-m", "icmp6", "--icmpv6-type", number}
	}
	return []string{"-p", "icmp", "-m", "icmp", "--icmp-type", number}
}
