package main

import (
	"errors"
	"fmt"
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
		set, err := address.New(prefix)
		if err != nil {
			return set, usagef("--from %s: %w", text, err)
		}
		return set, nil
	}
	names, err := inv.readNames()
	if err != nil {
		// Not %w: the mistakes of the policy would be reported in place of the word.
		return address.Set{}, errors.Join(
			inv.notA("an address", "from"),
			fmt.Errorf("the names of the policy are not known: %v", err),
		)
	}
	set, known, err := names.Network(text)
	switch {
	case err != nil:
		return set, fmt.Errorf("network %q: %w", text, err)
	case !known && len(names.NetworkNames()) == 0:
		return set, inv.notA("an address", "from")
	case !known:
		return set, usagef("%q is not an address: write --from %s, or a network of %s: %s", text,
			exampleOf(inv.cli, "from"), names.Called(), strings.Join(names.NetworkNames(), ", "))
	case set.Len() == 0:
		return set, usagef("network %s holds no address", text)
	}
	return set, nil
}

// explainedBlocks is what explain says of several sources: of the first block that doesn't connect,
// or else of the first, as of an address; and all blocks. Beside are sources that can't dial the
// address that --to names, as they are of the other IP version: they are in no block.
type explainedBlocks struct {
	audit.Explanation
	Sources address.Set   `json:"sources"`
	Beside  address.Set   `json:"other_version,omitzero"`
	Blocks  []audit.Block `json:"blocks"`
}

// explainSources explains packets from several sources, block by block where they fare differently.
func explainSources(
	inv *invocation, in audit.Input, p audit.Packet, sources address.Set,
) error {
	name := inv.cli.String("from")
	dialling, beside := audit.Dialling(p.Destination, sources)
	if dialling.Len() == 0 {
		return usagef("--to %s: %s has no address of that IP version", p.Destination, name)
	}
	blocks, err := audit.ExplainSources(in, p, dialling)
	var unlocated audit.LocateError
	switch {
	case errors.Is(err, audit.ErrManyBlocks):
		return usagef("--from %s: %w: name an address of it", name, err)
	case errors.As(err, &unlocated):
		return usagef("%w", err)
	case err != nil:
		return err
	}
	placer := newPlacer(inv)
	for i := range blocks {
		placer.place(&blocks[i].Explanation, blocks[i].Sources)
	}
	first := max(0, slices.IndexFunc(blocks, func(b audit.Block) bool { return !b.Connects }))
	all := !slices.ContainsFunc(blocks, func(b audit.Block) bool { return !b.Connects })
	if inv.screen.json {
		err := inv.screen.object(
			explainedBlocks{blocks[first].Explanation, sources, beside, blocks})
		if err != nil {
			return err
		}
	} else {
		printBlocks(inv.screen, blocks, name, inv.cli.Bool("path"))
		if beside.Len() > 0 {
			inv.screen.paragraph(fmt.Sprintf("Addresses of %s that are of the other IP version "+
				"can't come to %s, so they don't count.", printable(name), p.Destination))
		}
	}
	if !all {
		return errReport
	}
	return nil
}

func printBlocks(s *screen, blocks []audit.Block, name string, path bool) {
	if len(blocks) == 1 {
		printExplanation(s, blocks[0].Explanation, name, prefixOf(blocks[0]), path)
		return
	}
	n := differentAnswers(blocks)
	if n > 1 {
		s.paragraph(fmt.Sprintf("It depends on the address: %s gets %d different answers.",
			printable(name), n))
	}
	for i, b := range blocks {
		if i > 0 || n > 1 {
			s.printf("\n")
		}
		text, _ := sourceWords(b.Sources, nil)
		printExplanation(s, b.Explanation, text, prefixOf(b), path)
	}
}

// differentAnswers counts answers. IPv4 and IPv6 have blocks of their own even where they fare
// alike.
func differentAnswers(blocks []audit.Block) int {
	type answer struct {
		reason           audit.Reason
		service, because string
	}
	seen := map[answer]bool{}
	for _, b := range blocks {
		a := answer{reason: b.Reason, service: b.Service}
		if !b.Connects && b.Service == "" {
			a.because = audit.Words(b.DecidedBy)
		}
		seen[a] = true
	}
	return len(seen)
}

// prefixOf is a block's only prefix, or else the address that was looked at.
func prefixOf(b audit.Block) string {
	if b.Sources.Len() == 1 {
		return b.Sources.Strings()[0]
	}
	return b.From.String()
}
