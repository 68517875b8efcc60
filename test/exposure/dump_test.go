package exposure

import (
	"net/netip"
	"slices"

	ex "github.com/portgrave/portgrave/firewall/exposure"
)

// dumped is the answer from the rules alone, without their host: for all destinations in the
// question's class, by a known interface and by an unknown one. Its bounds must hold too.
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
			if j.proxies && slices.Contains(a.Assumed, ex.AssumedNoMarkRouting) {
				continue // this host routes by the mark
			}
			certain, possible := a.Connects(func(p ex.Piece) bool { return p.Outcome.Passes() })
			out = append(out, bounds{"the rules alone, by " + iface, certain, possible, a})
		}
	}
	return out
}

// classesAsked are the ranges of a class, each of which represents the class, and the zero Range
// for the address itself.
func classesAsked(classes []ex.Class, at int) []ex.Range {
	out := []ex.Range{{}}
	if at >= 0 {
		out = append(out, classes[at].Addresses.List()...)
	}
	return out
}
