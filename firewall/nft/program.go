package nft

import (
	"slices"
)

// program is a plan as it is sent to the kernel: transactions in order, each atomic.
//
// prepare makes what no rule uses yet: chains with their rules, counters, and sets with their
// elements. It changes no packet's verdict, but for waking a table that somebody has put to sleep,
// so it may be sent in several transactions. switchOver then changes rules, the ports map and the
// elements of sets that stay, and removes what is no longer used: everything that a packet can
// notice, in one transaction. Interval sets go live only after the rules of their transaction,
// which is why new ones are loaded in prepare.
//
// A large part (large.go) that gains and loses sources where it stands takes two transactions more.
// A packet that is under way while a transaction takes effect may look one set up before and
// another one after, so a source that moves between two sets could be in neither. widen adds what
// is new before anything else changes, and narrow removes what is old after everything else has; in
// between, all of the old sources are accepted, and all of the new ones. Sources in both States are
// in some set throughout, sources in neither State never are.
//
// What nothing of the new State uses goes last, in the transactions of retire (retire.go).
type program struct {
	prepare    []op
	widen      []op
	switchOver []op
	narrow     []op
	retire     [][]op
	// unwiden takes the new sources out again, should what follows widen fail.
	unwiden []op
	// leftover are the transactions that remove the second table, last of all.
	leftover [][]op

	result  *ruleset // what the table holds afterwards
	rebuild bool     // prepare makes the table
	base    uint32   // the generation that it was computed for
}

// all lists the transactions in order.
func (p program) all() [][]op {
	return append([][]op{p.prepare, p.widen, p.switchOver, p.narrow}, p.retire...)
}

// elements is how many are added and deleted, one by one.
func (p program) elements() (n int) {
	for _, ops := range p.all() {
		for _, o := range ops {
			switch o := o.(type) {
			case addElements:
				n += o.len()
			case delElements:
				n += o.len()
			}
		}
	}
	return n
}

// assemble orders a difference into transactions that the kernel accepts: references are removed
// before what they refer to, and made after it.
func assemble(d difference, want, have *ruleset) program {
	p := program{base: have.generation}
	if d.rebuild && have.present {
		if !want.present {
			p.switchOver, p.retire = unhook(have), [][]op{{delTable{}}}
			return p
		}
		p.switchOver = append(p.switchOver, delTable{})
		// A foreign table holds the name, so nothing can be prepared beside it.
		fresh := assemble(compare(want, newRuleset()), want, newRuleset())
		p.switchOver = append(append(p.switchOver, fresh.prepare...), fresh.switchOver...)
		return p
	}
	p.prepare = prepare(d, want.flags)
	if d.dormant {
		// Before the switch, and in a transaction of its own kind: the kernel refuses to wake a
		// table and to change its base chains at once. Whatever rules it holds are better than
		// none.
		p.prepare = append(p.prepare, flagTable{have.flags &^ tableDormant})
	}
	p.rebuild = d.rebuild
	p.switchOver = switchOver(d, want)
	return p
}

func prepare(d difference, flags uint32) []op {
	var ops []op
	if d.rebuild {
		ops = append(ops, addTable{tableMark, flags})
	}
	for _, name := range d.countersNew {
		ops = append(ops, addCounter{name})
	}
	for _, c := range d.chainsNew {
		if c.hook == nil {
			ops = append(ops, addChain{name: c.name})
		}
	}
	for _, s := range d.setsNew {
		ops = append(ops, addSet{s.name, s.spec, s.kind})
		// Maps of ports are filled with the switch: their verdicts name chains that are still
		// empty.
		if s.kind != kindPorts {
			ops = append(ops, loadSet(s)...)
		}
	}
	// A packet that is under way while a transaction takes effect sees the rules of before and the
	// maps of after. So a chain is filled before anything leads to it; a base chain needs nothing
	// that leads to it.
	for _, c := range d.chainsNew {
		if c.hook == nil {
			for _, r := range c.rules {
				ops = append(ops, addRule{c.name, r})
			}
		}
	}
	return ops
}

