package policy

import (
	"net/netip"
	"time"

	"github.com/portgrave/portgrave/firewall"
)

// LintSSH warns if unlisted: deny keeps everybody from the SSH server of the host. It takes the
// addresses where the server listens for other machines.
func (p *Policy) LintSSH(c *Compiled, listening []netip.AddrPort, now time.Time) []Problem {
	if len(listening) == 0 || !p.Denies() {
		return nil
	}
	index := c.State.Index()
	for _, l := range listening {
		var at []netip.Addr
		if !l.Addr().IsUnspecified() {
			at = append(at, l.Addr())
		}
		for _, s := range index.Ask(firewall.TCP, l.Port(), "", at...).Services {
			if !s.AllowedAt(now).IsZero() {
				return nil
			}
		}
	}
	var r reporter
	port := firewall.PortRange{Protocol: firewall.TCP, First: listening[0].Port(),
		Last: listening[0].Port()}
	r.warn(RuleSSHUnreachable, p.unlistedAt,
		"this host's SSH server listens on %s, and nobody could reach it: no service with that "+
			"port lets anybody in, and unlisted: deny refuses the rest", port)
	return r.list
}

// Denies reports whether the policy says unlisted: deny.
func (p *Policy) Denies() bool { return p.unlisted == firewall.UnlistedDeny }
