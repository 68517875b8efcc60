package exposure

import (
	"fmt"
	"strings"

	"github.com/portgrave/portgrave/firewall"
)

// Loop is a way of jumps that leads back to its beginning. The kernel refuses rules that have one:
// mark_source_chains in net/ipv4/netfilter/ip_tables.c, nft_chain_validate and
// nf_tables_check_loops in net/netfilter/nf_tables_api.c.
type Loop struct {
	// Chains are the chains of the loop, in order; the last one leads to the first.
	Chains []*Chain
	// Rule is the last chain's rule that leads to the first.
	Rule *Rule
}

// maxLoopNames is the most chains of a loop that its error names.
const maxLoopNames = 8

// Error names the chains.
func (l *Loop) Error() string {
	var names []string
	for i, c := range l.Chains {
		if i == maxLoopNames {
			names = append(names, fmt.Sprintf("%d more", len(l.Chains)-i))
			break
		}
		names = append(names, firewall.Excerpt(c.Name))
	}
	first, last := l.Chains[0], l.Chains[len(l.Chains)-1]
	return fmt.Sprintf(
		"chain %s leads back to chain %s: chains may not jump in a loop (%s), and the kernel "+
			"refuses these rules",
		firewall.Excerpt(last.Name), firewall.Excerpt(first.Name),
		strings.Join(append(names, firewall.Excerpt(first.Name)), " → "),
	)
}

// FindLoop returns a loop that a packet could run into, from a base chain; nil if there is none.
// Chains that nothing runs may lead anywhere.
func (t *Table) FindLoop() *Loop {
	s := loopSearch{table: t, state: map[*Chain]int{}, maps: map[*Set][]*Chain{}}
	for _, c := range t.Chains {
		if c.Base != nil && s.state[c] == 0 {
			if l := s.visit(c); l != nil {
				return l
			}
		}
	}
	return nil
}

type loopSearch struct {
	table *Table
	path  []*Chain
	state map[*Chain]int
	maps  map[*Set][]*Chain // where the verdicts of a map lead, each chain once
}

const (
	loopRunning = 1
	loopDone    = 2
)

func (s *loopSearch) visit(c *Chain) *Loop {
	s.state[c] = loopRunning
	s.path = append(s.path, c)
	for _, r := range c.Rules {
		for _, statement := range r.Statements {
			for _, to := range s.targets(statement) {
				switch s.state[to] {
				case loopDone:
				case loopRunning:
					from := len(s.path) - 1
					for s.path[from] != to {
						from--
					}
					return &Loop{s.path[from:], r}
				default:
					if l := s.visit(to); l != nil {
						return l
					}
				}
			}
		}
	}
	s.path = s.path[:len(s.path)-1]
	s.state[c] = loopDone
	return nil
}

// targets are the chains that a statement may lead to.
func (s *loopSearch) targets(statement Statement) []*Chain {
	switch v := statement.(type) {
	case Verdict:
		if to := s.target(v); to != nil {
			return []*Chain{to}
		}
	case VerdictMap:
		list, known := s.maps[v.In]
		if !known {
			seen := map[*Chain]bool{}
			for _, verdict := range v.In.Verdicts {
				if to := s.target(verdict); to != nil && !seen[to] {
					seen[to] = true
					list = append(list, to)
				}
			}
			s.maps[v.In] = list
		}
		return list
	}
	return nil
}

func (s *loopSearch) target(v Verdict) *Chain {
	if v.Kind != VerdictJump && v.Kind != VerdictGoto {
		return nil
	}
	return s.table.Chain(v.Chain)
}
