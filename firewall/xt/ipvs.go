package xt

import (
	"iter"
	"net/netip"
	"slices"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/pipeline"
)

// Services of IPVS at addresses that the host holds for it alone (firewall.VirtualService). A
// packet to one reaches INPUT, and IPVS takes it there, behind our tables: at NF_IP_PRI_NAT_SRC - 2
// = 98 (net/netfilter/ipvs/ip_vs_core.c). What IPVS then sends out never passes FORWARD.

// served are the elements of the set of such services.
type served []firewall.VirtualService

func (s served) len() int { return len(s) }

// all yields them in the order of elements, which is not that of a State.
func (s served) all() iter.Seq[element] {
	list := make([]element, 0, len(s))
	for _, v := range s {
		a := v.At.Addr()
		list = append(list, element{prefix: netip.PrefixFrom(a, a.BitLen()),
			portOf: portOf{v.At.Port(), v.Protocol}})
	}
	slices.SortFunc(list, compareElements)
	return slices.Values(list)
}

// virtualSet makes the set, and returns its name; "" where there are no such services.
func (c *compiler) virtualSet() string {
	list := c.state.VirtualIn(c.family)
	if len(list) == 0 {
		return ""
	}
	return c.set("", kindVirtual, served(list))
}

// notVirtual are the words that match what goes to no service of IPVS; none if there is none.
func (c *compiler) notVirtual() []string {
	if name := c.virtualSet(); name != "" {
		return []string{"-m", "set", "!", "--match-set", name, "dst,dst"}
	}
	return nil
}

// toIPVS lets the host's own workloads reach services of IPVS past those of the policy, unless
// these name the address. Other packets go on to roots.
func (c *compiler) toIPVS(roots []rule) []rule {
	if c.virtualSet() == "" || len(c.state.Services) == 0 {
		return nil
	}
	naming := func(p firewall.PortPiece) string { return c.named(p, false) }
	c.chain(ipvsTree, "", c.ports(tree{root: ipvsTree, match: headerPort, entry: naming})...)
	c.chain(ipvsChain, "", append(c.fromInside(ipvsTree), roots...)...)
	return c.render(pipeline.If(pipeline.ToVirtual).Goto(pipeline.Text(ipvsChain)))
}
