package nftables

import (
	"context"
	"errors"

	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/netlink"
	kernel "github.com/portgrave/portgrave/firewall/netlink/nftables"
	"golang.org/x/sys/unix"
)

// The kernel lists what is hooked in at a hook, in the order in which it runs it
// (include/uapi/linux/netfilter/nfnetlink_hook.h).
const (
	subsystemHook = 12 // NFNL_SUBSYS_HOOK
	hookGet       = 0  // NFNL_MSG_HOOK_GET
	hookNumber    = 1  // NFNLA_HOOK_HOOKNUM
	hookDevice    = 3  // NFNLA_HOOK_DEV
	hookChain     = 6  // NFNLA_HOOK_CHAIN_INFO
	hookInfoDesc  = 1  // NFNLA_HOOK_INFO_DESC
	hookInfoType  = 2  // NFNLA_HOOK_INFO_TYPE
	typeNFTables  = 1  // NFNL_HOOK_TYPE_NFTABLES
	chainTable    = 1  // NFNLA_CHAIN_TABLE
	chainFamily   = 2  // NFNLA_CHAIN_FAMILY
	chainName     = 3  // NFNLA_CHAIN_NAME
)

// hooks asks for the lists of all hooks that the chains are at. nat chains are in none: they run
// inside a hook of the kernel's own. A kernel without the subsystem (before 5.14, or without the
// module) has no lists: nil.
func hooks(ctx context.Context, conn *netlink.Conn, chains []Object) ([][]ChainName, error) {
	type list struct {
		family uint8
		number uint32
		device string
	}
	var lists []list
	for number := range uint32(5) { // NF_INET_PRE_ROUTING … NF_INET_POST_ROUTING
		lists = append(
			lists,
			list{family: unix.NFPROTO_IPV4, number: number},
			list{family: unix.NFPROTO_IPV6, number: number},
		)
	}
	seen := map[list]bool{}
	for _, o := range chains {
		k, err := kernel.DecodeChain(o.Attributes)
		if err != nil {
			return nil, err
		}
		c := chainOf(o.Family, k)
		if c.Base == nil {
			continue
		}
		for _, device := range c.Base.Devices {
			// Inet ingress hooks are in the device's list too.
			l := list{unix.NFPROTO_NETDEV, 0, device}
			if c.Base.Hook == exposure.HookEgress {
				l.number = 1 // NF_NETDEV_EGRESS
			}
			if !seen[l] {
				seen[l] = true
				lists = append(lists, l)
			}
		}
	}
	var out [][]ChainName
	for _, l := range lists {
		r := netlink.Netfilter(
			subsystemHook,
			hookGet,
			l.family,
			unix.NLM_F_DUMP,
			func(e *netlink.Encoder) {
				e.Uint32(hookNumber, l.number)
				if l.device != "" {
					e.String(hookDevice, l.device)
				}
			},
		)
		var names []ChainName
		err := conn.Ask(ctx, r, func(m netlink.Message) error {
			if n, ok := chainAt(m.Attributes); ok {
				names = append(names, n)
			}
			return nil
		})
		var refused unix.Errno
		switch {
		case errors.As(err, &refused):
			continue // no such subsystem, hook or device: then the order isn't known
		case err != nil:
			return nil, err
		}
		if len(names) > 0 {
			out = append(out, names)
		}
	}
	return out, nil
}

// chainAt is the nf_tables chain that an entry of a list is; false for other hooks.
func chainAt(b []byte) (ChainName, bool) {
	a, err := netlink.Parse(b)
	if err != nil {
		return ChainName{}, false
	}
	info, err := netlink.Parse(a.Bytes(hookChain))
	if err != nil || info.Number(hookInfoType) != typeNFTables {
		return ChainName{}, false
	}
	desc, err := netlink.Parse(info.Bytes(hookInfoDesc))
	if err != nil {
		return ChainName{}, false
	}
	return ChainName{
		exposure.Family(desc.Number(chainFamily)),
		desc.String(chainTable),
		desc.String(chainName),
	}, true
}

// rank sets the rank of base chains. Those in the kernel's lists get a place that agrees with all
// lists; a chain of family inet is in those of both IP versions. The others are ranked backwards
// from the order in which they were dumped, as the kernel puts the chain that was registered last
// first.
func rank(chains []*exposure.Chain, names map[ChainName]*exposure.Chain, lists [][]ChainName) {
	for i, c := range chains {
		if c.Base != nil {
			c.Base.Rank = -i
		}
	}
	// place is the length of the longest way to a chain through the lists: later in a list is
	// always higher. Lists of one kernel agree with each other; if forged ones don't, the rounds
	// end anyway.
	place := map[*exposure.Chain]int{}
	for range min(len(names), 1000) + 1 {
		changed := false
		for _, list := range lists {
			last := 0
			for _, n := range list {
				c := names[n]
				if c == nil || c.Base == nil {
					continue
				}
				if place[c] <= last {
					place[c] = last + 1
					changed = true
				}
				last = place[c]
			}
		}
		if !changed {
			break
		}
	}
	for c, p := range place {
		c.Base.Rank, c.Base.RankKnown = p, true
	}
}
