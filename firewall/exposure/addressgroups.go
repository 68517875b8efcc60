package exposure

import (
	"fmt"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall/address"
)

// addressGroups collects the groups of addresses that rules name together.
type addressGroups struct {
	family   address.Family
	protocol Value
	ports    Range
	groups   []addressGroup
	complete bool
	work     int
}

type addressGroup struct {
	addresses Ranges
	at        Place
}

// addRule adds the addresses that a rule names, if packets to the ports can get there.
func (n *addressGroups) addRule(r destinationRule) {
	from := len(n.groups)
	effect := false
	for _, s := range r.rule.Statements {
		if m, ok := s.(Match); ok && !m.Not && n.isExcluded(r, m.Key, m.In) {
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
					n.addColumn(r, key, in, i)
				}
			}
		})
	}
}

// isExcluded reports whether a set has no element about the ports.
func (n *addressGroups) isExcluded(r destinationRule, key []Operand, in *Set) bool {
	if in == nil || in.Unknown != "" || in.Grows || in.Default ||
		!slices.ContainsFunc(key, r.ofTransport) {
		return false
	}
	for _, box := range in.All() {
		if n.work++; n.concerns(r, key, box) {
			return false
		}
	}
	return true
}

// ofTransport reports whether an operand is the protocol or the dialled port.
func (r destinationRule) ofTransport(o Operand) bool {
	return o.asIs() && (o.Field == FieldProtocol || o.Field == portField(r.answers) && !r.anyPort)
}

// concerns reports whether an element is about the ports.
func (n *addressGroups) concerns(r destinationRule, key []Operand, box []Range) bool {
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

// addColumn adds the addresses in a column of a set. Addresses of elements that are otherwise equal
// form one group.
func (n *addressGroups) addColumn(r destinationRule, key []Operand, in *Set, at int) {
	groups := map[string][]Range{}
	var order []string
	n.work += 8 + in.Len()
	for i, box := range in.All() {
		if at >= len(box) || !n.concerns(r, key, box) {
			continue
		}
		rest := ""
		if in.Width > 1 || len(in.Verdicts) > 0 || in.DataWidth > 0 {
			rest = restOfElement(in, i, at)
		}
		if _, known := groups[rest]; !known {
			if len(n.groups)+len(order) >= maxAddressGroups {
				n.complete = false
				continue
			}
			order = append(order, rest)
		}
		if key[at].asIs() {
			groups[rest] = append(groups[rest], box[at])
		} else if pre, ok := key[at].Preimage(box[at]); ok {
			groups[rest] = slices.AppendSeq(groups[rest], pre.All())
		} else {
			n.complete = false
		}
	}
	for _, rest := range order {
		if a := NewRanges(groups[rest]...); !a.Empty() && !a.Equal(AllSources(n.family)) {
			n.groups = append(n.groups, addressGroup{a, r.at})
		}
	}
}

// restOfElement is an element without one of its columns, as a key.
func restOfElement(in *Set, i, column int) string {
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
