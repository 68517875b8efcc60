package policy

import (
	"net/netip"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

// connectedRefresh is how often the daemon lists the networks that the host is connected to.
const connectedRefresh = time.Minute

// needsConnected reports whether the policy depends on the networks the host is connected to.
func (p *Policy) needsConnected() bool {
	return p.unlisted == firewall.UnlistedDeny &&
		p.essentials.Has(firewall.EssentialMulticastAnswers)
}

// connected lists the networks that the host is connected to. If they can't be listed it warns and
// returns none, so that no answers come in.
func (c *compiler) connected(n *Networks) address.Set {
	var found []netip.Prefix
	var err error
	if n.Connected != nil {
		found, err = n.Connected()
	}
	var b address.Builder
	for _, p := range found {
		if err == nil {
			err = b.Add(p.Masked())
		}
	}
	if err != nil {
		c.warnings.warn(
			RuleUnreadableHost,
			Location{File: c.policy.FirstFile()},
			"the networks that this host is part of can't be listed, so no "+
				"multicast-answers come in: %v",
			err,
		)
		return address.Set{}
	}
	return b.Set()
}

// virtualServices lists the IPVS services at addresses that the host holds for them alone. If they
// can't be listed, it reports a mistake, because the policy would refuse what it let through
// before.
func (c *compiler) virtualServices(n *Networks) []firewall.VirtualService {
	if n.Virtual == nil {
		return nil
	}
	found, err := n.Virtual()
	if err != nil {
		at := Location{File: c.policy.FirstFile()}
		c.report.at(at, "the services of IPVS can't be listed: %v", err)
		c.report.markFault(true)
		return nil
	}
	return found
}
