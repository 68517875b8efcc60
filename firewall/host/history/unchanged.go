package history

import (
	"slices"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/host/statefiles"
)

// A daemon keeps the generation in force in memory. It need not be read again to answer a question
// while its file is the one that was read or written then.

// Unchanged reports whether the file of a generation is as it was when Load, Last or Append
// returned the generation, and updates what other files say of it. A file that was changed, or
// can't be looked at, must be read.
func (s *Store) Unchanged(g *Generation) (*Generation, bool) {
	stamp, err := s.files.Stamp(s.fileName(g.Number))
	if err != nil || stamp.IsZero() || stamp != g.stamp {
		return nil, false
	}
	if !s.Intact(g) {
		return nil, false
	}
	record, err := s.HeadOf(g.Number)
	if err != nil {
		return nil, false
	}
	now := *g
	now.Record = record
	return &now, true
}

// Remember has Append build on a generation that Load, Last or Append has returned: of large sets,
// only what has changed since is written. It does nothing if there is a newer generation.
func (s *Store) Remember(g *Generation) { s.last = g }

// With is the generation with a State that equals its own in place of that. The sets of both are
// then kept once.
func (g *Generation) With(state firewall.State) *Generation {
	out := *g
	out.large = storedSets{}
	instead := map[address.Identity]address.Set{}
	for i, svc := range state.Services {
		instead[g.State.Services[i].Sources.Identity()] = svc.Sources
	}
	for id, x := range g.large {
		if same, ok := instead[id]; ok {
			x.set = same
		}
		out.large[x.set.Identity()] = x
	}
	out.State = state
	if g.Leased == nil {
		return &out
	}
	leased := *g.Leased
	leased.Services = slices.Clone(leased.Services)
	for i, svc := range leased.Services {
		if same, ok := instead[svc.Sources.Identity()]; ok {
			leased.Services[i].Sources = same
		}
	}
	out.Leased = &leased
	return &out
}

// stampOf is the stamp of a generation's file; zero if it can't be told, which is equal to none.
func (s *Store) stampOf(n int) statefiles.Stamp {
	stamp, err := s.files.Stamp(s.fileName(n))
	if err != nil {
		return statefiles.Stamp{}
	}
	return stamp
}
