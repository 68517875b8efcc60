package nft

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/portgrave/portgrave/firewall"
)

// difference is what separates two rulesets, object by object. It is the basis of both what
// people are shown (changes) and what the kernel is sent (program).
type difference struct {
	rebuild bool // the table is missing or not ours: nothing of it can stay
	dormant bool // the table is asleep: its rules stand there and no packet meets them

	chainsGone, chainsNew, chainsMoved []*chain // moved: kept by name, but with another hook
	rulesChanged                       []chainRules
	setsGone, setsNew                  []*set
	setsReshaped                       []*set // declared differently: they can only be made anew
	content                            []setContent
	countersGone, countersNew          []string
	strangers                          []stranger
}

// chainRules is a chain whose rules differ.
type chainRules struct {
	want *chain
	have []rule
}

// setContent is a set that stays, with elements that differ.
type setContent struct {
	want, have    *set
	add, remove   []span
	verdictsAdd   []portVerdict // new or pointing elsewhere, ascending
	verdictsGone  []portVerdict // as they are in the kernel, ascending
	types         bool
	replaceWholly bool // holds elements we can't name: flush, then load
}

// compare finds every difference. It is pure; both rulesets stay as they are.
func compare(want, have *ruleset) difference {
	d := difference{rebuild: want.present != have.present || want.mark != have.mark && have.present}
	if d.rebuild {
		have = newRuleset()
	}
	d.dormant = have.flags&tableDormant != 0
	for _, name := range sortedKeys(have.chains) {
		if want.chains[name] == nil && !have.chains[name].binding {
			d.chainsGone = append(d.chainsGone, have.chains[name])
		}
	}
	for _, name := range sortedKeys(want.chains) {
		w, h := want.chains[name], have.chains[name]
		switch {
		case h == nil:
			d.chainsNew = append(d.chainsNew, w)
			h = &chain{}
		case !sameHook(w.hook, h.hook):
			d.chainsMoved = append(d.chainsMoved, w)
		}
		if !slices.EqualFunc(w.rules, h.rules, func(a, b rule) bool { return a.canon == b.canon }) {
			d.rulesChanged = append(d.rulesChanged, chainRules{w, h.rules})
		}
	}
	for _, name := range sortedKeys(have.sets) {
		if want.sets[name] == nil && !have.sets[name].anonymous {
			d.setsGone = append(d.setsGone, have.sets[name])
		}
	}
	for _, name := range sortedKeys(want.sets) {
		w, h := want.sets[name], have.sets[name]
		switch {
		case h == nil:
			d.setsNew = append(d.setsNew, w)
		case h.spec != w.spec:
			d.setsReshaped = append(d.setsReshaped, w)
		default:
			if c, differs := compareContent(w, h, want.readAt); differs {
				d.content = append(d.content, c)
			}
		}
	}
	for _, name := range sortedKeys(have.counters) {
		if _, ok := want.counters[name]; !ok {
			d.countersGone = append(d.countersGone, name)
		}
	}
	for _, name := range sortedKeys(want.counters) {
		if _, ok := have.counters[name]; !ok {
			d.countersNew = append(d.countersNew, name)
		}
	}
	d.strangers = have.strangers
	return d
}

func sameHook(a, b *hook) bool { return (a == nil) == (b == nil) && (a == nil || *a == *b) }

func compareContent(want, have *set, now time.Time) (setContent, bool) {
	c := setContent{want: want, have: have}
	if want.kind == kindDynamic {
		return c, false
	}
	c.add, c.remove = diffSpans(want.spans, have.spans)
	if want.kind == kindExpiring {
		// The kernel's clock and ours part by a little: what is ending right now is nobody's mistake.
		ending := func(s span) bool { return !s.until.IsZero() && s.until.Sub(now) < firewall.ExpiryTolerance }
		c.add, c.remove = slices.DeleteFunc(c.add, ending), slices.DeleteFunc(c.remove, ending)
	}
	for _, key := range sortedKeys(want.verdicts) {
		if v, ok := have.verdicts[key]; !ok || v != want.verdicts[key] {
			c.verdictsAdd = append(c.verdictsAdd, portVerdict{key, want.verdicts[key]})
		}
	}
	for _, key := range sortedKeys(have.verdicts) {
		if v, ok := want.verdicts[key]; !ok || v != have.verdicts[key] {
			c.verdictsGone = append(c.verdictsGone, portVerdict{key, have.verdicts[key]})
		}
	}
	c.types = !slices.Equal(want.types, have.types)
	c.replaceWholly = have.odd > 0
	differs := len(c.add)+len(c.remove)+len(c.verdictsAdd)+len(c.verdictsGone) > 0 || c.types || c.replaceWholly
	return c, differs
}

func sortedKeys[K interface {
	~string | ~uint32
}, V any](m map[K]V) []K {
	return slices.Sorted(maps.Keys(m))
}

