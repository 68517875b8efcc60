package policydiff

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

// Sources get the names of the entries that they were written as. What an entry holds may be
// unknown: a list that was in force may have changed since. Sources that no known entry holds are
// that entry's if it is the only unknown one; else they are named by themselves.

func (s Side) written(service string) Service {
	if s.Written == nil {
		return Service{}
	}
	return s.Written.Services[service]
}

// ports are those of a service as they are written.
func (s Side) ports(svc firewall.Service) []string {
	if ports := s.written(svc.Name).Ports; len(ports) > 0 {
		return ports
	}
	return portNames(svc.Ports)
}

func portNames(ports []firewall.PortRange) []string {
	names := make([]string, 0, len(ports))
	for _, r := range ports {
		names = append(names, r.String())
	}
	return names
}

func (s Service) except() string {
	var words []string
	for _, e := range s.Except {
		if len(words) == maxSources {
			words = append(words, "…")
			break
		}
		words = append(words, e.String())
	}
	return list(words)
}

// holds is what an entry holds; false if that is unknown.
func (s Side) holds(e Entry) (address.Set, bool) {
	if e.Network == "" {
		set, err := address.New(e.Prefix)
		return set, err == nil
	}
	if s.Written == nil {
		return address.Set{}, false
	}
	set, known := s.Written.Networks[e.Network]
	return set, known
}

// allowed are the sources that a service lets in.
func (d *differ) allowed(svc firewall.Service) address.Set {
	if len(svc.Expiring) == 0 {
		return svc.Sources
	}
	var running address.Builder
	for _, e := range svc.Expiring {
		if e.Until.After(d.now) {
			_ = running.Add(e.Prefix) // a State has none that can't be added
		}
	}
	return d.sets.of(union, svc.Sources, running.Set())
}

func (d *differ) minus(a, b address.Set) address.Set     { return d.sets.of(minus, a, b) }
func (d *differ) intersect(a, b address.Set) address.Set { return d.sets.of(intersect, a, b) }

// whole are all entries of a service that comes or goes.
func (d *differ) whole(side Side, svc firewall.Service) []Opening {
	return d.name(side, svc, d.allowed(svc), nil)
}

// sources are the openings of a service that is there before and after.
func (d *differ) sources(c *Change, from, to firewall.Service) {
	if from.Sources.Equal(to.Sources) && len(from.Expiring)+len(to.Expiring) == 0 {
		return
	}
	before, after := d.allowed(from), d.allowed(to)
	added, removed := d.minus(after, before), d.minus(before, after)
	old, now := d.from.written(to.Name).Allow, d.to.written(to.Name).Allow
	c.Opens = d.name(d.to, to, added, old)
	c.Closes = d.name(d.from, from, removed, now)
	for i, o := range c.Closes {
		if o.Network == "" || o.Part {
			continue
		}
		if held, known := d.from.holds(Entry{Network: o.Network}); known {
			c.Closes[i].Except = d.kept(d.intersect(held, after), now)
		}
	}
}

// kept names entries through which some sources still get in.
func (d *differ) kept(sources address.Set, entries []Entry) (names []string) {
	var unknown []string
	for _, e := range entries {
		held, known := d.to.holds(e)
		if !known {
			unknown = append(unknown, e.String())
		} else if !held.Disjoint(sources) {
			names = append(names, e.String())
			sources = d.minus(sources, held)
		}
	}
	if sources.IsZero() {
		return names
	}
	if len(unknown) > 0 { // only they can hold the rest
		return append(names, unknown...)
	}
	const maxKept = 4
	names = append(names, sources.FirstStrings(min(maxKept, sources.Len()))...)
	if sources.Len() > maxKept {
		names = append(names, "…")
	}
	return names
}