// undo removes what has been prepared, last first.
func (p program) undo(prepared []op) []op {
	if p.rebuild {
		return []op{delTable{}}
	}
	var ops []op
	for _, o := range prepared {
		switch o := o.(type) {
		case addRule:
			if n := len(ops); n == 0 || ops[n-1] != op(flushChain{o.chain}) {
				ops = append(ops, flushChain{o.chain})
			}
		}
	}
	for i := len(prepared) - 1; i >= 0; i-- {
		switch o := prepared[i].(type) {
		case addCounter:
			ops = append(ops, counterDeletion(o.name))
		case addChain:
			ops = append(ops, delChain{o.name})
		case addSet:
			ops = append(ops, delSet{o.name})
		}
	}
	return ops
}

func switchOver(d difference, want *ruleset) []op {
	// An object that must be made anew is referred to by rules and map elements that did not
	// change by themselves; they are all written again, in the same transaction.
	rewrite := len(d.chainsMoved)+len(d.setsReshaped) > 0
	filled := map[string]bool{} // by prepare
	for _, c := range d.chainsNew {
		// Rules of prepare may already use what is made anew: then they are written again too.
		filled[c.name] = c.hook == nil && !rewrite
	}
	var ops []op
	for _, c := range d.chainsGone {
		ops = append(ops, flushChain{c.name})
	}
	flushed := map[string]bool{}
	for _, c := range d.chainsNew {
		flushed[c.name] = c.hook != nil || filled[c.name] // new, so empty
	}
	var fill []*chain
	if rewrite {
		for _, name := range sortedKeys(want.chains) {
			fill = append(fill, want.chains[name])
		}
	} else {
		for _, c := range d.rulesChanged {
			fill = append(fill, c.want)
		}
	}
	fill = slices.DeleteFunc(fill, func(c *chain) bool { return filled[c.name] })
	for _, c := range fill {
		if !flushed[c.name] {
			ops = append(ops, flushChain{c.name})
		}
	}
	reshaped := map[string]bool{}
	for _, s := range d.setsReshaped {
		reshaped[s.name] = true
	}
	for _, name := range want.portMaps() {
		ops = append(ops, clearPorts(name, d, reshaped, rewrite)...)
	}
	ops = append(ops, removals(d)...)

	for _, c := range d.chainsMoved {
		ops = append(ops, delChain{c.name}, addChain{c.name, c.hook})
	}
	for _, c := range d.chainsNew {
		if c.hook != nil {
			ops = append(ops, addChain{c.name, c.hook})
		}
	}
	for _, s := range d.setsReshaped {
		ops = append(ops, delSet{s.name}, addSet{s.name, s.spec, s.kind})
		if s.kind != kindPorts {
			ops = append(ops, loadSet(s)...)
		}
	}
	for _, c := range fill {
		for _, r := range c.rules {
			ops = append(ops, addRule{c.name, r})
		}
	}
	for _, c := range d.content {
		if c.want.kind != kindPorts {
			ops = append(ops, updateSet(c)...)
		}
	}
	for _, name := range want.portMaps() {
		ops = append(ops, fillPorts(want.sets[name], d, reshaped, rewrite)...)
	}
	return ops
}

// clearPorts removes the elements of a map of ports that change, so that the chains they name can
// go.
func clearPorts(name string, d difference, reshaped map[string]bool, rewrite bool) []op {
	if reshaped[name] {
		return nil
	}
	if c, changed := d.contentOf(name); changed && !rewrite && !c.replaceWholly {
		if len(c.verdictsGone) == 0 {
			return nil
		}
		return []op{delElements{elements{set: name, kind: kindPorts, verdicts: c.verdictsGone}}}
	} else if (changed || rewrite) && !d.isNew(name) {
		return []op{flushSet{name}}
	}
	return nil
}

func fillPorts(ports *set, d difference, reshaped map[string]bool, rewrite bool) []op {
	add := allVerdicts(ports)
	if c, changed := d.contentOf(ports.name); changed && !rewrite && !c.replaceWholly {
		add = c.verdictsAdd
	} else if !changed && !rewrite && !reshaped[ports.name] && !d.isNew(ports.name) {
		return nil
	}
	if len(add) == 0 {
		return nil
	}
	return []op{addElements{elements{set: ports.name, kind: kindPorts, verdicts: add}}}
}

