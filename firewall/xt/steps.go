package xt

import (
	"bytes"
	"fmt"

	"github.com/portgrave/portgrave/firewall"
)

// step is one run of one program, or elements for sets, or both. A table is switched atomically by its own step; sets are prepared before
// anything looks them up, and removed when nothing does any more.
type step struct {
	what    string   // for errors: "iptables-nft table mangle"
	program *program // whose restore program; nil: ipset restore
	table   string   // "" for ipset
	input   []byte
	// fills are elements to be written behind: how much time is left to sources that end is told as of that moment, since other steps, or another
	// program's lock, may have taken long.
	fills []fill
	// tidy: only removes what no packet meets any more, so that failing is no reason to take back the rest.
	tidy bool
}

// steps is a difference as steps, in an order in which every packet meets the old verdict or the new one after
// each of them:
//
//  1. sets that no rule looks up yet, with their elements
//  2. the tables that answer refused packets, before anything is marked for them
//  3. table mangle, family by family: a packet is of one family
//  4. elements of sets that stay, where no rule around them changed
//  5. tables of which nothing shall stay: mangle first, so that nothing is marked and then let through
//  6. sets that no rule looks up any more
func steps(d difference, have *ruleset) []step {
	var out []step
	prepare, change, destroy := d.sets.commands(have)
	ipset := func(what string, c setCommands, tidy bool) {
		if len(c.text)+len(c.fills) > 0 {
			out = append(out, step{what: what, tidy: tidy, input: c.text, fills: c.fills})
		}
	}
	tables := func(pick func(tableDifference) bool) {
		for _, t := range d.tables {
			if pick(t) {
				p := t.key.program()
				out = append(out, step{what: t.key.String(), program: &p, table: t.key.name, input: t.script()})
			}
		}
	}
	ipset("preparing ipsets", prepare, false)
	tables(func(t tableDifference) bool { return !t.gone && t.key.name != mangle })
	tables(func(t tableDifference) bool { return !t.gone && t.key.name == mangle })
	ipset("changing ipsets", change, false)
	tables(func(t tableDifference) bool { return t.gone && t.key.name == mangle })
	tables(func(t tableDifference) bool { return t.gone && t.key.name != mangle })
	ipset("removing ipsets", destroy, true)
	return out
}

// script is what iptables-restore --noflush --counters is given: one commit.
func (t tableDifference) script() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "*%s\n", t.key.name)
	// Declaring a chain makes it, or empties it. All stand before the first rule that goes to one.
	for _, c := range t.chainsNew {
		fmt.Fprintf(&b, ":%s - [0:0]\n", c.name)
	}
	for _, c := range t.chainsChanged {
		fmt.Fprintf(&b, ":%s - [0:0]\n", c.want.name)
	}
	// Counters of rules that stay are written with them.
	fill := func(c *chain, counters map[string]firewall.Counter) {
		for _, r := range c.rules {
			n := counters[r.canon]
			fmt.Fprintf(&b, "[%d:%d] -A %s %s\n", n.Packets, n.Bytes, c.name, r.text)
		}
	}
	for _, c := range t.chainsNew {
		fill(c, nil)
	}
	for _, c := range t.chainsChanged {
		counters := map[string]firewall.Counter{}
		for _, r := range c.have.rules {
			counters[r.canon] = r.counter
		}
		fill(c.want, counters)
	}
	for _, h := range t.hooks {
		for _, old := range h.have {
			fmt.Fprintf(&b, "-D %s %s\n", h.chain, old.rule.text)
		}
		if h.want != nil {
			fmt.Fprintf(&b, "-I %s %d %s\n", h.chain, h.want.position+1, h.want.rule.text)
		}
	}
	for _, c := range t.chainsGone {
		fmt.Fprintf(&b, "-F %s\n", c.name)
	}
	for _, c := range t.chainsGone {
		fmt.Fprintf(&b, "-X %s\n", c.name)
	}
	b.WriteString("COMMIT\n")
	return b.Bytes()
}
