package exposure

import (
	"sync/atomic"

	"github.com/portgrave/portgrave/firewall"
)

// apart finds classes. It is made once for a ruleset: by family, the rules that read a destination,
// those by port that name few ports.
type apart struct {
	everywhere [2][]namedIn
	byPort     [2]map[uint16][]namedIn
	ports      portChanges
	spent      atomic.Int64 // on all questions so far, in steps of some tens of nanoseconds
}

// namedIn is a rule that reads the destination, or of an answer the source, which is what the client
// dialled.
type namedIn struct {
	rule    *Rule
	at      Place
	answers bool
	// anyPort: rules before it may have changed the port that was dialled.
	anyPort bool
}

func (e *Evaluator) apart() *apart {
	type key struct{}
	return e.remember(key{}, func() any { return newApart(e.rules) }).(*apart)
}

func familySlot(f firewall.Family) int {
	if f == firewall.IPv6 {
		return 1
	}
	return 0
}

// newApart finds the rules that read a destination, and from where they are reached.
func newApart(rs *Ruleset) *apart {
	out := &apart{byPort: [2]map[uint16][]namedIn{{}, {}}, ports: changesPorts(rs)}
	for _, t := range rs.Tables {
		if t.Dormant {
			continue
		}
		out.table(t, placeOfPacket, false)
		out.table(t, placeOfAnswer, true)
	}
	return out
}

// table adds a table's rules, those at some places.
func (a *apart) table(t *Table, place func(*Base) Place, answers bool) {
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
			for n, f := range firewall.Families {
				if (t.Family.Sees(f) || t.Family == FamilyNetdev) && readsDialled(r, f, answers) {
					a.add(n, namedIn{r, at[c], answers, moved[c] != 0 || translated[c] != 0 && readsConnectionAddress(r)})
				}
			}
		}
	}
}

// add files a rule under the ports that it names, if these are few.
func (a *apart) add(family int, r namedIn) {
	for _, s := range r.rule.Statements {
		if hasEffect(s) {
			break
		}
		m, ok := s.(Match)
		if !ok || m.Not || r.anyPort || len(m.Key) != 1 || m.Key[0].Field != portField(r.answers) || !m.Key[0].asIs() ||
			m.In == nil || m.In.Width != 1 || m.In.Unknown != "" || m.In.Grows || m.In.Default {
			continue
		}
		if ports, few := fewPorts(NewRanges(m.In.Keys...)); few {
			for _, p := range ports {
				a.byPort[family][p] = append(a.byPort[family][p], r)
			}
			return
		}
	}
	a.everywhere[family] = append(a.everywhere[family], r)
}
