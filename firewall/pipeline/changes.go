package pipeline

import (
	"fmt"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

// The wording of changes: what people read is the same whichever backend wrote the rules.

// Changed is one object that changes; family 0 is both.
func Changed(a firewall.Action, o firewall.Object, service string, f address.Family,
	detail string) firewall.Change {
	c := firewall.Change{Action: a, Object: o, Service: service, Detail: detail, Count: 1}
	if f != 0 {
		c.Family = f.String()
	}
	return c
}

// MaxListed is how many elements of one set a plan names one by one; more become one change with a
// count, so that a plan for a million sources stays readable and small.
const MaxListed = 256

// Elements are n elements that change. They are written out only where they are shown: all of them,
// or the first and the last.
func Elements(a firewall.Action, service string, f address.Family, n int,
	word func(i int) string) []firewall.Change {
	if n > MaxListed {
		c := Changed(a, firewall.ObjectElement, service, f,
			fmt.Sprintf("%s … %s (%d in all)", word(0), word(n-1), n))
		c.Count = n
		return []firewall.Change{c}
	}
	out := make([]firewall.Change, 0, n)
	for i := range n {
		out = append(out, Changed(a, firewall.ObjectElement, service, f, word(i)))
	}
	return out
}

// Until words an element that ends by itself, unless its end is the zero Time. Of what is removed
// the end is known to the second at best, so it isn't said.
func Until(a firewall.Action, element string, end time.Time) string {
	if a != firewall.Add || end.IsZero() {
		return element
	}
	return element + " until " + end.UTC().Format(time.RFC3339)
}

// Leads words ports that lead to a chain.
func Leads(ports string, to any) string { return fmt.Sprintf("port %s → %s", ports, to) }

// InChain words a rule.
func InChain(chain, rule string) string { return "chain " + chain + ": " + rule }
