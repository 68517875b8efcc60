package policy

import (
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/ipvs"
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
	list := n.Connected
	if list == nil {
		list = connectedNetworks
	}
	found, err := list()
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
	list := n.Virtual
	if list == nil {
		list = func() ([]firewall.VirtualService, error) {
			found, _, err := ipvs.Virtual()
			return found, err
		}
	}
	found, err := list()
	if err != nil {
		c.report.at(Location{File: c.policy.Origin}, "the services of IPVS can't be listed: %v", err)
		return nil
	}
	return found
}

// connectedNetworks asks the kernel, in the calling thread's network namespace.
func connectedNetworks() (out []netip.Prefix, err error) {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("listing addresses: %w", err)
	}
	for _, a := range addresses {
		n, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		address, ok := netip.AddrFromSlice(n.IP)
		bits, _ := n.Mask.Size()
		if address = address.Unmap(); ok && !address.IsLoopback() {
			out = append(out, netip.PrefixFrom(address, bits))
		}
	}
	return out, nil
}
