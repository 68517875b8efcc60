package xt

import (
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/iptsave"
)

// setCommands is the input of ipset restore, and then the elements that go into the sets.
type setCommands struct {
	script iptsave.Script
	fills  []fill
}

// load makes a set with all its elements, under a name.
func (c *setCommands) load(s *set, name string) {
	c.script.CreateSet(name, setType(s.kind, s.family, s.elements.len()))
	c.script.FlushSet(name) // should it have come into being since we looked
	c.fills = append(c.fills, fill{name, false, s.elements})
}

// edit adds before it removes.
func (c *setCommands) edit(name string, d contentDifference) {
	c.fills = append(c.fills, fill{name, false, &d.add.kept}, fill{name, true, &d.remove.kept})
}

// commands are those before, with and after the rules.
func (d setsDifference) commands(have *ruleset) (prepare, change, destroy setCommands) {
	live := have.lookUps()
	for _, s := range d.new {
		prepare.load(s, s.name)
	}
	// compile gave the service its other slot unless nothing looks this one up.
	for _, s := range d.reshaped {
		prepare.script.DestroySet(s.name)
		prepare.load(s, s.name)
	}
	leaving := map[string]bool{}
	for _, s := range d.gone {
		leaving[s.name] = true
	}
	for _, c := range d.content {
		name := c.want.name
		switch {
		case c.inPlace() && live[name]:
			change.edit(name, c)
		case c.inPlace():
			prepare.edit(name, c)
		case !live[name]:
			prepare.script.FlushSet(name)
			prepare.fills = append(prepare.fills, fill{name, false, c.want.elements})
		default:
			other := otherSlot(name)
			if have.sets[other] != nil { // left behind by an apply that was killed
				prepare.script.DestroySet(other)
			}
			prepare.load(c.want, other)
			change.script.SwapSets(other, name)
			if !leaving[other] {
				destroy.script.DestroySet(other)
			}
		}
	}
	for _, s := range d.gone {
		destroy.script.DestroySet(s.name)
	}
	return prepare, change, destroy
}

// torn picks the services whose sets can't be changed where they stand, because rules on the way to
// them change too: a packet could meet the new rules with the old sources. So too where a source
// moves from one set to another, and could be in neither for a moment.
func torn(d difference) slots {
	changing := changingPaths(d.tables)
	out := slots{}
	for _, s := range d.sets.reshaped {
		out[slot{s.service, s.family}] = true
	}
	before := map[slot][]*contentDifference{} // at most one of each kind
	for i := range d.sets.content {
		c := &d.sets.content[i]
		at := slot{c.want.service, c.want.family}
		if changing[slot{"", at.family}] || changing[slot{id(at.service), at.family}] {
			out[at] = true
		}
		for _, o := range before[at] {
			if mayShare(&c.add, &o.remove) || mayShare(&c.remove, &o.add) {
				out[at] = true
			}
		}
		before[at] = append(before[at], c)
	}
	d.withVirtual(changing, out)
	return out
}

// withVirtual adds all of a family's changed sets where the services of IPVS are among them and
// anything else changes: who is let in to one of these may be so by the set before, and by a
// service afterwards, so both have to come into force at once.
func (d *difference) withVirtual(changing, out slots) {
	for _, f := range address.Families {
		var changed []slot
		virtual := false
		for _, c := range d.sets.content {
			if c.want.family == f {
				changed = append(changed, slot{c.want.service, f})
				virtual = virtual || c.want.kind == kindVirtual
			}
		}
		rules := false
		for at := range changing {
			rules = rules || at.family == f
		}
		if virtual && (rules || len(changed) > 1) {
			for _, at := range changed {
				out[at] = true
			}
		}
	}
}

// changingPaths tells on the way to which services' sets a packet meets rules that change, by the
// services' ids; "" stands for all. Chains of one service stand on no other's way: as long as
// nothing else changes, packets for the others take the same way as before.
func changingPaths(tables []tableDifference) slots {
	out := slots{}
	for _, t := range tables {
		if t.fresh || t.gone || len(t.hooks) > 0 {
			out[slot{"", t.key.family}] = true
		}
		changed := func(c *chain) {
			service := serviceOf(c.name)
			if isLeaseChain(c.name) { // whose name doesn't tell the service
				service = id(c.service)
			}
			out[slot{service, t.key.family}] = true
		}
		for _, c := range t.chainsGone {
			changed(c)
		}
		for _, c := range t.chainsNew {
			changed(c)
		}
		for _, c := range t.chainsChanged {
			changed(c.want)
		}
	}
	return out
}

// mayShare reports whether two sides have an address in common, or are too many to be compared.
func mayShare(a, b *edits) bool {
	if a.n == 0 || b.n == 0 {
		return false
	}
	return !a.whole() || !b.whole() || overlap(&a.kept, &b.kept)
}

// slotsInUse tells which of its two names each service's sets have in the kernel: the one that
// rules look up. "" stands for the sets that serve all of them.
func slotsInUse(have *ruleset, services []firewall.Service) slots {
	use := slots{}
	live := have.lookUps()
	look := func(holder, service string, kinds ...setKind) {
		for _, f := range address.Families {
			for _, k := range kinds {
				if second := setName(holder, k, f, true); have.sets[second] != nil &&
					live[second] {
					use[slot{service, f}] = true
				}
			}
		}
	}
	look("", "", kindOwnPort, kindPeerPort, kindVirtual)
	for _, svc := range services {
		look(svc.Name, svc.Name, kindHosts, kindNets, kindUntil)
		for _, l := range svc.Leases {
			look(leaseHolder(svc.Name, l.Ports[0]), svc.Name, kindUntil)
		}
	}
	return use
}
