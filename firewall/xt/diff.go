package xt

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/pipeline"
)

// difference is what separates two rulesets, object by object: the basis of both what people are
// shown (changes) and what the programs receive (steps).
type difference struct {
	tables []tableDifference
	sets   setsDifference
	names  map[string]string // of services, by id
}

// tableDifference is what separates our parts of one table.
type tableDifference struct {
	key                  tableKey
	fresh, gone          bool // nothing of ours is there yet; nothing shall be
	chainsGone           []*chain
	chainsNew            []*chain
	chainsChanged        []chainPair
	hooks                []hookDifference
	wantTable, haveTable *table
}

type chainPair struct{ want, have *chain }

// hookDifference is a built-in chain whose way to ours is not as it shall be: exactly one rule, the
// first.
type hookDifference struct {
	chain string
	want  *hook // nil: none
	have  []hook
}

type setsDifference struct {
	gone     []*set
	new      []*set
	reshaped []*set // of another type: to be made anew
	content  []contentDifference
}

// contentDifference is a set that stays, with elements that differ, in ascending order.
type contentDifference struct {
	want, have  *set
	add, remove edits
}

// compare finds every difference. It is pure; both rulesets stay as they are.
func compare(want, have *ruleset) difference {
	d := difference{names: maps.Clone(have.names)}
	for held, service := range d.names {
		d.names[held] = cmp.Or(want.names[id(service)], service)
	}
	maps.Copy(d.names, want.names)
	for _, k := range keys(want, have) {
		if t := compareTables(k, want.at(k), have.at(k)); t.differs() {
			d.tables = append(d.tables, t)
		}
	}
	firewall.DiffMaps(want.sets, have.sets, func(_ string, w, h *set) {
		switch {
		case w == nil:
			d.sets.gone = append(d.sets.gone, h)
		case h == nil:
			d.sets.new = append(d.sets.new, w)
		case h.kind != w.kind || h.unexpected > 0:
			d.sets.reshaped = append(d.sets.reshaped, w)
		default:
			c := contentDifference{want: w, have: h}
			c.add, c.remove = diffElements(w.elements, h.elements.(*list), want.readAt)
			if c.add.n+c.remove.n > 0 {
				d.sets.content = append(d.sets.content, c)
			}
		}
	})
	return d
}

func (t tableDifference) differs() bool {
	return len(t.chainsGone)+len(t.chainsNew)+len(t.chainsChanged)+len(t.hooks) > 0
}

func compareTables(k tableKey, want, have *table) tableDifference {
	d := tableDifference{key: k, fresh: have.empty(), gone: want.empty(),
		wantTable: want, haveTable: have}
	firewall.DiffMaps(want.chains, have.chains, func(_ string, w, h *chain) {
		switch {
		case w == nil:
			d.chainsGone = append(d.chainsGone, h)
		case h == nil:
			d.chainsNew = append(d.chainsNew, w)
		case !slices.EqualFunc(w.rules, h.rules, sameRule):
			d.chainsChanged = append(d.chainsChanged, chainPair{w, h})
		}
	})
	firewall.DiffMaps(want.hooks, have.hooks, func(name string, w, h []hook) {
		if len(w) == 0 {
			d.hooks = append(d.hooks, hookDifference{name, nil, h})
		} else if !slices.EqualFunc(w, h, sameHook) {
			d.hooks = append(d.hooks, hookDifference{name, &w[0], h})
		}
	})
	return d
}

func sameHook(a, b hook) bool { return a.position == b.position && sameRule(a.rule, b.rule) }

