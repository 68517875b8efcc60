package audit

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// effectOf says what a rule does to the sources for which it may hold or not.
func (s *survey) effectOf(rule string) string {
	if _, stops := s.mayRefuse.Load(rule); stops {
		return "stops"
	}
	return "lets in"
}

// warnLockouts puts first the programs that listen but that no source of a family certainly
// reaches. Today a source may reach them.
func (w *importWriter) warnLockouts() {
	var names, rules []string
	var withheld address.Set
	for _, s := range w.out.Services {
		families := lockedFamilies(s)
		if s.Idle || s.Everything || len(families) == 0 || !s.Ports[0].Protocol.HasPorts() {
			continue
		}
		name := fmt.Sprintf("%s (%s)", s.Name, s.Ports[0])
		if s.Sources.Len() > 0 {
			name += fmt.Sprintf(" over %s", families[0])
		}
		names = append(names, name)
		for _, f := range families {
			withheld = withheld.Union(s.Withheld.Intersect(exposure.AllSources(f).Prefixes(f)))
		}
		for _, r := range s.Unknown {
			rules = appendOnce(rules, r)
		}
	}
	if len(names) == 0 {
		return
	}
	w.warnFirst("nobody gets in by this policy to %s, since a rule depends on what can't be known "+
		"(%s): allow your own sources there before you apply it, or be locked out; "+
		"--include-unknown allows %s", shortList(names), shortList(rules), fewOf(withheld))
}

// lockedFamilies are the IP versions whose sources may reach a service, but none certainly.
func lockedFamilies(s ImportedService) (out []address.Family) {
	for _, f := range address.Families {
		all := exposure.AllSources(f).Prefixes(f)
		if s.Sources.Intersect(all).Len() == 0 && s.Withheld.Intersect(all).Len() > 0 {
			out = append(out, f)
		}
	}
	return out
}

// warnFirst adds a sentence before all others.
func (w *importWriter) warnFirst(format string, args ...any) {
	w.out.Notes = slices.Insert(w.out.Notes, 0, fmt.Sprintf(format, args...))
}

// namesDestination reports whether a rule names an address as a destination, alone or among few.
func (s *survey) namesDestination(a netip.Addr) bool {
	if s.destinations == nil {
		s.destinations = map[netip.Addr]bool{}
		s.eachDestination(func(d netip.Addr) { s.destinations[d] = true })
	}
	return s.destinations[a]
}

// eachDestination yields the single destinations that rules name.
func (s *survey) eachDestination(yield func(netip.Addr)) {
	for _, t := range s.Rules.Tables {
		for _, c := range t.Chains {
			for _, r := range c.Rules {
				for _, st := range r.Statements {
					m, ok := st.(exposure.Match)
					if !ok || m.Not || m.In == nil || len(m.Key) != 1 || m.In.Len() > fewAddresses {
						continue
					}
					six := m.Key[0].Field == exposure.FieldDest6
					if !six && m.Key[0].Field != exposure.FieldDest4 {
						continue
					}
					for _, a := range singles(column(m.In, 0), six) {
						yield(a)
					}
				}
			}
		}
	}
}

// maxGroups bounds the groups and broadcast addresses that are asked about.
const maxGroups = 16

// namedGroups are the single multicast and broadcast addresses that rules name as destinations.
func (s *survey) namedGroups() (out []netip.Addr) {
	s.eachDestination(func(a netip.Addr) {
		if s.group(a) && !slices.Contains(out, a) && len(out) < maxGroups {
			out = append(out, a)
		}
	})
	return out
}

// group reports whether packets to an address reach several hosts.
func (s *survey) group(a netip.Addr) bool {
	return a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) ||
		slices.ContainsFunc(s.Host.Routes, func(r exposure.Route) bool {
			return r.Type == exposure.RouteBroadcast && r.Dest.IsSingleIP() && r.Dest.Addr() == a
		})
}
