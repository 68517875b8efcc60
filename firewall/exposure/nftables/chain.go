package nftables

import (
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/netlink"
	"golang.org/x/sys/unix"
)

// Attributes that x/sys/unix lacks (include/uapi/linux/netfilter/nf_tables.h).
const (
	hookDev      = 3 // NFTA_HOOK_DEV
	hookDevs     = 4 // NFTA_HOOK_DEVS
	devicePrefix = 2 // NFTA_DEVICE_PREFIX: every device that begins so
)

// inetHooks are NF_INET_PRE_ROUTING and so on (include/uapi/linux/netfilter.h), by number. Bridges have the same for the first five.
var inetHooks = []exposure.Hook{exposure.HookPrerouting, exposure.HookInput, exposure.HookForward, exposure.HookOutput,
	exposure.HookPostrouting, exposure.HookIngress}

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

// decodeChain reads a chain without its rules, and its table's name.
func decodeChain(o Object) (*exposure.Chain, string, error) {
	a, err := netlink.Parse(o.Attributes)
	if err != nil {
		return nil, "", err
	}
	c := &exposure.Chain{Name: a.String(unix.NFTA_CHAIN_NAME)}
	table := a.String(unix.NFTA_CHAIN_TABLE)
	if !a.Has(unix.NFTA_CHAIN_HOOK) {
		return c, table, nil
	}
	h, err := netlink.Parse(a.Bytes(unix.NFTA_CHAIN_HOOK))
	if err != nil {
		return nil, "", err
	}
	hook, ok := hookOf(o.Family, h.Number(unix.NFTA_HOOK_HOOKNUM))
	if !ok { // a hook of kernels to come: nothing that this package follows calls it
		return c, table, nil
	}
	c.Base = &exposure.Base{Hook: hook, Priority: int32(uint32(h.Number(unix.NFTA_HOOK_PRIORITY))), Policy: exposure.VerdictAccept}
	c.Base.Type, _ = exposure.ParseChainType(a.String(unix.NFTA_CHAIN_TYPE))
	if a.Has(unix.NFTA_CHAIN_POLICY) && a.Number(unix.NFTA_CHAIN_POLICY) == 0 { // NF_DROP
		c.Base.Policy = exposure.VerdictDrop
	}
	c.Base.Devices, err = devicesOf(&h)
	return c, table, err
}

func devicesOf(h *netlink.Attributes) ([]string, error) {
	var out []string
	if h.Has(hookDev) {
		out = append(out, h.String(hookDev))
	}
	err := netlink.Each(h.Bytes(hookDevs), func(kind uint16, data []byte) error {
		name := netlink.String(data)
		if kind == devicePrefix {
			name += "*"
		}
		if len(out) == 0 || out[0] != name {
			out = append(out, name)
		}
		return nil
	})
	return out, err
}
