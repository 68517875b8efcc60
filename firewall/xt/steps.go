package xt

import (
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/iptsave"
)

// step is one run of one program, or elements for sets, or both. A table is switched atomically by
// its own step, unless it goes; sets are prepared before anything looks them up, and removed when
// nothing does any more.
type step struct {
	what    string   // for errors: "iptables-nft table mangle"
	program *program // whose restore program; nil: ipset restore
	table   string   // "" for ipset
	// unhook are jumps that are taken out first, one by one: behind them no packet meets what input
	// removes.
	unhook []jump
	input  []byte
	// fills are elements to be written behind: the remaining time of sources that end is stated as
	// of that moment, since other steps, or another program's lock, may have taken long.
	fills []fill
	// tidy: only removes what no packet meets any more, so that failing is no reason to take back
	// the rest.
	tidy bool
}

// steps is a difference as steps, in an order in which every packet meets the old verdict or the
// new one after each of them:
//
//  1. sets that no rule looks up yet, with their elements
//  2. table mangle, so that connections are labelled before a tree asks for it; unless it hands
//     its tree over to table filter
//  3. the other tables that decide
//  4. table mangle where it hands over
//  5. elements of sets that stay, where no rule around them changed
//  6. tables that lose everything of ours
//  7. sets that no rule looks up any more
//
// Where two tables decide at a time, a packet must pass both, the old one and the new.
func steps(d difference, have *ruleset) []step {
	var out []step
	prepare, change, destroy := d.sets.commands(have)
	ipset := func(what string, c setCommands, tidy bool) {
		if len(c.script)+len(c.fills) > 0 {
			out = append(out, step{what: what, tidy: tidy, input: c.script, fills: c.fills})
		}
	}
	tables := func(pick func(tableDifference) bool) {
		for _, t := range d.tables {
			if pick(t) {
				p := t.key.program()
				out = append(out, step{what: t.key.String(), program: &p, table: t.key.name,
					unhook: t.unhook(), input: t.script(have)})
			}
		}
	}
	ipset("preparing ipsets", prepare, false)
	handsOver := func(t tableDifference) bool {
		return t.haveTable.decides() && !t.wantTable.decides()
	}
	tables(func(t tableDifference) bool { return !t.gone && t.key.name == mangle && !handsOver(t) })
	tables(func(t tableDifference) bool { return !t.gone && t.key.name != mangle })
	tables(func(t tableDifference) bool { return !t.gone && t.key.name == mangle && handsOver(t) })
	ipset("changing ipsets", change, false)
	tables(func(t tableDifference) bool { return t.gone })
	ipset("removing ipsets", destroy, true)
	return out
}

// unhook are the jumps to the chains of a table that goes, the one to the labels last.
func (t tableDifference) unhook() (out []jump) {
	if !t.gone {
		return nil
	}
	for _, h := range t.hooks { // in the order of the alphabet, in which PREROUTING is last
		for _, have := range h.have {
			out = append(out, jump{h.chain, have.rule.text})
		}
	}
	return out
}

// script is what iptables-restore is given: one commit. Jumps to a table that goes are not part of
// it: see step.
func (t tableDifference) script(have *ruleset) []byte {
	var s iptsave.Script
	s.Begin(t.key.name)
	for _, c := range t.chainsNew {
		s.Declare(c.name)
	}
	for _, c := range t.chainsChanged {
		s.Declare(c.want.name)
	}
	// Counters of rules that stay are written with them, also where the tree comes from another
	// table.
	fill := func(c *chain, counters map[string]firewall.Counter) {
		for _, r := range c.rules {
			s.Append(c.name, counters[r.canon], r.text)
		}
	}
	for _, c := range t.chainsNew {
		fill(c, countersOf(have.elsewhere(t.key, c.name)))
	}
	for _, c := range t.chainsChanged {
		fill(c.want, countersOf(c.have))
	}
	for _, h := range t.hooks {
		if t.gone {
			break
		}
		for _, old := range h.have {
			s.Delete(h.chain, old.rule.text)
		}
		if h.want != nil {
			s.Insert(h.chain, h.want.position+1, h.want.rule.text)
		}
	}
	for _, c := range t.chainsGone {
		s.Flush(c.name)
	}
	for _, c := range t.chainsGone {
		s.Remove(c.name)
	}
	s.Commit()
	return s
}

func countersOf(c *chain) map[string]firewall.Counter {
	out := map[string]firewall.Counter{}
	if c != nil {
		for _, r := range c.rules {
			out[r.canon] = r.counter
		}
	}
	return out
}

// elsewhere is the chain of this name in another table of the same program that counts; nil for
// none.
func (r *ruleset) elsewhere(k tableKey, name string) *chain {
	if k.name == security {
		return nil
	}
	for _, other := range []string{mangle, filter} {
		k.name = other
		if c := r.at(k).chains[name]; c != nil {
			return c
		}
	}
	return nil
}
