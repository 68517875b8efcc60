package policy

import (
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall/address"
)

// sharedSets remembers what was made of networks, so that services with the same sources have them in common: a thousand services that
// allow a network of a million take no more memory than one.
type sharedSets struct {
	unions map[string]address.Set // by the networks' names
	small  map[string]address.Set // by their content
	made   map[operation]address.Set
}

// operation is what a set was made by.
type operation struct {
	minus bool
	a, b  address.Identity
}

// maxSmall is up to how many prefixes lists in the policy are compared with each other.
const maxSmall = 1000

// one is a set itself, or an equal one that was met before: lists that are written out in two services are one.
func (s *sharedSets) one(set address.Set) address.Set {
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
		s.small = map[string]address.Set{}
	}
	s.small[string(key)] = set
	return set
}

// make is the result of an operation, or what it was before.
func (s *sharedSets) make(o operation, result func() address.Set) address.Set {
	if known, ok := s.made[o]; ok {
		return known
	}
	if s.made == nil {
		s.made = map[operation]address.Set{}
	}
	all := result()
	s.made[o] = all
	return all
}

// union is everything in the named networks.
func (s *sharedSets) union(names []string, networks map[string]address.Set) address.Set {
	slices.Sort(names)
	names = slices.Compact(names)
	key := strings.Join(names, "\n")
	if known, ok := s.unions[key]; ok {
		return known
	}
	var sets []address.Set
	for _, name := range names {
		sets = append(sets, networks[name])
	}
	all := address.Union(sets...)
	if s.unions == nil {
		s.unions = map[string]address.Set{}
	}
	s.unions[key] = all
	return all
}

// with is the union of a set and some entries more.
func (s *sharedSets) with(set, more address.Set) address.Set {
	more = s.one(more)
	return s.make(operation{false, set.Identity(), more.Identity()},
		func() address.Set { return set.Union(more) })
}

// minus is sources without except.
func (s *sharedSets) minus(sources, except address.Set) address.Set {
	return s.make(operation{true, sources.Identity(), except.Identity()},
		func() address.Set { return sources.Minus(except) })
}