// changes words the difference for people and for the JSON contract.
func (d difference) changes(want, have *ruleset) []firewall.Change {
	var out []firewall.Change
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
		add(firewall.Replace, firewall.ObjectTable, "", 0, "table inet "+tableName+" (dormant: not in force)")
	}
	for _, s := range d.strangers {
		add(firewall.Remove, firewall.ObjectSet, "", 0, s.kind+" "+s.name)
	}
	for _, c := range d.chainsGone {
		add(firewall.Remove, objectOf(c), serviceOf(c.name), 0, "chain "+c.name)
		for range c.rules {
			add(firewall.Remove, firewall.ObjectRule, serviceOf(c.name), 0, "a rule of chain "+c.name)
		}
	}
	for _, c := range d.chainsNew {
		add(firewall.Add, objectOf(c), c.service, 0, "chain "+c.name)
	}
	for _, c := range d.chainsMoved {
		add(firewall.Replace, firewall.ObjectHook, c.service, 0, "chain "+c.name)
	}
	for _, c := range d.rulesChanged {
		out = append(out, ruleChanges(c)...)
	}
	for _, s := range d.setsGone {
		add(firewall.Remove, firewall.ObjectSet, serviceOf(s.name), s.family, "set "+s.name)
		out = append(out, elementChanges(firewall.Remove, serviceOf(s.name), s.family, s.spans)...)
	}
	for _, s := range d.setsNew {
		add(firewall.Add, firewall.ObjectSet, s.service, s.family, "set "+s.name)
		out = append(out, contentChanges(setContent{want: s, have: &set{}, add: s.spans, verdictsAdd: allVerdicts(s)})...)
	}
	for _, s := range d.setsReshaped {
		add(firewall.Replace, firewall.ObjectSet, s.service, s.family, "set "+s.name)
	}
	for _, c := range d.content {
		out = append(out, contentChanges(c)...)
	}
	for _, name := range d.countersGone {
		add(firewall.Remove, firewall.ObjectRule, serviceOf(name), 0, "counter "+name)
	}
	for _, name := range d.countersNew {
		add(firewall.Add, firewall.ObjectRule, serviceOf(name), 0, "counter "+name)
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
func elementChanges(a firewall.Action, service string, f firewall.Family, spans []span) []firewall.Change {
	words := make([]string, len(spans))
	for i, s := range spans {
		words[i] = s.String()
		if a == firewall.Add && !s.until.IsZero() { // what is removed has an end that is known to the second at best
			words[i] += " until " + s.until.UTC().Format(time.RFC3339)
		}
	}
	return firewall.ElementChanges(a, service, f, words)
}

func contentChanges(c setContent) []firewall.Change {
	service, family := c.want.service, c.want.family
	out := elementChanges(firewall.Remove, service, family, c.remove)
	out = append(out, elementChanges(firewall.Add, service, family, c.add)...)
	out = append(out, portChanges(c)...)
	if c.types {
		out = append(out, firewall.Change{Action: firewall.Replace, Object: firewall.ObjectElement, Detail: "elements of set " + c.want.name, Count: 1})
	}
	if c.replaceWholly {
		out = append(out, firewall.Change{Action: firewall.Replace, Object: firewall.ObjectElement, Service: service,
			Detail: fmt.Sprintf("%d elements of set %s that Portgrave did not write", c.have.odd, c.want.name), Count: c.have.odd})
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
func portChanges(c setContent) []firewall.Change {
	var out []firewall.Change
	word := func(a firewall.Action, list []portVerdict) {
		for i := 0; i < len(list); {
			j := i + 1
			for j < len(list) && list[j].key == list[j-1].key+1 && list[j].verdict == list[i].verdict {
				j++
			}
			first, n := list[i], j-i
			r := firewall.PortRange{Protocol: firewall.Protocol(first.key >> 16), First: uint16(first.key), Last: uint16(list[j-1].key)}
			out = append(out, firewall.Change{Action: a, Object: firewall.ObjectElement, Service: serviceOf(first.verdict.chain),
				Detail: fmt.Sprintf("port %s → %s", r, first.verdict), Count: n})
			i = j
		}
	}
	word(firewall.Remove, c.verdictsGone)
	word(firewall.Add, c.verdictsAdd)
	return out
}

// ruleChanges words the difference between two lists of rules: the longest common part stays.
func ruleChanges(c chainRules) []firewall.Change {
	var out []firewall.Change
	add := func(a firewall.Action, detail string) {
		out = append(out, firewall.Change{Action: a, Object: firewall.ObjectRule, Service: c.want.service, Detail: "chain " + c.want.name + ": " + detail, Count: 1})
	}
	firewall.DiffLists(c.want.rules, c.have, func(a, b rule) bool { return a.canon == b.canon },
		func(r rule) { add(firewall.Add, r.text) }, func(r rule) { add(firewall.Remove, r.words()) })
	return out
}
