package exposure

import (
	"net/netip"
	"slices"

	ex "github.com/portgrave/portgrave/firewall/exposure"
)

// dumped is what is said of a packet for the host from the rules alone, as a dump is asked: with the
// destinations that no rule tells apart from the question's, by an interface that is known and by
// one that isn't. It must hold as well.
func (j *judge) dumped(q ex.Question) (out []bounds) {
	classes, complete := j.dump.Classes(q.Family, q.Protocol, q.Port, q.Port)
	at := ex.Address(q.Destination)
	c := slices.IndexFunc(classes, func(c ex.Class) bool { return c.Addresses.Contains(at) })
	if c < 0 && complete {
		j.t.Errorf("%v is in no class of destinations", q.Destination)
	}
	q.Outside, q.Elsewhere = true, q.Destination == container4 || q.Destination == container6
	for _, iface := range []string{q.Interface, ""} {
		q.Interface = iface
		for _, class := range classesAsked(classes, c) {
			one := q
			if class != (ex.Range{}) && !q.Elsewhere {
				one.Destination, one.Within = netip.Addr{}, class
			}
			a, err := j.dump.Evaluate(one)
			if err != nil {
				j.t.Fatal(err)
			}
			certain, possible := a.Connects(func(p ex.Piece) bool { return p.Outcome.Passes() })
			out = append(out, bounds{"the rules alone, by " + iface, certain, possible, a})
		}
	}
	return out
}

// classesAsked are the ranges of a class, each of which stands for all of it, and the zero Range for
// the very address.
func classesAsked(classes []ex.Class, at int) []ex.Range {
	out := []ex.Range{{}}
	if at >= 0 {
		out = append(out, classes[at].Addresses.List()...)
	}
	return out
}
