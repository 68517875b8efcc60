package nft

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/pipeline"
)

// changes words the difference for people and for the JSON contract.
func (d difference) changes(want, have *ruleset) []firewall.Change {
	var out []firewall.Change
	l := d.lookAtParts(want, have)
	add := func(a firewall.Action, o firewall.Object, service string, f address.Family,
		detail string) {
		out = append(out, pipeline.Changed(a, o, service, f, detail))
	}
	table := func(a firewall.Action, name string) {
		add(a, firewall.ObjectTable, "", 0, "table inet "+name)
	}
	switch {
	case d.rebuild && !want.present:
		table(firewall.Remove, tableName)
	case d.rebuild && have.present:
		table(firewall.Replace, tableName)
	case d.rebuild:
		table(firewall.Add, tableName)
	}
	if d.dormant {
		table(firewall.Replace, tableName+" (dormant: not in force)")
	}
	if d.leftover != nil {
		table(firewall.Remove, secondTable+" (of a hand-over that was interrupted)")
	}
	for _, s := range d.foreignObjects {
		add(firewall.Remove, firewall.ObjectSet, "", 0, s.kind+" "+s.name)
	}
	for _, c := range d.chainsGone {
		if l.hides(c.name) {
			continue
		}
		add(firewall.Remove, objectOf(c), c.is.service, 0, "chain "+c.name)
		for _, r := range c.rules {
			if p, ok := c.sourceOf(r); ok {
				out = append(out, sourceChange(firewall.Remove, c.is.service, p))
				continue
			}
			add(firewall.Remove, firewall.ObjectRule, c.is.service, 0,
				pipeline.InChain(c.name, r.String()))
		}
	}
	for _, c := range d.chainsNew {
		if l.hides(c.name) {
			continue
		}
		add(firewall.Add, objectOf(c), c.service, 0, "chain "+c.name)
	}
	for _, c := range d.chainsMoved {
		add(firewall.Replace, firewall.ObjectHook, c.service, 0, "chain "+c.name)
	}
	for _, c := range d.rulesChanged {
		if l.hides(c.want.name) {
			continue
		}
		out = append(out, l.ruleChanges(c)...)
	}
	for _, s := range d.setsGone {
		if l.hides(s.name) {
			continue
		}
		add(firewall.Remove, firewall.ObjectSet, s.is.service, s.family, "set "+s.name)
		out = append(out, elementChanges(firewall.Remove, s.is.service, s.family, s.spans)...)
		out = append(out, virtualChanges(firewall.Remove, s.family, s.virtual)...)
	}
	for _, s := range d.setsNew {
		if l.hides(s.name) {
			continue
		}
		add(firewall.Add, firewall.ObjectSet, s.is.service, s.family, "set "+s.name)
		out = append(
			out,
			contentChanges(setContent{want: s, have: &set{}, add: s.spans, virtualAdd: s.virtual,
				verdictsAdd: allVerdicts(s)}, want, have)...)
	}
	for _, s := range d.setsReshaped {
		if l.hides(s.name) {
			continue
		}
		add(firewall.Replace, firewall.ObjectSet, s.is.service, s.family, "set "+s.name)
	}
	out = append(out, l.changes()...)
	for _, c := range d.content {
		out = append(out, contentChanges(c, want, have)...)
	}
	for _, name := range d.countersGone {
		add(firewall.Remove, firewall.ObjectRule, parseName(name).service, 0, "counter "+name)
	}
	for _, name := range d.countersNew {
		add(firewall.Add, firewall.ObjectRule, parseName(name).service, 0, "counter "+name)
	}
	return out
}

func objectOf(c *chain) firewall.Object {
	if c.hook != nil {
		return firewall.ObjectHook
	}
	return firewall.ObjectChain
}

// elementChanges words spans that are added or removed.
func elementChanges(a firewall.Action, service string, f address.Family,
	spans []span) []firewall.Change {
	return pipeline.Elements(a, service, f, len(spans), func(i int) string {
		return pipeline.Until(a, spans[i].String(), spans[i].until)
	})
}

func contentChanges(c setContent, want, have *ruleset) []firewall.Change {
	service, family := c.want.is.service, c.want.family
	out := elementChanges(firewall.Remove, service, family, c.remove)
	out = append(out, elementChanges(firewall.Add, service, family, c.add)...)
	out = append(out, virtualChanges(firewall.Remove, family, c.virtualGone)...)
	out = append(out, virtualChanges(firewall.Add, family, c.virtualAdd)...)
	out = append(out, portChanges(c, want, have)...)
	if c.replaceWholly {
		change := pipeline.Changed(
			firewall.Replace,
			firewall.ObjectElement,
			service,
			0,
			fmt.Sprintf(
				"%d elements of set %s that Portgrave did not write",
				c.have.unexpected,
				c.want.name,
			),
		)
		change.Count = c.have.unexpected
		out = append(out, change)
	}
	return out
}

func allVerdicts(s *set) []portVerdict {
	var out []portVerdict
	for _, key := range sortedKeys(s.verdicts) {
		out = append(out, portVerdict{key, s.verdicts[key]})
	}
	return out
}

// portChanges words ports map elements as ranges: one Change for "tcp/9000-9100".
func portChanges(c setContent, want, have *ruleset) []firewall.Change {
	var out []firewall.Change
	word := func(a firewall.Action, list []portVerdict, in *ruleset) {
		for i := 0; i < len(list); {
			j := i + 1
			for j < len(list) && list[j].key == list[j-1].key+1 &&
				list[j].verdict == list[i].verdict {
				j++
			}
			first, n := list[i], j-i
			r := firewall.PortRange{
				Protocol: firewall.Protocol(first.key >> 16),
				First:    uint16(first.key),
				Last:     uint16(list[j-1].key),
			}
			change := pipeline.Changed(
				a,
				firewall.ObjectElement,
				in.serviceAt(first.verdict.Chain),
				0,
				pipeline.Leads(r.String(), first.verdict),
			)
			change.Count = n
			out = append(out, change)
			i = j
		}
	}
	word(firewall.Remove, c.verdictsGone, have)
	word(firewall.Add, c.verdictsAdd, want)
	return out
}

// ruleChanges words the difference between two lists of rules: the longest common part stays.
func (l *partsView) ruleChanges(c chainRules) []firewall.Change {
	var out []firewall.Change
	add := func(a firewall.Action, r rule, other []rule) {
		p, ok := c.want.sourceOf(r)
		switch {
		case ok && l.crossed[partOfSource(c.want.service, p)]:
		case ok && !slices.ContainsFunc(other, r.Equal): // else it stands elsewhere, or twice
			out = append(out, sourceChange(a, c.want.service, p))
		default:
			out = append(out, pipeline.Changed(a, firewall.ObjectRule, c.want.service, 0,
				pipeline.InChain(c.want.name, r.String())))
		}
	}
	firewall.DiffLists(c.want.rules, c.have, rule.Equal,
		func(r rule) { add(firewall.Add, r, c.have) },
		func(r rule) { add(firewall.Remove, r, c.want.rules) })
	return out
}

// sourceChange words a source that stands in a rule.
func sourceChange(a firewall.Action, service string, p netip.Prefix) firewall.Change {
	return pipeline.Changed(a, firewall.ObjectElement, service, familyOf(p), p.String())
}
