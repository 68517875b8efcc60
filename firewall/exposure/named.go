package exposure

import (
	"net/netip"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

// PlacesNaming returns the places of the rules that name an address, for any port. At the places in
// wide, rules name only networks that hold the address, not the address itself.
func (e *Evaluator) PlacesNaming(a netip.Addr) (at, wide Place) {
	known := e.destinationRules()
	family := address.IPv4
	if a.Is6() {
		family = address.IPv6
	}
	var exact Place
	note := func(list []destinationRule) {
		for _, p := range firewall.Protocols {
			n := addressGroups{
				family:   family,
				protocol: Number(Question{Family: family, Protocol: p}.number()),
				ports:    Numbers(0, 1<<16-1),
			}
			for _, r := range list {
				if at&r.at == r.at && exact&r.at == r.at || known.spent.Load() > maxClassesWork {
					continue // nothing new
				}
				n.groups, n.work = nil, 0
				n.addRule(r)
				known.spent.Add(int64(n.work))
				for _, g := range n.groups {
					if x, ok := g.addresses.rangeHolding(Address(a)); ok {
						if at |= g.at; x.From == x.To {
							exact |= g.at
						}
					}
				}
			}
		}
	}
	note(known.everywhere[familySlot(family)])
	for _, list := range known.byPort[familySlot(family)] {
		note(list)
	}
	return at, at &^ exact
}

// rangeHolding returns the range that holds a value, if there is one.
func (s Ranges) rangeHolding(v Value) (r Range, found bool) {
	if i := s.reaching(v); i < s.Len() {
		r = s.At(i)
		found = r.Contains(v)
	}
	return r, found
}