func sameRule(a, b rule) bool { return a.canon == b.canon }

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// changes words the difference for people and for the JSON contract.
func (d difference) changes() []firewall.Change {
	var out []firewall.Change
	kept := d.kept()
	out = d.tableChanges(kept)
	add := func(a firewall.Action, s *set) {
		out = append(out,
			pipeline.Changed(a, firewall.ObjectSet, s.service, s.family, "ipset "+s.name))
	}
	elements := func(a firewall.Action, s *set, e edits) {
		out = append(out, pipeline.Elements(a, s.service, s.family, e.n, func(i int) string {
			x := e.at(i)
			return pipeline.Until(a, x.String(), x.until)
		})...)
	}
	for _, s := range d.sets.gone {
		add(firewall.Remove, s)
		elements(firewall.Remove, s, summary(s.elements, kept.of(s)))
	}
	for _, s := range d.sets.new {
		add(firewall.Add, s)
		elements(firewall.Add, s, summary(s.elements, kept.of(s)))
	}
	for _, s := range d.sets.reshaped {
		add(firewall.Replace, s)
	}
	for _, c := range d.sets.content {
		elements(firewall.Remove, c.want, c.remove)
		elements(firewall.Add, c.want, c.add)
	}
	for i, c := range out {
		if name, known := d.names[c.Service]; known {
			out[i].Service = name
		}
	}
	return out
}

func (t tableDifference) changes(kept keptSources) []firewall.Change {
	var out []firewall.Change
	family := t.key.family
	add := func(a firewall.Action, o firewall.Object, service, detail string) {
		out = append(out, pipeline.Changed(a, o, service, family, detail))
	}
	whole := fmt.Sprintf("chains %s* of %s", baseChain, t.key)
	if t.fresh {
		add(firewall.Add, firewall.ObjectTable, "", whole)
	} else if t.gone {
		add(firewall.Remove, firewall.ObjectTable, "", whole)
	}
	for _, h := range t.hooks {
		out = append(out, h.change(t.key))
	}
	for _, c := range t.chainsGone {
		add(firewall.Remove, firewall.ObjectChain, c.service, "chain "+c.name)
		for _, r := range c.rules {
			out = append(out, ruleChange(firewall.Remove, family, c, r))
		}
	}
	for _, c := range t.chainsNew {
		add(firewall.Add, firewall.ObjectChain, c.service, "chain "+c.name)
		for _, r := range c.rules {
			out = append(out, ruleChange(firewall.Add, family, c, r))
		}
	}
	for _, c := range t.chainsChanged {
		change := func(a firewall.Action, r rule) {
			if p, ok := sourceIn(c.want, family, r); !ok ||
				!kept[sourceKey{id(c.want.service), p}] {
				out = append(out, ruleChange(a, family, c.want, r))
			}
		}
		firewall.DiffLists(c.want.rules, c.have.rules, sameRule,
			func(r rule) { change(firewall.Add, r) }, func(r rule) { change(firewall.Remove, r) })
	}
	return out
}

// ruleChange words a rule. One that is but a source, or but a port, is to people what it is to
// nftables: an element.
func ruleChange(a firewall.Action, f address.Family, c *chain, r rule) firewall.Change {
	source, isSource := sourceIn(c, f, r)
	switch {
	case isSource:
		return pipeline.Changed(a, firewall.ObjectElement, c.service, f, source.String())
	case r.ports != "" && isDispatch(c.name) && !isDispatch(r.target):
		return pipeline.Changed(a, firewall.ObjectElement, serviceOf(r.target), f,
			pipeline.Leads(r.ports, r.target))
	}
	return pipeline.Changed(a, firewall.ObjectRule, c.service, f, pipeline.InChain(c.name, r.text))
}

func (h hookDifference) change(k tableKey) firewall.Change {
	change := pipeline.Changed(firewall.Add, firewall.ObjectHook, "", k.family,
		fmt.Sprintf("%s, first rule of %s", k, h.chain))
	if h.want == nil {
		change.Action, change.Count = firewall.Remove, len(h.have)
		return change
	}
	if len(h.have) == 0 {
		return change
	}
	change.Action = firewall.Replace
	var what []string
	if len(h.have) > 1 {
		what = append(what, fmt.Sprintf("%d jumps", len(h.have)))
	}
	if p := h.have[0].position; p > 0 {
		what = append(what, fmt.Sprintf("rule %d", p+1))
	}
	if !sameRule(h.have[0].rule, h.want.rule) {
		what = append(what, "with other conditions: "+h.have[0].rule.text)
	}
	change.Detail += " (now " + strings.Join(what, ", ") + ")"
	return change
}
