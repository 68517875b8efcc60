package nft

import (
	"slices"
	"strings"

	"github.com/google/nftables/expr"
)

func containsText(s, part string) bool { return strings.Contains(s, part) }

// references lists the sets, counters and chains that a rule of ours names.
func (r rule) references() []string {
	var out []string
	for _, e := range r.exprs {
		switch e := e.(type) {
		case *expr.Lookup:
			out = append(out, e.SetName)
		case *expr.Dynset:
			out = append(out, e.SetName)
		case *expr.Objref:
			out = append(out, e.Name)
		case *expr.Verdict:
			if e.Chain != "" {
				out = append(out, e.Chain)
			}
		}
	}
	return out
}

func (r rule) goesTo(chain string) bool { return slices.Contains(r.references(), chain) }
