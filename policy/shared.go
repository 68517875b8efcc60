package policy

import (
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall"
)

// sharedSets remembers what was made of networks, so that services with the same sources have them in common: a thousand services that
// allow a network of a million take no more memory than one.
type sharedSets struct {
	unions  map[string]firewall.Prefixes // by the networks' names
	without map[without]firewall.Prefixes
}

// without is a set and what it lacks.
type without struct{ sources, except firewall.SetIdentity }

// union is everything in the named networks.
func (s *sharedSets) union(names []string, networks map[string]firewall.Prefixes) firewall.Prefixes {
	slices.Sort(names)
	names = slices.Compact(names)
	key := strings.Join(names, "\n")
	if known, ok := s.unions[key]; ok {
		return known
	}
	var sets []firewall.Prefixes
	for _, name := range names {
		sets = append(sets, networks[name])
	}
	all := merge(sets)
	if s.unions == nil {
		s.unions = map[string]firewall.Prefixes{}
	}
	s.unions[key] = all
	return all
}

// merge unites sets two by two, those again, and so on: n sets of m ranges cost n·m·log n steps, however they interleave.
func merge(sets []firewall.Prefixes) firewall.Prefixes {
	for len(sets) > 1 {
		half := (len(sets) + 1) / 2
		next := make([]firewall.Prefixes, half)
		for i := range next {
			if next[i] = sets[2*i]; 2*i+1 < len(sets) {
				next[i] = next[i].Union(sets[2*i+1])
			}
		}
		sets = next
	}
	if len(sets) == 0 {
		return firewall.Prefixes{}
	}
	return sets[0]
}

// with is the union of a set and some entries more; the set itself if it has them all.
func with(set, more firewall.Prefixes) firewall.Prefixes {
	for p := range more.All() {
		if !set.Covers(p) {
			return set.Union(more)
		}
	}
	return set
}

// minus is sources without except; sources itself if they have nothing in common.
func (s *sharedSets) minus(sources, except firewall.Prefixes) firewall.Prefixes {
	if sources.Disjoint(except) {
		return sources
	}
	key := without{sources.Identity(), except.Identity()}
	if known, ok := s.without[key]; ok {
		return known
	}
	rest := sources.Minus(except)
	if s.without == nil {
		s.without = map[without]firewall.Prefixes{}
	}
	s.without[key] = rest
	return rest
}
