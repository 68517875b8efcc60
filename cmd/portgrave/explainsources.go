package main

import (
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure/audit"
)

// explainedSources are the sources that --from names, if it isn't an address: a CIDR, or a network
// of the policy.
func (inv *invocation) explainedSources(p audit.Packet) (address.Set, error) {
	if p.From.IsValid() {
		return address.Set{}, nil
	}
	text := inv.cli.String("from")
	if prefix, err := netip.ParsePrefix(text); err == nil {
		if prefix != prefix.Masked() {
			return address.Set{}, usagef("%s has bits set behind its length: write --from %s, or %s",
				text, prefix.Masked(), prefix.Addr())
		}
		return address.New(prefix)
	}
	_, c, err := inv.compiled(inv.config, true)
	if err != nil || len(c.Networks) == 0 {
		return address.Set{}, inv.notA("an address", "from")
	}
	set, known := c.Networks[text]
	switch {
	case !known:
		return set, usagef("%q is not an address: write --from %s, or a network that a service "+
			"of the policy uses: %s", text, exampleOf(inv.cli, "from"),
			strings.Join(slices.Sorted(maps.Keys(c.Networks)), ", "))
	case set.Len() == 0:
		return set, usagef("network %s holds no address", text)
	}
	return set, nil
}

// explainedBlocks is what explain says of several sources: of the first block that doesn't connect,
// or else of the first, as of an address; and all blocks.
type explainedBlocks struct {
	audit.Explanation
	Sources address.Set   `json:"sources"`
	Blocks  []audit.Block `json:"blocks"`
}

// explainSources explains packets from several sources, block by block where they fare differently.
func explainSources(
	inv *invocation, in audit.Input, p audit.Packet, sources address.Set,
) error {
	name := inv.cli.String("from")
	blocks, err := audit.ExplainSources(in, p, sources)
	if errors.Is(err, audit.ErrManyBlocks) {
		return usagef("--from %s: %w: name an address of it", name, err)
	}
	if err != nil {
		return usagef("%w", err)
	}
	for i := range blocks {
		inv.place(&blocks[i].Explanation)
	}
	first := max(0, slices.IndexFunc(blocks, func(b audit.Block) bool { return !b.Connects }))
	all := !slices.ContainsFunc(blocks, func(b audit.Block) bool { return !b.Connects })
	if inv.screen.json {
		err := inv.screen.object(explainedBlocks{blocks[first].Explanation, sources, blocks})
		if err != nil {
			return err
		}
	} else {
		printBlocks(inv, blocks, name, sources)
	}
	if !all {
		return errReport
	}
	return nil
}

func printBlocks(inv *invocation, blocks []audit.Block, name string, sources address.Set) {
	s, path := inv.screen, inv.cli.Bool("path")
	if len(blocks) == 1 && blocks[0].Sources.Equal(sources) {
		b := blocks[0]
		printExplanation(s, b.Explanation, name, prefixOf(b), path)
		return
	}
	words := plural(len(blocks), "different answer")
	s.paragraph("It depends on the address: " + name + " gets " + words + ".")
	for _, b := range blocks {
		s.printf("\n")
		text, _ := sourceWords(b.Sources, nil)
		printExplanation(s, b.Explanation, text, prefixOf(b), path)
	}
}

// prefixOf is a block's only prefix, or else the address that was looked at.
func prefixOf(b audit.Block) string {
	if b.Sources.Len() == 1 {
		return b.Sources.Strings()[0]
	}
	return b.From.String()
}
