package nft

import (
	"maps"
)

// outgrown picks the large parts that can't be changed where they stand: a hash set takes no more
// elements than it was declared for, and somebody may have changed the rules that lead to the
// shards. They are loaded anew beside the old ones, with room to grow, and switched to.
func outgrown(d difference, want, have *ruleset, use layout) []part {
	found := map[part]bool{}
	for p, now := range want.large {
		if now.at.shape == shapeSplit && use.parts[p].boundsUnknown() {
			found[p] = true
		}
	}
	for _, s := range d.setsReshaped {
		if p, ok := s.is.part(); ok && s.kind == kindPrefix {
			found[p] = true
		}
	}
	for _, c := range d.content {
		// While it changes, a set holds the old and the new ones.
		if p, ok := c.want.is.part(); ok &&
			c.keysAdd.Len()+c.have.keys.Len() > int(c.want.spec.Size) {
			found[p] = true
		}
	}
	var out []part
	hadLarge := have.largeParts()
	for p := range found {
		if _, large := want.large[p]; large && hadLarge[p] {
			out = append(out, p)
		}
	}
	return out
}

// steps is the program from a difference: in one step where a packet can't tell, else by way of
// rulesets in which the large parts that gain and lose sources hold both.
func steps(d difference, want, have *ruleset) program {
	wide := map[part]*pieces{}
	if !d.rebuild {
		for p := range losing(d) {
			now, ok := want.large[p]
			if !ok || have.placementOf(p) != now.at {
				continue // switched as a whole
			}
			if was, ok := p.read(have, now.at); ok {
				wide[p] = now.pieces.union(was)
			}
		}
	}
	// what stays until nothing leads there any more
	staying := want
	if lingers(d) {
		staying = want.keeping(have, wide, d.altered())
	}
	if len(wide) == 0 {
		p := assemble(compare(staying, have), staying, have)
		p.retire = append(retire(want, staying), p.retire...)
		p.result = want
		return p
	}
	// have → its large parts widened → everything else as wanted → the large parts as wanted.
	widened, switched := have.with(want, wide, have), staying.with(want, wide, have)
	first := assemble(compare(widened, have), widened, have)
	second := assemble(compare(switched, widened), switched, widened)
	third := assemble(compare(staying, switched), staying, switched)
	return program{
		prepare:    append(first.prepare, second.prepare...),
		widen:      first.switchOver,
		switchOver: second.switchOver,
		narrow:     append(third.prepare, third.switchOver...),
		retire:     retire(want, staying),
		unwiden:    unwiden(first.switchOver),
		base:       have.generation,
		result:     want,
	}
}

// losing picks the large parts that lose sources, and gain some or change in another way at the
// same time. Not those of a service that is to be reached in another way, by port, interface or
// address: for it, old and new sources together are neither the old State nor the new one. It
// changes in one transaction, which is as good as hash sets get.
func losing(d difference) map[part]bool {
	gains, losses := map[part]bool{}, map[part]bool{}
	others, ways := map[string]bool{}, map[string]bool{}
	note := func(m map[part]bool, is identity) {
		if p, ok := is.part(); ok {
			m[p] = true
		} else {
			others[is.service] = true
		}
	}
	for _, s := range d.setsNew {
		note(gains, s.is)
	}
	for _, s := range d.setsGone {
		note(losses, s.is)
	}
	for _, c := range d.content {
		if c.keysAdd.Len()+len(c.verdictsAdd)+len(c.add) > 0 || c.replaceWholly {
			note(gains, c.want.is)
		}
		if c.keysGone.Len()+len(c.verdictsGone)+len(c.remove) > 0 {
			note(losses, c.want.is)
		}
	}
	for _, c := range d.rulesChanged {
		note(gains, c.want.is)
		if role := c.want.is.role; role != roleLarge && role != roleService {
			// "" for the base chain, and for those that services share
			ways[c.want.is.service] = true
		}
	}
	maps.Copy(ways, d.servicesOfPorts())
	for p := range losses {
		if !gains[p] && !others[p.service] || ways[p.service] || ways[""] {
			delete(losses, p)
		}
	}
	return losses
}

// with is a copy of a ruleset in which the given large parts are as their pieces make them.
func (r *ruleset) with(want *ruleset, parts map[part]*pieces, have *ruleset) *ruleset {
	out := *r
	out.flags &^= tableDormant
	out.chains, out.sets = maps.Clone(r.chains), maps.Clone(r.sets)
	out.counters = maps.Clone(r.counters)
	for p, pieces := range parts {
		now := want.large[p]
		maps.DeleteFunc(out.chains, func(_ string, c *chain) bool { return c.is.of(p) })
		maps.DeleteFunc(out.sets, func(_ string, s *set) bool { return s.is.of(p) })
		c := compiler{ruleset: &out, use: layout{have: have}}
		c.place(now.service, p.family, now.at, pieces)
	}
	return &out
}

// unwiden takes back the elements that widening added. Sets and rules that it made stay until the
// next apply: nothing is in them.
func unwiden(widened []op) []op {
	var ops []op
	for _, o := range widened {
		if add, ok := o.(addElements); ok {
			ops = append(ops, delElements(add))
		}
	}
	return ops
}
