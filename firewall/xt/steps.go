package xt

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/portgrave/portgrave/firewall"
)

// step is one run of one program. A table is switched atomically by its own step; sets are prepared before
// anything looks them up, and removed when nothing does any more.
type step struct {
	what    string   // for errors: "iptables-nft table mangle"
	program *program // whose restore program; nil: ipset restore
	table   string   // "" for ipset
	// input is what the program is given at a moment: the ends of sources are told as the time that is left, and other steps,
	// or another program's lock, may have taken long.
	input func(now time.Time) []byte
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
func steps(d difference, have *ruleset, now time.Time) []step {
	var out []step
	scripts := d.sets.scripts(have, now)
	ipset := func(what string, which int, tidy bool) {
		if len(scripts[which]) == 0 {
			return
		}
		input := func(time.Time) []byte { return scripts[which] }
		if d.sets.timed() {
			input = func(now time.Time) []byte { return d.sets.scripts(have, now)[which] }
		}
		out = append(out, step{what: what, input: input, tidy: tidy})
	}
	tables := func(pick func(tableDifference) bool) {
		for _, t := range d.tables {
			if pick(t) {
				p := t.key.program()
				script := t.script()
				out = append(out, step{what: t.key.String(), program: &p, table: t.key.name, input: func(time.Time) []byte { return script }})
			}
		}
	}
	ipset("preparing ipsets", 0, false)
	tables(func(t tableDifference) bool { return !t.gone && t.key.name != mangle })
	tables(func(t tableDifference) bool { return !t.gone && t.key.name == mangle })
	ipset("changing ipsets", 1, false)
	tables(func(t tableDifference) bool { return t.gone && t.key.name == mangle })
	tables(func(t tableDifference) bool { return t.gone && t.key.name != mangle })
	ipset("removing ipsets", 2, true)
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

// fewChanges is up to how many elements a set is changed where it stands, one after the other: new ones first,
// so that no source that stays allowed is ever missing. More are loaded into a second set that is then swapped in.
const fewChanges = 256

// timed reports whether sources that end by themselves are written.
func (d setsDifference) timed() bool {
	ends := func(s *set) bool { return s.kind == kindUntil }
	return slices.ContainsFunc(d.new, ends) || slices.ContainsFunc(d.reshaped, ends) ||
		slices.ContainsFunc(d.content, func(c contentDifference) bool { return ends(c.want) })
}

// scripts are what ipset restore is given before, with and after the rules.
func (d setsDifference) scripts(have *ruleset, now time.Time) [3][]byte {
	var prepare, change, destroy bytes.Buffer
	live := have.lookUps()
	load := func(s *set, name string, n int) {
		prepare.WriteString(createLine(name, s.kind, s.family, n))
		fmt.Fprintf(&prepare, "flush %s\n", name) // should it have come into being since we looked
		prepare.Write(appendElements(nil, "add", name, s.elements, now))
	}
	for _, s := range d.new {
		load(s, s.name, len(s.elements))
	}
	for _, s := range d.reshaped { // compile gave the service its other slot unless nothing looks this one up
		fmt.Fprintf(&prepare, "destroy %s\n", s.name)
		load(s, s.name, len(s.elements))
	}
	leaving := map[string]bool{}
	for _, s := range d.gone {
		leaving[s.name] = true
	}
	for _, c := range d.content {
		name := c.want.name
		switch {
		case !live[name]:
			fmt.Fprintf(&prepare, "flush %s\n", name)
			prepare.Write(appendElements(nil, "add", name, c.want.elements, now))
		case len(c.add)+len(c.remove) <= fewChanges:
			change.Write(appendElements(nil, "add", name, c.add, now))
			change.Write(appendElements(nil, "del", name, c.remove, now))
		default:
			other := otherSlot(name)
			if have.sets[other] != nil { // left behind by an apply that was killed
				fmt.Fprintf(&prepare, "destroy %s\n", other)
			}
			load(c.want, other, len(c.want.elements))
			fmt.Fprintf(&change, "swap %s %s\n", other, name)
			if !leaving[other] {
				fmt.Fprintf(&destroy, "destroy %s\n", other)
			}
		}
	}
	for _, s := range d.gone {
		fmt.Fprintf(&destroy, "destroy %s\n", s.name)
	}
	return [3][]byte{prepare.Bytes(), change.Bytes(), destroy.Bytes()}
}

// torn picks the services whose sets can't be changed where they stand, because rules around them change too: a
// packet could meet the new rules with the old sources. So too where a source moves from one set to
// another, and could be in neither for a moment.
func torn(d difference) slots {
	rules := map[firewall.Family]bool{}
	for _, t := range d.tables {
		if t.key.name == mangle {
			rules[t.key.family] = true
		}
	}
	out := slots{}
	for _, s := range d.sets.reshaped {
		out[slot{s.service, s.family}] = true
	}
	for i, c := range d.sets.content {
		if rules[c.want.family] {
			out[slot{c.want.service, c.want.family}] = true
		}
		for _, o := range d.sets.content[i+1:] {
			if o.want.service == c.want.service && o.want.family == c.want.family && (overlap(c.add, o.remove) || overlap(c.remove, o.add)) {
				out[slot{c.want.service, c.want.family}] = true
			}
		}
	}
	return out
}

// overlap reports whether two ascending lists share an address.
func overlap(a, b []element) bool {
	for i, j := 0, 0; i < len(a) && j < len(b); {
		if a[i].prefix.Overlaps(b[j].prefix) {
			return true
		}
		if a[i].prefix.Addr().Less(b[j].prefix.Addr()) {
			i++
		} else {
			j++
		}
	}
	return false
}

// slotsInUse tells which of its two names each service's sets have in the kernel: the one that rules look up.
func slotsInUse(have *ruleset, services []firewall.Service) slots {
	use := slots{}
	live := have.lookUps()
	for _, svc := range services {
		for _, f := range firewall.Families {
			for _, k := range []setKind{kindHosts, kindNets, kindUntil} {
				if second := setName(svc.Name, k, f, true); have.sets[second] != nil && live[second] {
					use[slot{svc.Name, f}] = true
				}
			}
		}
	}
	return use
}
