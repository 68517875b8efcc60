package nft

import (
	"fmt"
	"slices"
	"time"

	"github.com/portgrave/portgrave/firewall"
)

// changes words the difference for people and for the JSON contract.
func (d difference) changes(want, have *ruleset) []firewall.Change {
	var out []firewall.Change
	l := d.lookAtParts(want, have)
	add := func(a firewall.Action, o firewall.Object, service string, family firewall.Family, detail string) {
		c := firewall.Change{Action: a, Object: o, Service: service, Detail: detail, Count: 1}
		if family != 0 {
			c.Family = family.String()
		}
		out = append(out, c)
	}
	switch {
	case d.rebuild && !want.present:
		add(firewall.Remove, firewall.ObjectTable, "", 0, "table inet "+tableName)
	case d.rebuild && have.present:
		add(firewall.Replace, firewall.ObjectTable, "", 0, "table inet "+tableName)
	case d.rebuild:
		add(firewall.Add, firewall.ObjectTable, "", 0, "table inet "+tableName)
	}
	if d.dormant {
		add(
			firewall.Replace,
			firewall.ObjectTable,
			"",
			0,
			"table inet "+tableName+" (dormant: not in force)",
		)
	}
	if d.leftover != nil {
		add(firewall.Remove, firewall.ObjectTable, "", 0,
			"table inet "+secondTable+" (of a hand-over that was interrupted)")
	}
	for _, s := range d.strangers {
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
			add(firewall.Remove, firewall.ObjectRule, c.is.service, 0, "a rule of chain "+c.name)
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
func elementChanges(
	a firewall.Action,
	service string,
	f firewall.Family,
	spans []span,
) []firewall.Change {
	return firewall.ElementChangesOf(a, service, f, len(spans), func(i int) string {
		words := spans[i].String()
		if a == firewall.Add &&
			!spans[i].until.IsZero() { // what is removed has an end that is known to the second at best
			words += " until " + spans[i].until.UTC().Format(time.RFC3339)
		}
		return words
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
		out = append(
			out,
			firewall.Change{Action: firewall.Replace, Object: firewall.ObjectElement, Service: service,
				Detail: fmt.Sprintf(
					"%d elements of set %s that Portgrave did not write",
					c.have.odd,
					c.want.name,
				), Count: c.have.odd},
		)
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
			for j < len(list) && list[j].key == list[j-1].key+1 && list[j].verdict == list[i].verdict {
				j++
			}
			first, n := list[i], j-i
			r := firewall.PortRange{
				Protocol: firewall.Protocol(first.key >> 16),
				First:    uint16(first.key),
				Last:     uint16(list[j-1].key),
			}
			out = append(
				out,
				firewall.Change{
					Action:  a,
					Object:  firewall.ObjectElement,
					Service: in.serviceAt(first.verdict.Chain),
					Detail:  fmt.Sprintf("port %s → %s", r, first.verdict),
					Count:   n,
				},
			)
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
			out = append(
				out,
				firewall.Change{
					Action:  a,
					Object:  firewall.ObjectRule,
					Service: c.want.service,
					Detail:  "chain " + c.want.name + ": " + r.String(),
					Count:   1,
				},
			)
		}
	}
	firewall.DiffLists(c.want.rules, c.have, rule.Equal,
		func(r rule) { add(firewall.Add, r, c.have) },
		func(r rule) { add(firewall.Remove, r, c.want.rules) })
	return out
}

// sourceChange words a source that stands in a rule.
func sourceChange(a firewall.Action, service string, p firewall.Prefix) firewall.Change {
	return firewall.ElementChangesOf(a, service, partOfSource(service, p).family, 1, func(int) string { return p.String() })[0]
}
