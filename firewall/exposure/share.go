package exposure

import (
	"slices"
	"strings"
)

// Shared keeps one copy of statements that many rules have. Most of a hundred thousand rules ask
// for one of a few protocols and ports, and a copy takes some 400 bytes.
//
// Readers pass each finished rule's statements through it. Statements are immutable from then on.
type Shared struct {
	matches map[matchKey]Statement
	keys    map[Operand][]Operand
	others  map[Statement]Statement
}

// matchKey is a match of one operand with an anonymous set.
type matchKey struct {
	operand Operand
	not     bool
	first   Range
	more    string // further ranges
}

const (
	// maxShared bounds the statements of a kind that are kept for other rules, and maxSharedRanges
	// the ranges of a match.
	maxShared       = 1 << 14
	maxSharedRanges = 16
)

// NewShared keeps nothing yet.
func NewShared() *Shared {
	return &Shared{
		matches: map[matchKey]Statement{},
		keys:    map[Operand][]Operand{},
		others:  map[Statement]Statement{},
	}
}

// Statements replaces statements by equal ones that an earlier rule has, in place, and returns them
// without spare capacity.
func (s *Shared) Statements(list []Statement) []Statement {
	for i, x := range list {
		switch x := x.(type) {
		case Match:
			list[i] = s.match(x)
		case Verdict, NoEffect, NoTrack:
			list[i] = s.other(x)
		}
	}
	return slices.Clip(list)
}

func (s *Shared) other(x Statement) Statement {
	if known, ok := s.others[x]; ok {
		return known
	}
	if len(s.others) < maxShared {
		s.others[x] = x
	}
	return x
}

func (s *Shared) match(m Match) Statement {
	if len(m.Key) != 1 {
		return m
	}
	m.Key = s.key(m.Key)
	in := m.In
	// Readers fill a set without elements later.
	if isAddress(m.Key[0].Field) || in == nil || in.Name != "" || in.Width != 1 ||
		len(in.Keys) == 0 || in.Len() > maxSharedRanges || !in.isPlain() {
		return m
	}
	k := matchKey{operand: m.Key[0], not: m.Not, first: in.Keys[0]}
	if len(in.Keys) > 1 {
		var more strings.Builder
		for _, r := range in.Keys[1:] {
			from, to := r.From.bytes(), r.To.bytes()
			more.Write(from[:])
			more.Write(to[:])
		}
		k.more = more.String()
	}
	if known, ok := s.matches[k]; ok {
		return known
	}
	if len(s.matches) < maxShared {
		s.matches[k] = m
	}
	return m
}

// isPlain reports whether a set has nothing but its keys.
func (s *Set) isPlain() bool {
	return s.Columns == nil && s.Verdicts == nil && s.DataWidth == 0 && len(s.Notes) == 0 &&
		!s.Default && s.Size == 0 && !s.Grows && !s.Shrinks && s.Unknown == ""
}

// isAddress reports whether rules mostly compare a field with a value of their own.
func isAddress(f Field) bool {
	switch f {
	case FieldSource4, FieldSource6, FieldDest4, FieldDest6:
		return true
	}
	return false
}

// key is an equal list of one operand.
func (s *Shared) key(list []Operand) []Operand {
	o := list[0]
	if known, ok := s.keys[o]; ok {
		return known
	}
	if len(s.keys) < maxShared {
		s.keys[o] = list
	}
	return list
}
