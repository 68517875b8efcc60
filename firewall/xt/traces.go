package xt

import (
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/portgrave/portgrave/firewall"
)

// Traces reports whether something of ours may stand in iptables, without running a program: whether the legacy
// kernel has a table mangle, or the nft variant's has our chain.
func Traces() (bool, error) {
	p := programs{proc: procNet}
	for _, f := range firewall.Families {
		tables, err := p.legacyTables(f)
		if err != nil {
			return false, err
		}
		if slices.Contains(tables, mangle) {
			return true, nil
		}
	}
	conn, err := nftables.New()
	if err != nil {
		return false, fmt.Errorf("looking for chains %s: %w", baseChain, err)
	}
	for _, family := range []nftables.TableFamily{nftables.TableFamilyIPv4, nftables.TableFamilyIPv6} {
		chains, err := conn.ListChainsOfTableFamily(family)
		if err != nil {
			return false, fmt.Errorf("looking for chains %s: %w", baseChain, err)
		}
		if slices.ContainsFunc(chains, func(c *nftables.Chain) bool { return ours(c.Name) }) {
			return true, nil
		}
	}
	return false, nil
}
