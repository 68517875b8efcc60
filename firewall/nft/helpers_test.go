package nft

import (
	"slices"

	"github.com/portgrave/portgrave/firewall/netlink/nftables"
)

// references lists the sets, counters and chains that a rule of ours names.
func references(r rule) []string {
	var out []string
	for _, e := range r.Exprs {
		switch e := e.(type) {
		case nftables.Lookup:
			out = append(out, e.Set)
		case nftables.Dynset:
			out = append(out, e.Set)
		case nftables.Objref:
			out = append(out, e.Object)
		case nftables.Immediate:
			if e.Verdict.Chain != "" {
				out = append(out, e.Verdict.Chain)
			}
		}
	}
	return out
}

// refersTo reports whether a rule of ours names a set, counter or chain.
func refersTo(r rule, name string) bool { return slices.Contains(references(r), name) }