// name finds the entries of a service's allow on one side that some sources were written as; other
// is allow on the other side.
func (d *differ) name(side Side, svc firewall.Service, sources address.Set,
	other []Entry) (out []Opening) {
	if sources.IsZero() {
		return nil
	}
	rest := sources
	var unknown []Entry
	entries := side.written(svc.Name).Allow
	stays := func(e Entry) bool {
		return slices.ContainsFunc(other, func(o Entry) bool {
			return o.Network == e.Network && o.Prefix == e.Prefix
		})
	}
	// An entry of one side alone names its sources; one of both sides what is left of them.
	for _, staying := range []bool{false, true} {
		for _, e := range entries {
			if !e.Expires.IsZero() && !e.Expires.After(d.now) || stays(e) != staying {
				continue
			}
			held, known := side.holds(e)
			if !known {
				unknown = append(unknown, e)
				continue
			}
			of := sources
			if staying {
				of = rest
			}
			if part := d.intersect(held, of); !part.IsZero() {
				out = append(out, d.opening(e, part, staying))
				rest = d.minus(rest, held)
			}
		}
	}
	if len(unknown) == 1 && !rest.IsZero() {
		return append(out, d.opening(unknown[0], rest, stays(unknown[0])))
	}
	for _, e := range unknown {
		if !stays(e) {
			out = append(out, Opening{Network: e.Network, Expires: e.Expires})
		}
	}
	return append(out, d.unnamed(svc, rest)...)
}

func (d *differ) opening(e Entry, sources address.Set, part bool) Opening {
	o := d.list.opening(e.Network, sources)
	o.Expires = e.Expires
	o.Part = part && e.Network != ""
	if !part && e.Network == "" {
		o.Entry = e.String()
	}
	return o
}

// unnamed are sources that no entry is known for: those that stay, and those of each end.
func (d *differ) unnamed(svc firewall.Service, sources address.Set) (out []Opening) {
	byEnd := map[time.Time]*address.Builder{}
	var ends []time.Time
	for _, e := range svc.Expiring {
		if !e.Until.After(d.now) || !sources.Overlaps(e.Prefix) {
			continue
		}
		if byEnd[e.Until] == nil {
			byEnd[e.Until] = &address.Builder{}
			ends = append(ends, e.Until)
		}
		_ = byEnd[e.Until].Add(e.Prefix) // a State has none that can't be added
	}
	rest := sources
	slices.SortFunc(ends, time.Time.Compare)
	for _, end := range ends {
		part := byEnd[end].Set().Intersect(sources)
		rest = rest.Minus(part)
		o := d.list.opening("", part)
		o.Expires = end
		out = append(out, o)
	}
	if rest.IsZero() {
		return out
	}
	return slices.Insert(out, 0, d.list.opening("", rest))
}

// leases are the openings that leases add and take away, by service.
func (d *differ) leases() map[string][2][]Opening {
	type key struct {
		service, ports string
		until          time.Time
	}
	sides := [2]map[key]*address.Builder{{}, {}}
	words := map[key][]string{}
	var order []key
	for i, side := range []Side{d.from, d.to} {
		for _, l := range side.Leases {
			if !l.Source.Until.After(d.now) {
				continue
			}
			names := portNames(l.Ports)
			k := key{l.Service, list(names), l.Source.Until}
			if words[k] == nil {
				words[k] = names
				order = append(order, k)
			}
			if sides[i][k] == nil {
				sides[i][k] = &address.Builder{}
			}
			_ = sides[i][k].Add(l.Source.Prefix) // a State has none that can't be added
		}
	}
	slices.SortFunc(order, func(a, b key) int {
		return cmp.Or(strings.Compare(a.service, b.service), strings.Compare(a.ports, b.ports),
			a.until.Compare(b.until))
	})
	out := map[string][2][]Opening{}
	for _, k := range order {
		var sets [2]address.Set
		for i := range sets {
			if b := sides[i][k]; b != nil {
				sets[i] = b.Set()
			}
		}
		both := out[k.service]
		closed, opened := sets[0].Minus(sets[1]), sets[1].Minus(sets[0])
		for i, set := range []address.Set{closed, opened} {
			if set.IsZero() {
				continue
			}
			o := d.list.opening("", set)
			o.Expires, o.Lease, o.Ports = k.until, true, words[k]
			both[i] = append(both[i], o)
		}
		if len(both[0])+len(both[1]) > 0 {
			out[k.service] = both
		}
	}
	return out
}

// addLeases adds to a service what leases open and close on it.
func (d *differ) addLeases(c *Change, leases [2][]Opening) {
	for i, to := range []*[]Opening{&c.Closes, &c.Opens} {
		for _, o := range leases[i] {
			if len(c.Ports) == 0 { // of a lease alone
				c.Ports = o.Ports
			}
			if slices.Equal(o.Ports, c.Ports) {
				o.Ports = nil
			}
			*to = append(*to, o)
		}
	}
}
