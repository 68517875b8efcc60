package nft

import (
	"maps"

	"golang.org/x/sys/unix"
)

// A transaction takes effect in the middle of packets: one that is under way goes on by the rules
// of before and looks up the maps of afterwards, and a map that is deleted has lost its elements
// for it. Under unlisted: deny, a port that isn't found any more is refused, though its service
// allowed the packet and nobody minds it afterwards. So nothing is deleted in the transaction that
// ends its use:
//
//  1. the base chains that go, and everything else that changes: every packet that comes in now
//     meets the new rules, and what leads to services that go still does
//  2. the ports of services that go: no packet comes to them any more
//  3. what is left of them
//
// Between 1 and 2, a port that a service loses has the verdict of before, if 1 leaves the service's
// other objects alone; otherwise 1 takes the port away too.

// unhook takes all base chains away, at whatever hooks they are.
func unhook(have *ruleset) []op {
	var ops []op
	for _, name := range sortedKeys(have.chains) {
		if have.chains[name].hook != nil {
			ops = append(ops, flushChain{name}, delChain{name})
		}
	}
	return ops
}

// lingers reports whether something goes that packets under way may be led by. Sets that are made
// anew are no case of it: then every rule is written again, and of old ones only the meaning is
// known.
func lingers(d difference) bool {
	if d.rebuild || len(d.chainsMoved)+len(d.setsReshaped) > 0 {
		return false
	}
	for _, s := range d.setsGone {
		if s.spec.Flags&unix.NFT_SET_MAP != 0 {
			return true
		}
	}
	for _, c := range d.content {
		if len(c.verdictsGone) > 0 {
			return true
		}
	}
	return len(d.chainsGone) > 0
}

// onEveryWay are the chains that packets for every service pass. What leads there, or past it,
// changes as the base chains do.
var onEveryWay = map[string]bool{
	exemptChain:    true,
	ownSourceChain: true,
	spoofedChain:   true,
	virtualChain:   true,
	insideChain:    true,
}

// altered are the services whose decisions change, other than by going; "" is what all services
// share, base chains excepted.
func (d difference) altered() map[string]bool {
	out, fresh := map[string]bool{}, map[string]bool{}
	for _, c := range d.chainsNew {
		fresh[c.name] = true // nothing of before leads there
	}
	for _, c := range d.rulesChanged {
		if c.want.hook == nil && !fresh[c.want.name] &&
			(c.want.service != "" || onEveryWay[c.want.name]) {
			out[c.want.service] = true
		}
	}
	for _, c := range d.content {
		if c.want.kind != kindPorts {
			out[c.want.is.service] = true
		}
	}
	return out
}

// keeping is a copy of the ruleset that still holds what have holds besides: everything but base
// chains, the ports of services that are altered, and the parts that are widened, which lose by
// narrowing.
func (r *ruleset) keeping(have *ruleset, wide map[part]*pieces, altered map[string]bool) *ruleset {
	out := *r
	out.chains, out.sets, out.counters = maps.Clone(r.chains), maps.Clone(r.sets), maps.Clone(
		r.counters,
	)
	kept := func(is identity) bool {
		p, ok := is.part()
		return !ok || wide[p] == nil
	}
	for name, c := range have.chains {
		if out.chains[name] == nil && c.hook == nil && !c.binding && kept(c.is) {
			out.chains[name] = c
		}
	}
	for name, s := range have.sets {
		if out.sets[name] == nil && !s.anonymous && kept(s.is) {
			out.sets[name] = s
		}
	}
	for name, c := range have.counters {
		if _, ok := out.counters[name]; !ok {
			out.counters[name] = c
		}
	}
	for _, name := range have.portMaps() {
		was := have.sets[name]
		both := *was
		both.verdicts = map[uint32]verdict{}
		if ports := r.sets[name]; ports != nil {
			both = *ports
			both.verdicts = maps.Clone(ports.verdicts)
		}
		for key, v := range was.verdicts {
			service := have.serviceAt(v.Chain)
			alone := !altered[service] && !altered[""]
			if service == "" { // a chain that services share, whose are not told apart here
				alone = len(altered) == 0
			}
			if _, stays := both.verdicts[key]; !stays && alone && have.chains[v.Chain] != nil {
				both.verdicts[key] = v
			}
		}
		out.sets[name] = &both
	}
	return &out
}

// retire removes what was kept: first the ways that lead there.
func retire(want, staying *ruleset) [][]op {
	if staying == want {
		return nil
	}
	unreached := *staying
	unreached.sets = maps.Clone(staying.sets)
	for _, name := range staying.portMaps() {
		if ports := want.sets[name]; ports != nil {
			unreached.sets[name] = ports
		}
	}
	var out [][]op
	for _, step := range [][2]*ruleset{{&unreached, staying}, {want, &unreached}} {
		if ops := switchOver(compare(step[0], step[1]), step[0]); len(ops) > 0 {
			out = append(out, ops)
		}
	}
	return out
}
