package policy

import (
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall/address"
)

// sharedSets remembers the results of set operations, so that services with the same sources share
// memory: a thousand services that allow a network of a million prefixes take no more than one.
type sharedSets struct {
	byNames   map[string]address.Set // unions of networks, by the networks' names
	byContent map[string]address.Set // short sets, by their binary form
	results   map[operation]address.Set
}

// operation identifies an operation on two sets: a minus b, or their union.
type operation struct {
	minus bool
	a, b  address.Identity
}

// maxComparedPrefixes bounds the sets that deduplicate compares by content.
const maxComparedPrefixes = 1000

// deduplicate returns an equal set that was seen before, or set itself. Lists that are written out
// in two services so become one.
func (s *sharedSets) deduplicate(set address.Set) address.Set {
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
		s.byContent = map[string]address.Set{}
	}
	s.byContent[string(key)] = set
	return set
}

// memoize returns the earlier result of an operation, or computes it.
func (s *sharedSets) memoize(o operation, result func() address.Set) address.Set {
	if known, ok := s.results[o]; ok {
		return known
	}
	if s.results == nil {
		s.results = map[operation]address.Set{}
	}
	all := result()
	s.results[o] = all
	return all
}

// union returns everything in the named networks.
func (s *sharedSets) union(names []string, networks map[string]address.Set) address.Set {
	slices.Sort(names)
	names = slices.Compact(names)
	key := strings.Join(names, "\n")
	if known, ok := s.byNames[key]; ok {
		return known
	}
	var sets []address.Set
	for _, name := range names {
		sets = append(sets, networks[name])
	}
	all := address.Union(sets...)
	if s.byNames == nil {
		s.byNames = map[string]address.Set{}
	}
	s.byNames[key] = all
	return all
}

// unionWith returns the union of set and more.
func (s *sharedSets) unionWith(set, more address.Set) address.Set {
	more = s.deduplicate(more)
	return s.memoize(operation{false, set.Identity(), more.Identity()},
		func() address.Set { return set.Union(more) })
}

// minus returns sources without except.
func (s *sharedSets) minus(sources, except address.Set) address.Set {
	return s.memoize(operation{true, sources.Identity(), except.Identity()},
		func() address.Set { return sources.Minus(except) })
}
