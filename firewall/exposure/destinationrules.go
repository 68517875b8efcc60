package exposure

import (
	"sync/atomic"

	"github.com/portgrave/portgrave/firewall/address"
)

// destinationRules are the rules of a ruleset that read a destination, by family. Rules that name
// few ports are found by port.
type destinationRules struct {
	everywhere [2][]destinationRule
	byPort     [2]map[uint16][]destinationRule
	ports      portChanges
	spent      atomic.Int64 // work on all questions so far, in steps of some tens of nanoseconds
}

// destinationRule is a rule that reads the dialled address: the destination or, for an answer, the
// source.
type destinationRule struct {
	rule    *Rule
	at      Place
	answers bool
	// anyPort: earlier rules may have changed the dialled port.
	anyPort bool
}

func (e *Evaluator) destinationRules() *destinationRules {
	type key struct{}
	return e.remember(key{}, func() any { return newDestinationRules(e.rules) }).(*destinationRules)
}

func familySlot(f address.Family) int {
	if f == address.IPv6 {
		return 1
	}
	return 0
}

// newDestinationRules finds the rules that read a destination, and their places.
func newDestinationRules(rs *Ruleset) *destinationRules {
	out := &destinationRules{
		byPort: [2]map[uint16][]destinationRule{{}, {}},
		ports:  changesPorts(rs),
	}
	for _, t := range rs.Tables {
		if t.Dormant {
			continue
		}
		out.addTable(t, placeOfPacket, false)
		out.addTable(t, placeOfAnswer, true)
	}
	return out
}

// addTable adds a table's rules at the places that a function gives.
func (a *destinationRules) addTable(t *Table, place func(*Base) Place, answers bool) {
	at := places(t, place)
	moved := places(t, func(b *Base) Place {
		if a.ports.before(b) {
			return place(b)
		}
		return 0
	})
	translated := places(t, func(b *Base) Place {
		if a.ports.translates && !b.beforeNAT() {
			return place(b)
		}
		return 0
	})
	for _, c := range t.Chains {
		if at[c] == 0 {
			continue
		}
		for _, r := range c.Rules {
			for n, f := range address.Families {
				if (t.Family.Sees(f) || t.Family == FamilyNetdev) && readsDialled(r, f, answers) {
					a.add(
						n,
						destinationRule{
							r, at[c], answers,
							moved[c] != 0 || translated[c] != 0 && readsConnectionAddress(r),
						},
					)
				}
			}
		}
	}
}

// add indexes a rule by the ports that it names, if they are few.
func (a *destinationRules) add(family int, r destinationRule) {
	for _, s := range r.rule.Statements {
		if hasEffect(s) {
			break
		}
		m, ok := s.(Match)
		if !ok || m.Not || r.anyPort || len(m.Key) != 1 || m.Key[0].Field != portField(r.answers) ||
			!m.Key[0].asIs() ||
			m.In == nil || m.In.Width != 1 || m.In.Unknown != "" ||
			m.In.Grows ||
			m.In.Default {
			continue
		}
		if ports, few := fewPorts(m.In.column()); few {
			for _, p := range ports {
				a.byPort[family][p] = append(a.byPort[family][p], r)
			}
			return
		}
	}
	a.everywhere[family] = append(a.everywhere[family], r)
}
