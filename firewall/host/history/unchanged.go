package history

import "github.com/portgrave/portgrave/firewall/host/statefiles"

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
	record, err := s.HeadOf(g.Number)
	if err != nil {
		return nil, false
	}
	now := *g
	now.Record = record
	return &now, true
}

// stampOf is the stamp of a generation's file; zero if it can't be told, which is equal to none.
func (s *Store) stampOf(n int) statefiles.Stamp {
	stamp, err := s.files.Stamp(s.fileName(n))
	if err != nil {
		return statefiles.Stamp{}
	}
	return stamp
}
