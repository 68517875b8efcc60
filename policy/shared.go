package policy

import (
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall"
)

// sharedSets remembers the results of set operations, so that services with the same sources share
// memory: a thousand services that allow a network of a million prefixes take no more than one.
type sharedSets struct {
	byNames   map[string]firewall.Prefixes // unions of networks, by the networks' names
	byContent map[string]firewall.Prefixes // short sets, by their binary form
	results   map[operation]firewall.Prefixes
}

// operation identifies an operation on two sets: a minus b, or their union.
type operation struct {
	minus bool
	a, b  firewall.SetIdentity
}

// maxComparedPrefixes bounds the sets that deduplicate compares by content.
const maxComparedPrefixes = 1000

// deduplicate returns an equal set that was seen before, or set itself. Lists that are written out
// in two services so become one.
func (s *sharedSets) deduplicate(set firewall.Prefixes) firewall.Prefixes {
	if n := set.Len(); n == 0 || n > maxComparedPrefixes {
		return set
	}
	key, err := set.AppendBinary(nil)
	if err != nil {
		return set
	}
	if known, ok := s.byContent[string(key)]; ok {
		return known
	}
	if s.byContent == nil {
		s.byContent = map[string]firewall.Prefixes{}
	}
	s.byContent[string(key)] = set
	return set
}

// memoize returns the earlier result of an operation, or computes it.
func (s *sharedSets) memoize(o operation, result func() firewall.Prefixes) firewall.Prefixes {
	if known, ok := s.results[o]; ok {
		return known
	}
	if s.results == nil {
		s.results = map[operation]firewall.Prefixes{}
	}
	all := result()
	s.results[o] = all
	return all
}

// union returns everything in the named networks.
func (s *sharedSets) union(
	names []string,
	networks map[string]firewall.Prefixes,
) firewall.Prefixes {
	slices.Sort(names)
	names = slices.Compact(names)
	key := strings.Join(names, "\n")
	if known, ok := s.byNames[key]; ok {
		return known
	}
	var sets []firewall.Prefixes
	for _, name := range names {
		sets = append(sets, networks[name])
	}
	all := unionAll(sets)
	if s.byNames == nil {
		s.byNames = map[string]firewall.Prefixes{}
	}
	s.byNames[key] = all
	return all
}

// unionAll unites sets in pairs, then those unions in pairs, and so on. So n sets of m ranges cost
// n·m·log n steps, even if they interleave.
func unionAll(sets []firewall.Prefixes) firewall.Prefixes {
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

// unionWith returns the union of set and more; set itself if it has everything already.
func (s *sharedSets) unionWith(set, more firewall.Prefixes) firewall.Prefixes {
	if set.Len() == 0 {
		return s.deduplicate(more)
	}
	for p := range more.All() {
		if !set.Covers(p) {
			more = s.deduplicate(more)
			operation := operation{false, set.Identity(), more.Identity()}
			return s.memoize(operation, func() firewall.Prefixes { return set.Union(more) })
		}
	}
	return set
}

// minus returns sources without except; sources itself if they have nothing in common.
func (s *sharedSets) minus(sources, except firewall.Prefixes) firewall.Prefixes {
	if sources.Disjoint(except) {
		return sources
	}
	operation := operation{true, sources.Identity(), except.Identity()}
	return s.memoize(operation, func() firewall.Prefixes { return sources.Minus(except) })
}
