package policy

import (
	"maps"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall/address"
)

// sharedSets remembers the results of set operations, so that services with the same sources share
// memory: a thousand services that allow a network of a million prefixes take no more than one. A
// Memory keeps it from one Compile to the next.
type sharedSets struct {
	round     int
	byNames   map[string]unionOfNames // unions of networks, by the networks' names
	byContent map[string]sharedSet    // short sets, by their binary form
	results   map[operation]sharedSet
}

// sharedSet is a set with the round in which it was last used.
type sharedSet struct {
	address.Set
	used int
}

// unionOfNames is the union of networks that had this content.
type unionOfNames struct {
	of []address.Identity
	sharedSet
}

// operation identifies an operation on two sets: a minus b, or their union.
type operation struct {
	minus bool
	a, b  address.Identity
}

// maxComparedPrefixes bounds the sets that deduplicate compares by content.
const maxComparedPrefixes = 1000

// begin starts a round and forgets what the last maxUnused rounds did not use, and what was made
// from some sets.
func (s *sharedSets) begin(round int, madeFrom []address.Identity) {
	s.round = round
	for len(madeFrom) > 0 {
		of := madeFrom[0]
		madeFrom = madeFrom[1:]
		if of == (address.Identity{}) { // of the empty set
			continue
		}
		for o, x := range s.results {
			if o.a == of || o.b == of {
				delete(s.results, o)
				if made := x.Identity(); made != of { // a result may be one of its operands
					madeFrom = append(madeFrom, made)
				}
			}
		}
		for key, x := range s.byNames {
			if slices.Contains(x.of, of) {
				delete(s.byNames, key)
				if made := x.Identity(); made != of {
					madeFrom = append(madeFrom, made)
				}
			}
		}
	}
	unused := func(x sharedSet) bool { return x.used < round-maxUnused }
	maps.DeleteFunc(s.byNames, func(_ string, x unionOfNames) bool { return unused(x.sharedSet) })
	maps.DeleteFunc(s.byContent, func(_ string, x sharedSet) bool { return unused(x) })
	maps.DeleteFunc(s.results, func(_ operation, x sharedSet) bool { return unused(x) })
}

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
		set = known.Set
	}
	if s.byContent == nil {
		s.byContent = map[string]sharedSet{}
	}
	s.byContent[string(key)] = sharedSet{set, s.round}
	return set
}

// memoize returns the earlier result of an operation, or computes it.
func (s *sharedSets) memoize(o operation, result func() address.Set) address.Set {
	known, ok := s.results[o]
	if !ok {
		known.Set = result()
	}
	if s.results == nil {
		s.results = map[operation]sharedSet{}
	}
	s.results[o] = sharedSet{known.Set, s.round}
	return known.Set
}

// union returns everything in the named networks.
func (s *sharedSets) union(names []string, networks map[string]address.Set) address.Set {
	slices.Sort(names)
	names = slices.Compact(names)
	key := strings.Join(names, "\n")
	var sets []address.Set
	var of []address.Identity
	for _, name := range names {
		sets = append(sets, networks[name])
		of = append(of, networks[name].Identity())
	}
	all := s.byNames[key]
	if !slices.Equal(all.of, of) || len(of) == 0 {
		all = unionOfNames{of, sharedSet{Set: address.Union(sets...)}}
	}
	all.used = s.round
	if s.byNames == nil {
		s.byNames = map[string]unionOfNames{}
	}
	s.byNames[key] = all
	return all.Set
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
