package xtables

import (
	"fmt"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/iptsave"
)

// checkLoops finds a jump that leads back to a chain that is running, from a chain of the kernel.
// The kernel refuses such a table (mark_source_chains in net/ipv4/netfilter/ip_tables.c).
func checkLoops(t *exposure.Table) error {
	const running, done = 1, 2
	state := map[*exposure.Chain]int{}
	var visit func(c *exposure.Chain) error
	visit = func(c *exposure.Chain) error {
		state[c] = running
		for _, r := range c.Rules {
			for _, s := range r.Statements {
				v, ok := s.(exposure.Verdict)
				if !ok || v.Kind != exposure.VerdictJump && v.Kind != exposure.VerdictGoto {
					continue
				}
				to := t.Chain(v.Chain)
				if to == nil || state[to] == done {
					continue
				}
				if state[to] == running {
					return &iptsave.Error{Line: r.Origin.Line, Column: 1, Err: fmt.Errorf(
						"chain %s leads back to chain %s: the kernel takes no loop of chains",
						firewall.Excerpt(c.Name), firewall.Excerpt(to.Name),
					)}
				}
				if err := visit(to); err != nil {
					return err
				}
			}
		}
		state[c] = done
		return nil
	}
	for _, c := range t.Chains {
		if c.Base != nil && state[c] == 0 {
			if err := visit(c); err != nil {
				return err
			}
		}
	}
	return nil
}
