package exposure

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall"
)

// Alike puts together those addresses of the host for which questions about a port have the same
// answers: no rule tells them apart, and no route. The addresses are of one family; each is in one
// group, in their order.
func (e *Evaluator) Alike(
	f firewall.Family,
	p firewall.Protocol,
	port uint16,
	addresses []netip.Addr,
) (groups [][]netip.Addr) {
	if len(addresses) < 2 {
		return slices.Collect(slices.Chunk(addresses, 1))
	}
	classes, complete := e.Classes(f, p, port, port)
	at := map[string]int{}
	for _, a := range addresses {
		v := Address(a)
		class := slices.IndexFunc(classes, func(c Class) bool { return c.Addresses.Contains(v) })
		key := fmt.Sprintf("%d %s", class, e.routedAs(f, a))
		if !complete || class < 0 || e.answersByAddress(f) {
			key = a.String()
		}
		i, known := at[key]
		if !known {
			i = len(groups)
			at[key] = i
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], a)
	}
	return groups
}

// answersByAddress reports whether answers may fare differently by the address that they come from:
// a rule on their way, or of policy routing, reads it.
func (e *Evaluator) answersByAddress(f firewall.Family) bool {
	type key struct{ answersByAddress firewall.Family }
	return e.remember(key{f}, func() any {
		for _, t := range e.rules.Tables {
			if t.Dormant || !t.Family.Sees(f) {
				continue
			}
			at := places(t)
			for _, c := range t.Chains {
				if at[c]&PlaceAnswer == 0 {
					continue
				}
				if slices.ContainsFunc(c.Rules, func(r *Rule) bool { return readsSource(r, f) }) {
					return true
				}
			}
		}
		return e.fib != nil && slices.ContainsFunc(e.fib.rules[f], func(r RoutingRule) bool {
			return r.Source.IsValid() && r.Source.Bits() > 0
		})
	}).(bool)
}

// readsSource reports whether a rule reads the address that a packet comes from.
func readsSource(r *Rule, f firewall.Family) bool {
	source := FieldSource4
	if f == firewall.IPv6 {
		source = FieldSource6
	}
	reads := func(key []Operand) bool {
		return slices.ContainsFunc(key, func(o Operand) bool {
			return o.Field == source || o.Field == FieldMap ||
				o.Field == FieldFib && o.Fib.Of == FibSource
		})
	}
	return slices.ContainsFunc(r.Statements, func(s Statement) bool {
		switch s := s.(type) {
		case Match:
			return reads(s.Key)
		case VerdictMap:
			return reads(s.Key)
		case Assign:
			return reads(s.Value)
		case SetUpdate:
			return reads(s.Key)
		}
		return false
	})
}

// routedAs is what the routes say of an address, as far as it makes a difference to packets for it:
// equal for addresses that are routed alike.
func (e *Evaluator) routedAs(f firewall.Family, a netip.Addr) string {
	type key struct{ routedAs netip.Addr }
	return e.remember(key{a}, func() any { return e.routeWords(f, a) }).(string)
}

func (e *Evaluator) routeWords(f firewall.Family, a netip.Addr) string {
	if e.fib == nil {
		return ""
	}
	var b strings.Builder
	if a.IsLinkLocalUnicast() {
		b.WriteString("link-local ")
	}
	for i := range e.host.Interfaces {
		for _, p := range e.host.Interfaces[i].Addresses {
			if p.Addr().WithZone("") == a {
				fmt.Fprintf(&b, "on %d ", e.host.Interfaces[i].Index)
			}
		}
	}
	k := fibKey{family: f, in: "lo", inKnown: true}
	for i := range e.fib.rules[f] {
		r := &e.fib.rules[f][i]
		if r.Dest.IsValid() || r.L3MDev || r.Unknown != "" {
			return a.String() // rules select by address, or by what isn't known
		}
		for _, g := range e.fib.inTable(r, k, Address(a)) {
			fmt.Fprintf(&b, "%d:%d %v", r.Table, g.kind, g.doubtful)
			for _, hop := range g.route.NextHops {
				fmt.Fprintf(&b, " by %d", hop.Index)
			}
			b.WriteString("; ")
		}
	}
	return b.String()
}
