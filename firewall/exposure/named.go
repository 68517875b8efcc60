package exposure

import (
	"net/netip"

	"github.com/portgrave/portgrave/firewall"
)

// Named are the places of the rules that name an address, for whatever port. wide are those of the
// places at which rules name nothing but networks that hold it.
func (e *Evaluator) Named(a netip.Addr) (at, wide Place) {
	known := e.apart()
	family := firewall.IPv4
	if a.Is6() {
		family = firewall.IPv6
	}
	var exact Place
	note := func(list []namedIn) {
		for _, p := range firewall.Protocols {
			n := names{
				family:   family,
				protocol: Number(Question{Family: family, Protocol: p}.number()),
				ports:    Numbers(0, 1<<16-1),
			}
			for _, r := range list {
				if at&r.at == r.at && exact&r.at == r.at || known.spent.Load() > maxApartWork {
					continue // nothing new
				}
				n.groups, n.work = nil, 0
				n.rule(r)
				known.spent.Add(int64(n.work))
				for _, g := range n.groups {
					if x, ok := g.addresses.around(Address(a)); ok {
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

// around is the range that holds a value, if there is one.
func (s Ranges) around(v Value) (r Range, found bool) {
	if i := s.reaching(v); i < s.Len() {
		r = s.At(i)
		found = r.Contains(v)
	}
	return r, found
}
