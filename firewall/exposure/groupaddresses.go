package exposure

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

// GroupAddresses groups those addresses of the host for which questions about a port have the same
// answers: no rule and no route distinguishes them. The addresses are of one family. Each is in one
// group, in its order.
func (e *Evaluator) GroupAddresses(
	f address.Family,
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
		if !complete || class < 0 {
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

// routedAs describes how an address is routed. It is equal for addresses that are routed the same
// way.
func (e *Evaluator) routedAs(f address.Family, a netip.Addr) string {
	type key struct{ routedAs netip.Addr }
	return e.remember(key{a}, func() any { return e.routeWords(f, a) }).(string)
}

func (e *Evaluator) routeWords(f address.Family, a netip.Addr) string {
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
	for i := range e.host.Interfaces { // ARP and neighbour discovery answer by interface
		on := &e.host.Interfaces[i]
		w := &walk{e: e, in: on, q: Question{Family: f, Destination: a, Interface: on.Name}}
		for _, u := range w.unfound() {
			fmt.Fprintf(&b, "%s for %v; ", u.by.Reason, Answer{Question: w.q}.Prefixes(u.sources))
		}
	}
	k := fibKey{family: f, in: "lo", inKnown: true}
	for i := range e.fib.rules[f] {
		r := &e.fib.rules[f][i]
		if r.Dest.IsValid() || r.L3MDev || r.Unknown != "" {
			return a.String() // rules select by address, or by something unknown
		}
		if r.Source.IsValid() { // of answers
			fmt.Fprintf(&b, "from %d: %v ", i, r.Source.Contains(a))
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
