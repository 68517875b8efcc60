package nft

import (
	"slices"

	"github.com/portgrave/portgrave/firewall"
)

// layout says how the sources of each service stand in the kernel, so that what needs no change is left as it is. The zero value
// is an empty kernel.
type layout struct {
	// second tells, per service, under which of two names its small source sets stand. A set whose rules change
	// together with its elements is loaded under the other name before the rules switch to it.
	second map[string]bool
	// parts tells the same, and the shape, of each part. Of what is missing nothing is known.
	parts map[part]placement
	// have is what the kernel holds; nil if nothing.
	have *ruleset
	// limits decide on shapes; the zero value stands for the usual ones.
	limits limits
	// cut makes pieces of sources, or remembers them; nil cuts anew.
	cut func(part, firewall.Prefixes, shape) *pieces
}

// pieces are a service's sources of one family in a shape.
func (l layout) pieces(svc firewall.Service, f firewall.Family, s shape) *pieces {
	if l.cut != nil {
		return l.cut(part{svc.Name, f}, svc.Sources, s)
	}
	return cut(svc.Sources, f, s)
}

// layoutInUse tells how each service's sources stand in the kernel, and under which of their two names. Where both stand,
// an apply was interrupted: the one that rules look up is the live one.
func layoutInUse(have *ruleset, services []firewall.Service) layout {
	use := layout{second: map[string]bool{}, parts: map[part]placement{}, have: have}
	for _, svc := range services {
		for _, f := range firewall.Families {
			if at := have.placementOf(part{svc.Name, f}); at.shape != shapeNone {
				use.parts[part{svc.Name, f}] = at
			}
		}
		for _, f := range firewall.Families {
			for _, k := range []setKind{kindHosts, kindNets, kindExpiring} {
				second := sourceSetName(svc.Name, k, f, true)
				if have.sets[second] != nil && have.refersTo(serviceChain(svc.Name), second) {
					use.second[svc.Name] = true
				}
			}
		}
	}
	return use
}

// placementOf is where a part stands: where the service's chain looks it up.
func (r *ruleset) placementOf(p part) placement {
	var there placement
	for _, at := range []placement{{shapeSplit, true}, {shapeSplit, false}, {shapeLengths, true}, {shapeLengths, false}} {
		var way rule
		switch {
		case at.shape == shapeSplit && r.sets[p.splitMap(at)] != nil:
			way = newRule().saddrSplit(p.family, splitBits(p.family), p.splitMap(at)).done()
		case at.shape == shapeLengths && r.chains[p.lengthsChain(at)] != nil:
			way = newRule().family(p.family).gotoChain(p.lengthsChain(at))
		default:
			continue
		}
		there = at // should nothing lead there, it can be led there again
		if c := r.chains[serviceChain(p.service)]; c != nil && slices.ContainsFunc(c.rules, func(r rule) bool { return r.canon == way.canon }) {
			return at
		}
	}
	if r.holdsSmall(p) {
		there = placement{shape: shapeSmall}
	}
	return there
}

// refersTo reports whether a rule of the chain looks a set up.
func (r *ruleset) refersTo(chain, set string) bool {
	c := r.chains[chain]
	if c == nil {
		return false
	}
	for _, rule := range c.rules {
		if rule.looksUp(set) {
			return true
		}
	}
	return false
}
