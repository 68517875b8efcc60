package xt

import (
	"strconv"

	"github.com/portgrave/portgrave/firewall"
)

// dhcp lets the answers to the host's DHCP client in.
func (c *compiler) dhcp() rule {
	if c.family == firewall.IPv6 {
		return args("-d", firewall.LinkLocal6.String(), "-p", "udp", "-m", "udp",
			"--dport", strconv.Itoa(firewall.DHCPv6ClientPort), "-j", "RETURN")
	}
	return args("-p", "udp", "-m", "udp", "--sport", strconv.Itoa(firewall.DHCPServerPort),
		"--dport", strconv.Itoa(firewall.DHCPClientPort), "-j", "RETURN")
}
