package xt

import (
	"context"
	"fmt"
	"slices"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/nfnetlink"
	"golang.org/x/sys/unix"
)

// Traces reports whether something of ours may stand in iptables, without running a program:
// whether the legacy kernel has a table mangle, or the nft variant's has our chain.
func Traces() (bool, error) {
	for _, f := range firewall.Families {
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
	conn, err := nfnetlink.Dial()
	if err != nil {
		return false, err
	}
	defer func() { _ = conn.Close() }()
	var found bool
	_, err = nfnetlink.OneGeneration(conn.Ruleset(ctx), savedAttempts, func(uint32) error {
		found = false
		for _, family := range []uint8{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6} {
			chains := nfnetlink.Request{
				Subsystem: unix.NFNL_SUBSYS_NFTABLES,
				Kind:      unix.NFT_MSG_GETCHAIN,
				Family:    family,
				Dump:      true,
			}
			if err := conn.Ask(ctx, chains, func(m nfnetlink.Message) error {
				a, err := nfnetlink.Parse(m.Attributes)
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
