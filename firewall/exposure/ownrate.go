package exposure

import (
	"slices"
	"strings"
)

// WithinRates is the answer for packets that keep within the rates of Portgrave's own rules. It
// omits ways that end at such a rate, unless another unknown makes them possible too.
func (a Answer) WithinRates() Answer {
	a.Pieces = slices.DeleteFunc(slices.Clone(a.Pieces), func(p Piece) bool {
		return !p.Outcome.Passes() && len(p.Unknowns) > 0 && p.DecidedBy.Rule != nil &&
			p.DecidedBy.Rule.Owner() == "portgrave" &&
			!slices.ContainsFunc(p.Unknowns, func(u Decider) bool { return !u.ownRate() })
	})
	for i, p := range a.Pieces {
		if slices.ContainsFunc(p.Unknowns, Decider.ownRate) { // else the list is shared
			a.Pieces[i].Unknowns = slices.DeleteFunc(slices.Clone(p.Unknowns), Decider.ownRate)
		}
	}
	return a
}

// assumedRates lists the rates that WithinRates takes a source to keep to.
func (a Answer) assumedRates(source Value) (list []string) {
	for _, p := range a.piecesOf(source) {
		if !p.Outcome.Passes() {
			continue
		}
		for _, u := range p.Unknowns {
			if !u.ownRate() || u.Chain == nil {
				continue
			}
			s := "the client keeps within the rate of chain " + u.Chain.Name
			if !slices.Contains(list, s) {
				list = append(list, s)
			}
		}
	}
	return list
}

// ownRate reports whether the unknown is a rate in one of Portgrave's own rules.
func (d Decider) ownRate() bool {
	if d.Rule == nil || d.Rule.Owner() != "portgrave" {
		return false
	}
	return slices.ContainsFunc(d.Rule.Statements, func(s Statement) bool {
		switch s := s.(type) {
		case SetUpdate:
			return s.Condition != ""
		case Match:
			return s.In != nil && s.In.Grows // the table of sources may be full
		case Unknown:
			return strings.Contains(s.Text, "limit")
		}
		return false
	})
}
