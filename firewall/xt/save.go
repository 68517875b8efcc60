package xt

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/portgrave/portgrave/firewall/iptsave"
)

// readSave takes our part out of what iptables-save -c prints for one family, and adds it to r.
// Rules of others are counted for the position of our hooks and otherwise passed over.
func readSave(r *ruleset, p program, out []byte) error {
	s := saveReader{ruleset: r, program: p}
	err := iptsave.Read(bytes.NewReader(out), s.line)
	if at := (*iptsave.Error)(nil); errors.As(err, &at) {
		return fmt.Errorf("%s-save, line %d: %w", p, at.Line, err)
	}
	if err != nil {
		return fmt.Errorf("%s-save: %w", p, err)
	}
	return nil
}

type saveReader struct {
	ruleset *ruleset
	program program
	table   *table         // the one that is open
	lengths map[string]int // rules seen so far, by chain
}

func (s *saveReader) line(l *iptsave.Line) error {
	key := tableKey{s.program.variant, s.program.family, l.Table}
	switch l.Kind {
	case iptsave.Remark:
		if table, ok := iptsave.Incompatible(l.Text); ok {
			key.name = table
			s.ruleset.blocked[key] = strings.TrimSpace(strings.TrimPrefix(l.Text, "#"))
		}
	case iptsave.Begin:
		s.table, s.lengths = newTable(), map[string]int{}
		s.ruleset.loaded[key] = true
	case iptsave.End:
		if !s.table.empty() {
			s.ruleset.tables[key] = s.table
		}
	case iptsave.Declare:
		if ours(l.Chain) {
			s.table.chains[l.Chain] = &chain{name: l.Chain, service: serviceOf(l.Chain)}
		} else if l.Policy != "ACCEPT" {
			// a chain of somebody's, or a policy that somebody set
			s.ruleset.used[s.program.variant] = true
		}
	case iptsave.Append:
		foreign, err := s.rule(l)
		if foreign {
			s.ruleset.used[s.program.variant] = true
		}
		return err
	default:
		return fmt.Errorf("%q is not a line of iptables-save", l.Text)
	}
	return nil
}

// rule reads a rule, and reports whether it is somebody else's.
func (s *saveReader) rule(l *iptsave.Line) (foreign bool, err error) {
	position := s.lengths[l.Chain]
	s.lengths[l.Chain]++
	c := s.table.chains[l.Chain]
	if c == nil && !(builtIn[l.Chain] && strings.Contains(l.Text, baseChain)) {
		return true, nil // not even parsed
	}
	words, err := l.Words()
	if err != nil {
		return false, err
	}
	x := newRule(words)
	x.counter = l.Counter
	switch {
	case c != nil:
		c.rules = append(c.rules, x)
	case ours(x.target):
		s.table.hooks[l.Chain] = append(s.table.hooks[l.Chain], hook{position, x})
	default:
		return true, nil
	}
	s.table.marked = s.table.marked || strings.Contains(l.Text, mark)
	return false, nil
}

// builtIn chains are where the kernel calls the rules.
var builtIn = map[string]bool{
	"PREROUTING": true, "INPUT": true, "FORWARD": true, "OUTPUT": true, "POSTROUTING": true,
}
