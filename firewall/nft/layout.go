package nft

import (
	"slices"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/pipeline"
)

// layout says how the sources of each service stand in the kernel, so that what needs no change is
// left as it is. The zero value is an empty kernel.
type layout struct {
	// second tells, per service, under which of two names its small source sets stand. A set whose
	// rules change together with its elements is loaded under the other name before the rules
	// switch to it.
	second map[string]bool
	// parts tells the same, and the shape, of each part. Parts not in the map were not observed.
	parts map[part]placement
	// have is what the kernel holds; nil if nothing.
	have *ruleset
	// limits decide on shapes; the zero value stands for the usual ones.
	limits limits
	// cut makes pieces of sources, or remembers them; nil cuts anew.
	cut func(part, address.Set, form) *pieces
}

// pieces are a service's sources of one family in a form.
func (l layout) pieces(svc firewall.Service, f address.Family, as form) *pieces {
	if l.cut != nil {
		return l.cut(part{svc.Name, f}, svc.Sources, as)
	}
	return cut(svc.Sources, f, as)
}

// layoutInUse tells how each service's sources stand in the kernel, and under which of their two
// names. Where both stand, an apply was interrupted: the one that rules look up is the live one.
func layoutInUse(have *ruleset, services []firewall.Service) layout {
	use := layout{second: map[string]bool{}, parts: map[part]placement{}, have: have}
	for _, svc := range services {
		for _, f := range address.Families {
			p := part{svc.Name, f}
			if at := have.placementOf(p); at.shape != shapeNone {
				use.parts[p] = at
			}
		}
		for _, f := range address.Families {
			for _, k := range []setKind{kindHosts, kindNets, kindExpiring} {
				second := sourceSetName(svc.Name, k, f, true)
				if have.sets[second] != nil && have.refersTo(serviceChain(svc.Name), second) {
					use.second[svc.Name] = true
				}
			}
			for _, l := range svc.Leases {
				chain := chainName(pipeline.Leased(svc.Name, l))
				second := leaseSet(chain, f, true)
				if have.sets[second] != nil && have.refersTo(chain, second) {
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
	for _, second := range []bool{true, false} {
		at := placement{second: second}
		c := r.chains[p.chain(at)]
		if c == nil {
			continue
		}
		at.form = p.formIn(r, at)
		there = at // should nothing lead there, it can be led there again
		way := newRule().family(p.family).gotoChain(c.name)
		if s := r.chains[serviceChain(p.service)]; s != nil &&
			slices.ContainsFunc(s.rules, way.Equal) {
			return at
		}
	}
	if r.holdsSmall(p) {
		there = placement{form: form{shape: shapeSmall}}
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
		if rule.Uses(set) {
			return true
		}
	}
	return false
}
