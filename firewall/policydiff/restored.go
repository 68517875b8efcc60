package policydiff

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

// Restored words what differs between the kernel and the State in force, service by service: Opens
// are sources that lost access and get it back, Closes are sources that lose what nobody applied.
// Other objects are counted, as the setting KeyRules. changes lead from the kernel to in.
func Restored(in Side, changes []firewall.Change) []Change {
	list := newLister(false)
	byService := map[string]*restored{}
	var order []string
	for _, c := range changes {
		r := byService[c.Service]
		if r == nil {
			r = &restored{}
			byService[c.Service] = r
			order = append(order, c.Service)
		}
		r.add(in, c)
	}
	slices.Sort(order)
	var out []Change
	for _, name := range order {
		out = append(out, byService[name].change(in, name, list))
	}
	return filled(out)
}

// restored is what differs of one service.
type restored struct {
	back, gone address.Set
	many       [2][]Opening // of lists that are only counted: gone, back
	rules      int
}

func (r *restored) add(in Side, c firewall.Change) {
	svc := in.service(c.Service)
	sources := sourcesOf(c.Detail)
	switch {
	case c.Object != firewall.ObjectElement || svc == nil || sources.IsZero():
		r.rules += c.Count
	case c.Count > 1:
		which := 0
		if c.Action == firewall.Add {
			which = 1
		}
		r.many[which] = append(r.many[which], Opening{Count: c.Count})
	case c.Action == firewall.Add && lets(svc, sources):
		r.back = r.back.Union(sources)
	case c.Action == firewall.Remove && svc.Addresses.IsZero():
		r.gone = r.gone.Union(sources)
	default: // an address of the host, or of a kind that no plan has
		r.rules += c.Count
	}
}

func (r *restored) change(in Side, name string, list *lister) Change {
	c := Change{Service: name, Action: Modify}
	if svc := in.service(name); svc != nil {
		c.Ports = in.ports(*svc)
	}
	c.Opens = append(in.named(name, r.back, list), r.many[1]...)
	c.Closes = append(in.named(name, r.gone, list), r.many[0]...)
	if r.rules > 0 {
		c.addSetting(KeyRules, fmt.Sprint(r.rules), "0")
	}
	return c
}

// named are sources with the network that has them.
func (s Side) named(service string, sources address.Set, list *lister) (out []Opening) {
	for _, e := range s.written(service).Allow {
		held, known := s.holds(e)
		if !known || e.Network == "" {
			continue
		}
		if part := held.Intersect(sources); !part.IsZero() {
			o := list.opening(e.Network, part)
			o.Part = true
			out = append(out, o)
			sources = sources.Minus(part)
		}
	}
	if !sources.IsZero() {
		out = append(out, list.opening("", sources))
	}
	return out
}

// service is a service of a Side; nil if it has none of that name.
func (s Side) service(name string) *firewall.Service {
	i, found := slices.BinarySearchFunc(s.State.Services, name,
		func(svc firewall.Service, name string) int { return strings.Compare(svc.Name, name) })
	if !found {
		return nil
	}
	return &s.State.Services[i]
}

// lets reports whether a service lets sources in, or did until some of them expired.
func lets(svc *firewall.Service, sources address.Set) bool {
	for p := range sources.All() {
		if !svc.Sources.Covers(p) && !slices.ContainsFunc(svc.Expiring,
			func(e firewall.ExpiringSource) bool { return e.Prefix.Overlaps(p) }) {
			return false
		}
	}
	return true
}

// sourcesOf reads the source that an element's words begin with: an address, a CIDR or a range.
func sourcesOf(detail string) address.Set {
	var b address.Builder
	word, _, _ := strings.Cut(detail, " ")
	if p, err := netip.ParsePrefix(word); err == nil {
		_ = b.Add(p) // what can't be added isn't a source
		return b.Set()
	}
	first, last, isRange := strings.Cut(word, "-")
	if !isRange {
		last = first
	}
	from, err := netip.ParseAddr(first)
	to, errTo := netip.ParseAddr(last)
	if err == nil && errTo == nil {
		_ = b.AddRange(from, to)
	}
	return b.Set()
}

// Missing stands for all rules that were applied and that the kernel no longer holds.
func Missing() []Change {
	return filled([]Change{
		{Action: Modify, Settings: []Setting{{Key: KeyRules, From: "missing"}}},
	})
}
