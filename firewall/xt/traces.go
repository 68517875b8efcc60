package xt

import (
	"context"
	"fmt"
	"slices"

	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/netlink"
	"golang.org/x/sys/unix"
)

// Traces reports whether something of ours may stand in iptables, without running a program:
// whether the legacy kernel has a table mangle, or the nft variant's has our chain.
func Traces() (bool, error) {
	for _, f := range address.Families {
		tables, err := legacyTables(f)
		if err != nil {
			return false, err
		}
		if slices.Contains(tables, mangle) {
			return true, nil
		}
	}
	found, err := chainsOfOurs(context.Background())
	if err != nil {
		return false, fmt.Errorf("looking for chains %s: %w", baseChain, err)
	}
	return found, nil
}

// chainsOfOurs looks for chains of our names in the nft variant's tables.
func chainsOfOurs(ctx context.Context) (bool, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER)
	if err != nil {
		return false, err
	}
	defer func() { _ = conn.Close() }()
	var found bool
	_, err = netlink.OneGeneration(conn.Ruleset(ctx), savedAttempts, func(uint32) error {
		found = false
		for _, family := range []uint8{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6} {
			chains := netlink.Netfilter(unix.NFNL_SUBSYS_NFTABLES, unix.NFT_MSG_GETCHAIN, family,
				unix.NLM_F_DUMP, nil)
			if err := conn.Ask(ctx, chains, func(m netlink.Message) error {
				a, err := netlink.Parse(m.Attributes)
				found = found || ours(a.String(unix.NFTA_CHAIN_NAME))
				return err
			}); err != nil {
				return err
			}
		}
		return nil
	})
	return found, err
}
