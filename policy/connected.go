package policy

import (
	"net/netip"
	"time"

	"github.com/portgrave/portgrave/firewall"
)

// connectedRefresh is how often the daemon looks which networks the host is part of.
const connectedRefresh = time.Minute

// asksConnected reports whether it matters which networks the host is part of.
func (p *Policy) asksConnected() bool {
	return p.unlisted == firewall.UnlistedDeny && p.essentials.Has(firewall.EssentialMulticastAnswers)
}

// connected are the networks that the host is part of now. If they can't be listed, there are none:
// nobody's answers come in.
func (c *compiler) connected(n *Networks) firewall.Prefixes {
	var found []netip.Prefix
	var err error
	if n.Connected != nil {
		found, err = n.Connected()
	}
	var b firewall.PrefixesBuilder
	for _, p := range found {
		if err == nil {
			err = b.Add(p.Masked())
		}
	}
	if err != nil {
		c.warnings.at(
			Location{File: c.policy.Origin},
			"the networks that this host is part of can't be listed, so no "+
				"multicast-answers come in: %v",
			err,
		)
		return firewall.Prefixes{}
	}
	return b.Set()
}

// virtual are the services of IPVS at addresses that the host holds for it alone. If they can't be
// listed, the policy is not applied: it would refuse what it let through before.
func (c *compiler) virtual(n *Networks) []firewall.VirtualService {
	if n.Virtual == nil {
		return nil
	}
	found, err := n.Virtual()
	if err != nil {
		c.report.at(Location{File: c.policy.Origin}, "the services of IPVS can't be listed: %v", err)
		return nil
	}
	return found
}
