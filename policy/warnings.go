package policy

import (
	"net/netip"

	"github.com/portgrave/portgrave/firewall"
)

// dhcpServerPort is the port of DHCP servers, to which clients send before they have an address
// (RFC 2131 §4.1).
const dhcpServerPort = 67

// unspecified is the source of a host that has no address yet.
var unspecified = netip.IPv4Unspecified()

// warnOfSources warns about entries that don't mean what they seem to mean.
func (c *compiler) warnOfSources(s service, enforced firewall.Service) {
	dhcp := -1 // the index of the range that has dhcpServerPort
	for i, r := range s.enforced.Ports {
		if r.Contains(firewall.UDP, dhcpServerPort) {
			dhcp = i
		}
	}
	for _, e := range s.allow {
		if !e.prefix.IsValid() || !e.prefix.IsSingleIP() || !e.prefix.Addr().IsUnspecified() {
			continue
		}
		if dhcp < 0 || e.prefix.Addr().Is6() {
			c.warnings.warn(RuleUnspecifiedSource, e.at,
				"%s is one address, of hosts that have none yet, and not "+
					"everybody: no client connects from it", e.prefix.Addr())
		}
	}
	if dhcp >= 0 && !enforced.AllowedAt(c.now).Contains(unspecified) &&
		enforced.Sources.Len()+len(enforced.Expiring) > 0 {
		c.warnings.warn(
			RuleDHCPSource,
			s.portsAt[dhcp],
			"service %q lists udp/%d, where DHCP clients that have no address yet ask from "+
				"0.0.0.0, and does not allow that: add 0.0.0.0 to allow if it is a DHCP server",
			s.enforced.Name,
			dhcpServerPort,
		)
	}
}