// removals deletes what nothing refers to any more. Foreign maps may refer to our chains, so sets
// go first.
func removals(d difference) []op {
	var ops []op
	for _, s := range d.setsGone {
		ops = append(ops, delSet{s.name})
	}
	for _, c := range d.chainsGone {
		ops = append(ops, delChain{c.name})
	}
	for _, name := range d.countersGone {
		ops = append(ops, counterDeletion(name))
	}
	for _, s := range d.foreignObjects {
		if s.kind == "flowtable" {
			ops = append(ops, delFlowtable{s.name})
		} else {
			ops = append(ops, delObject{s.name, s.objectType})
		}
	}
	return ops
}

func loadSet(s *set) []op {
	if s.elements() == 0 {
		return nil
	}
	return []op{addElements{elements{set: s.name, kind: s.kind, spans: s.spans, keys: s.keys,
		verdicts: allVerdicts(s), virtual: s.virtual}}}
}

// updateSet changes the elements of a set that stays. Deleting before adding makes room for
// prefixes that grow or shrink; within one transaction no packet sees the set in between.
func updateSet(c setContent) []op {
	if c.replaceWholly {
		return append([]op{flushSet{c.want.name}}, loadSet(c.want)...)
	}
	var ops []op
	gone := elements{
		set:     c.want.name,
		kind:    c.want.kind,
		spans:   c.remove,
		keys:    c.keysGone,
		virtual: c.virtualGone,
	}
	if gone.len() > 0 {
		ops = append(ops, delElements{gone})
	}
	come := elements{
		set:     c.want.name,
		kind:    c.want.kind,
		spans:   c.add,
		keys:    c.keysAdd,
		virtual: c.virtualAdd,
	}
	if come.len() > 0 {
		ops = append(ops, addElements{come})
	}
	return ops
}

func (d difference) contentOf(set string) (setContent, bool) {
	for _, c := range d.content {
		if c.want.name == set {
			return c, true
		}
	}
	return setContent{}, false
}

// servicesOfPorts are the services to which ports lead that change in maps that stay; "" for chains
// that several share.
func (d difference) servicesOfPorts() map[string]bool {
	out := map[string]bool{}
	for _, c := range d.content {
		for _, v := range c.verdictsAdd {
			out[d.want.serviceAt(v.verdict.Chain)] = true
		}
		for _, v := range c.verdictsGone {
			out[d.have.serviceAt(v.verdict.Chain)] = true
		}
	}
	return out
}

func (d difference) isNew(set string) bool {
	for _, s := range d.setsNew {
		if s.name == set {
			return true
		}
	}
	return false
}

// torn picks the services whose sets can't be changed where they stand: an interval set goes live
// after the rules of its transaction, so a packet could meet new rules with old sources, and a
// source that moves from one set to another could be in neither for a moment.
func torn(d difference) map[string]bool {
	rules, shared := map[string]bool{}, false
	for _, c := range d.rulesChanged {
		if c.want.service == "" {
			shared = true // base chain: every service's packets pass it
		}
		rules[c.want.service] = true
	}
	for _, s := range append(d.setsNew, d.setsGone...) {
		rules[s.is.service] = true
	}
	for service := range d.servicesOfPorts() {
		rules[service] = true
		shared = shared || service == "" // a shared/… chain: its services are not told apart here
	}
	out := map[string]bool{}
	for _, s := range d.setsReshaped {
		if s.kind == kindNets || s.kind == kindExpiring {
			out[s.is.service] = true
		}
	}
	for i, c := range d.content {
		interval := c.want.kind == kindNets || c.want.kind == kindExpiring
		if interval && (shared || rules[c.want.is.service]) {
			out[c.want.is.service] = true
		}
		for _, o := range d.content[i+1:] {
			same := o.want.is.service == c.want.is.service && o.want.family == c.want.family
			if same && c.want.is.service != "" && (overlap(c.add, o.remove) ||
				overlap(c.remove, o.add)) {
				out[c.want.is.service] = true
			}
		}
	}
	return out
}

func counterDeletion(name string) op { return delObject{name, counterObject} }
