package audit

import (
	"cmp"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// Sets of sources get a name in the policy if the rules name them, or if they are long.
const (
	// minNamed is the fewest prefixes of a list that gets a name although the rules give it none.
	minNamed = 3
	// maxUnnamed is the most prefixes that several services repeat without a name.
	maxUnnamed = 8
	// maxOwn is the most prefixes that a single service lists.
	maxOwn = 64
	// maxImportedNetworks bounds the sets that are compared with every service's sources.
	maxImportedNetworks = 256
)

// networks names sets of sources: the rules' sets by their names, and other long sets.
func (w *importWriter) networks() {
	taken := map[string]bool{"any": true, "private": true, "loopback": true}
	shorter := make([]shortForm, len(w.out.Services))
	for _, n := range setsOf(w.Rules) {
		if len(w.out.Networks) == maxImportedNetworks {
			break
		}
		if w.usedByService(n.Sources, shorter) {
			n.Name = freeName(taken, n.Name)
			w.out.Networks = append(w.out.Networks, n)
		}
	}
	var lists []sharedList
	for _, svc := range w.out.Services {
		rest := without(svc.Sources, w.out.Networks)
		allow, except := rest.Short()
		if rest.Len() < svc.Sources.Len() {
			allow, except = rest, address.Set{}
		}
		lists = addList(lists, allow, svc.Name+"-clients")
		lists = addList(lists, without(except, w.out.Networks), svc.Name+"-barred")
	}
	for _, l := range lists {
		if n := l.Len(); n > maxOwn || n > maxUnnamed && l.times > 1 {
			w.out.Networks = append(
				w.out.Networks, ImportedNetwork{freeName(taken, l.name), l.Set},
			)
		}
	}
}

// shortForm is a service's sources as some without others.
type shortForm struct{ of, allow, except address.Set }

// ofSources updates the form if the sources have changed. It takes time in proportion to them.
func (s *shortForm) ofSources(p address.Set) {
	if s.of.Len() != p.Len() || !s.of.Equal(p) {
		s.of = p
		s.allow, s.except = p.Short()
	}
}

// usedByService reports whether a service lets a set in or excepts it, and gives such services the
// whole set, including addresses that no packet from outside has, such as the host's own.
func (w *importWriter) usedByService(
	set address.Set,
	shorter []shortForm,
) (found bool) {
	nobody := w.unroutable.prefixes()
	real := set.Minus(nobody)
	for i := range w.out.Services {
		s := &w.out.Services[i].Sources
		if real.Len() == 0 || s.Len() == 0 {
			continue
		}
		if all, ok := named(*s, set, real); ok {
			*s, found = all, true
			continue
		}
		short := &shorter[i]
		short.ofSources(*s)
		if all, ok := named(short.allow, set, real); ok {
			*s, found = all.Minus(short.except), true
		} else if all, ok := named(short.except, set, real); ok && real.Intersect(*s).Len() == 0 {
			*s, found = s.Minus(all), true
		}
	}
	return found
}

// named returns a list with a whole set, if the list has all of the set's real sources, and naming
// the set doesn't make the list longer.
func named(list, set, real address.Set) (all address.Set, ok bool) {
	if !real.Intersect(list).Equal(real) {
		return list, false
	}
	all = list.Union(set)
	return all, all.Minus(set).Len()+1 <= list.Len()
}

// without removes the networks from a list.
func without(list address.Set, networks []ImportedNetwork) address.Set {
	for _, n := range networks {
		if n.Sources.Len() <= list.Len() && n.Sources.Intersect(list).Equal(n.Sources) {
			if rest := list.Minus(n.Sources); rest.Len()+1 < list.Len() {
				list = rest
			}
		}
	}
	return list
}

// sharedList is a list of prefixes in services.
type sharedList struct {
	address.Set
	name  string
	times int
}

// addList counts a list of a service.
func addList(lists []sharedList, p address.Set, name string) []sharedList {
	if p.Len() < minNamed {
		return lists
	}
	for i, l := range lists {
		if l.Equal(p) {
			lists[i].times++
			return lists
		}
	}
	return append(lists, sharedList{p, name, 1})
}

// setsOf returns the named sets of sources that rules look up, the largest first. Portgrave's own
// sets have names of services.
func setsOf(rs *exposure.Ruleset) (out []ImportedNetwork) {
	seen := map[*exposure.Set]bool{}
	for _, t := range rs.Tables {
		for _, c := range t.Chains {
			if c.Owner() == "portgrave" {
				continue
			}
			for _, r := range c.Rules {
				for _, s := range r.Statements {
					m, ok := s.(exposure.Match)
					if !ok || m.In == nil || m.In.Name == "" || len(m.Key) != 1 || seen[m.In] {
						continue
					}
					seen[m.In] = true
					if p, ok := sourcesOfSet(m); ok && p.Len() > 0 {
						out = append(out, ImportedNetwork{networkName(m.In.Name), p})
					}
				}
			}
		}
	}
	slices.SortStableFunc(out, func(a, b ImportedNetwork) int {
		return cmp.Compare(b.Sources.Len(), a.Sources.Len())
	})
	return out
}

// sourcesOfSet returns the content of a set that is looked up by source, if packets don't change
// it.
func sourcesOfSet(m exposure.Match) (address.Set, bool) {
	f := address.IPv4
	switch m.Key[0] {
	case exposure.Of(exposure.FieldSource4):
	case exposure.Of(exposure.FieldSource6):
		f = address.IPv6
	default:
		return address.Set{}, false
	}
	if m.In.Grows || m.In.Shrinks || m.In.Unknown != "" || m.In.Default || len(m.In.Notes) > 0 {
		return address.Set{}, false
	}
	p := column(m.In, 0).Prefixes(f)
	return p, !p.Equal(exposure.AllSources(f).Prefixes(f)) // which has a name
}

// networkName converts a set's name to a network's.
func networkName(name string) string {
	name = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' ||
			strings.ContainsRune("._-", r) {
			return r
		}
		return '-'
	}, name)
	name = strings.Trim(name[:min(len(name), maxName)], "._-")
	if name == "" || name[0] >= '0' && name[0] <= '9' {
		return strings.Trim("set-"+name, "-")
	}
	return name
}
