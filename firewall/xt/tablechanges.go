package xt

import (
	"slices"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

// tableChanges words what differs in the tables. To people a tree is one thing, wherever it stands:
// what table security repeats of table filter is not said twice, and what only moves from one table
// to another is not said at all.
func (d difference) tableChanges(kept keptSources) []firewall.Change {
	byTable := make([][]firewall.Change, len(d.tables))
	said := map[address.Family]map[firewall.Change]bool{address.IPv4: {}, address.IPv6: {}}
	for i, t := range d.tables {
		byTable[i] = t.changes(kept)
		for _, c := range byTable[i] {
			if t.key.name != security {
				said[t.key.family][c] = true
			}
		}
	}
	for i, t := range d.tables {
		switch {
		case t.key.name == security:
			byTable[i] = slices.DeleteFunc(byTable[i],
				func(c firewall.Change) bool { return said[t.key.family][c] })
		case d.moves(t):
			byTable[i] = slices.DeleteFunc(byTable[i], func(c firewall.Change) bool {
				switch c.Action {
				case firewall.Add:
					c.Action = firewall.Remove
				case firewall.Remove:
					c.Action = firewall.Add
				}
				return said[t.key.family][c]
			})
		}
	}
	return slices.Concat(byTable...)
}

// moves reports whether the tree of this table moves to, or comes from, another of the same
// program.
func (d difference) moves(t tableDifference) bool {
	turns := func(t tableDifference) int {
		switch have, want := t.haveTable.decides(), t.wantTable.decides(); {
		case have && !want:
			return -1
		case want && !have:
			return 1
		}
		return 0
	}
	return turns(t) != 0 && slices.ContainsFunc(d.tables, func(o tableDifference) bool {
		return o.key != t.key && o.key.program() == t.key.program() && o.key.name != security &&
			turns(o) == -turns(t)
	})
}
