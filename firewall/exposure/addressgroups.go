package exposure

import (
	"fmt"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall"
)

// names are the groups of addresses that rules name in one breath.
type names struct {
	family   firewall.Family
	protocol Value
	ports    Range
	groups   []named
	complete bool
	work     int
}

type named struct {
	addresses Ranges
	at        Place
}

// rule adds what a rule names, if packets of the ports can get to where it does.
func (n *names) rule(r namedIn) {
	from := len(n.groups)
	effect := false
	for _, s := range r.rule.Statements {
		if m, ok := s.(Match); ok && !m.Not && n.excluded(r, m.Key, m.In) {
			if !effect {
				n.groups = n.groups[:from]
			}
			return
		}
		effect = effect || hasEffect(s)
		n.complete = n.complete && !computes(s, n.family, r.answers)
		lookedUp(s, func(key []Operand, in *Set) {
			for i, o := range key {
				if isDialled(o.Field, n.family, r.answers) {
					n.column(r, key, in, i)
				}
			}
		})
	}
}

// excluded reports whether no element of a set is about the ports.
func (n *names) excluded(r namedIn, key []Operand, in *Set) bool {
	if in == nil || in.Unknown != "" || in.Grows || in.Default || !slices.ContainsFunc(key, r.ofTransport) {
		return false
	}
	for _, box := range in.All() {
		if n.work++; n.concerns(r, key, box) {
			return false
		}
	}
	return true
}

// ofTransport reports whether an operand is the protocol, or the port that was dialled.
func (r namedIn) ofTransport(o Operand) bool {
	return o.asIs() && (o.Field == FieldProtocol || o.Field == portField(r.answers) && !r.anyPort)
}

// concerns reports whether an element is about the ports.
func (n *names) concerns(r namedIn, key []Operand, box []Range) bool {
	for i, o := range key {
		if i >= len(box) || !r.ofTransport(o) {
			continue
		}
		if o.Field == FieldProtocol && !box[i].Contains(n.protocol) ||
			o.Field != FieldProtocol &&
				(box[i].To.Compare(n.ports.From) < 0 || n.ports.To.Compare(box[i].From) < 0) {
			return false
		}
	}
	return true
}

// column adds the addresses in a column of a set: those together that have the rest in common.
func (n *names) column(r namedIn, key []Operand, in *Set, at int) {
	groups := map[string][]Range{}
	var order []string
	n.work += 8 + in.Len()
	for i, box := range in.All() {
		if at >= len(box) || !n.concerns(r, key, box) {
			continue
		}
		rest := ""
		if in.Width > 1 || len(in.Verdicts) > 0 || in.DataWidth > 0 {
			rest = otherThan(in, i, at)
		}
		if _, known := groups[rest]; !known {
			if len(n.groups)+len(order) >= maxNames {
				n.complete = false
				continue
			}
			order = append(order, rest)
		}
		if key[at].asIs() {
			groups[rest] = append(groups[rest], box[at])
		} else if pre, ok := key[at].Preimage(box[at]); ok {
			groups[rest] = append(groups[rest], pre.list...)
		} else {
			n.complete = false
		}
	}
	for _, rest := range order {
		if a := NewRanges(groups[rest]...); !a.Empty() && !a.Equal(AllSources(n.family)) {
			n.groups = append(n.groups, named{a, r.at})
		}
	}
}

// otherThan is everything about an element but one of its columns.
func otherThan(in *Set, i, column int) string {
	var b strings.Builder
	for j, r := range in.Element(i) {
		if j != column {
			fmt.Fprintf(&b, "%x-%x,", r.From.bytes(), r.To.bytes())
		}
	}
	if i < len(in.Verdicts) {
		fmt.Fprintf(&b, " %d %s", in.Verdicts[i].Kind, in.Verdicts[i].Chain)
	}
	if in.DataWidth > 0 {
		fmt.Fprintf(&b, " %v", in.Row(i))
	}
	return b.String()
}
