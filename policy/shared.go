package policy

import (
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall"
)

// sharedSets remembers what was made of networks, so that services with the same sources have them in common: a thousand services that
// allow a network of a million take no more memory than one.
type sharedSets struct {
	unions map[string]firewall.Prefixes // by the networks' names
	small  map[string]firewall.Prefixes // by their content
	made   map[operation]firewall.Prefixes
}

// operation is what a set was made by.
type operation struct {
	minus bool
	a, b  firewall.SetIdentity
}

// maxSmall is up to how many prefixes lists in the policy are compared with each other.
const maxSmall = 1000

// one is a set itself, or an equal one that was met before: lists that are written out in two services are one.
func (s *sharedSets) one(set firewall.Prefixes) firewall.Prefixes {
	if n := set.Len(); n == 0 || n > maxSmall {
		return set
	}
	key, err := set.AppendBinary(nil)
	if err != nil {
		return set
	}
	if known, ok := s.small[string(key)]; ok {
		return known
	}
	if s.small == nil {
		s.small = map[string]firewall.Prefixes{}
	}
	s.small[string(key)] = set
	return set
}

// make is the result of an operation, or what it was before.
func (s *sharedSets) make(o operation, result func() firewall.Prefixes) firewall.Prefixes {
	if known, ok := s.made[o]; ok {
		return known
	}
	if s.made == nil {
		s.made = map[operation]firewall.Prefixes{}
	}
	all := result()
	s.made[o] = all
	return all
}

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
func (s *sharedSets) with(set, more firewall.Prefixes) firewall.Prefixes {
	if set.Len() == 0 {
		return s.one(more)
	}
	for p := range more.All() {
		if !set.Covers(p) {
			more = s.one(more)
			return s.make(operation{false, set.Identity(), more.Identity()}, func() firewall.Prefixes { return set.Union(more) })
		}
	}
	return set
}

// minus is sources without except; sources itself if they have nothing in common.
func (s *sharedSets) minus(sources, except firewall.Prefixes) firewall.Prefixes {
	if sources.Disjoint(except) {
		return sources
	}
	return s.make(operation{true, sources.Identity(), except.Identity()}, func() firewall.Prefixes { return sources.Minus(except) })
}
