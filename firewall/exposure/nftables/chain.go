package nftables

import (
	"github.com/portgrave/portgrave/firewall/exposure"
	kernel "github.com/portgrave/portgrave/firewall/netlink/nftables"
)

// inetHooks are NF_INET_PRE_ROUTING and so on (include/uapi/linux/netfilter.h), by number. Bridges
// have the same for the first five.
var inetHooks = []exposure.Hook{
	exposure.HookPrerouting,
	exposure.HookInput,
	exposure.HookForward,
	exposure.HookOutput,
	exposure.HookPostrouting,
	exposure.HookIngress,
}

// hookOf is the hook of a number in a family; false for one that there isn't.
func hookOf(f exposure.Family, number uint64) (exposure.Hook, bool) {
	table := inetHooks
	switch f {
	case exposure.FamilyNetdev: // NF_NETDEV_INGRESS, NF_NETDEV_EGRESS
		table = []exposure.Hook{exposure.HookIngress, exposure.HookEgress}
	case exposure.FamilyARP: // NF_ARP_IN, NF_ARP_OUT, NF_ARP_FORWARD (include/uapi/linux/netfilter_arp.h)
		table = []exposure.Hook{exposure.HookInput, exposure.HookOutput, exposure.HookForward}
	case exposure.FamilyBridge:
		table = inetHooks[:5]
	}
	if number >= uint64(len(table)) {
		return 0, false
	}
	return table[number], true
}

// chainOf is a chain without its rules.
func chainOf(f exposure.Family, k kernel.Chain) *exposure.Chain {
	c := &exposure.Chain{Name: k.Name}
	if k.Hook == nil {
		return c
	}
	hook, ok := hookOf(f, uint64(k.Hook.Number))
	if !ok { // a hook of kernels to come: nothing that this package follows calls it
		return c
	}
	c.Base = &exposure.Base{Hook: hook, Priority: k.Hook.Priority, Policy: exposure.VerdictAccept,
		Devices: k.Hook.Devices}
	c.Base.Type, _ = exposure.ParseChainType(k.Hook.Type)
	if k.Hook.Policy == kernel.CodeDrop {
		c.Base.Policy = exposure.VerdictDrop
	}
	return c
}
