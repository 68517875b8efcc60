package audit

import (
	"slices"

	"github.com/portgrave/portgrave/firewall/exposure"
)

// reach is the sources that get to something, and who decided.
type reach struct {
	certain, possible sources
	// nowhere are the sources that no packet from outside can have: the host itself drops them whatever the rules say.
	nowhere sources
	// elsewhere are the sources whose packets get through to something else: where the port is published.
	elsewhere sources
	decided   []string
	targets   []string
	assumed   []string
}

// ask evaluates one question and keeps the ways that a function picks.
func (a *auditor) ask(e *exposure.Evaluator, q exposure.Question, picks func(exposure.Piece) bool) reach {
	answer, err := e.EvaluateWithin(q, a.budget)
	if err != nil {
		// A question made of a socket and an interface always makes sense; should it not, nothing is known.
		r := reach{decided: []string{err.Error()}}
		r.possible[slot(q.Family)] = exposure.AllSources(q.Family)
		return r
	}
	certain, possible := answer.Reach(picks)
	r := reach{assumed: answer.Assumed}
	n := slot(q.Family)
	r.certain[n], r.possible[n] = a.shared.once(certain), a.shared.once(possible)
	r.nowhere[n] = a.nowhere(answer, r.possible[n])
	passing := !possible.Empty()
	for _, p := range answer.Pieces {
		if p.Outcome.Passes() && !picks(p) {
			r.elsewhere[n] = r.elsewhere[n].Union(p.Sources)
		}
		if picks(p) == passing {
			r.decided = appendOnce(r.decided, Words(p.DecidedBy.Describe()))
		}
		if picks(p) {
			r.targets = appendOnce(r.targets, targetOf(p))
		}
		for _, u := range p.Unknowns {
			r.decided = appendOnce(r.decided, "unknown: "+Words(u.Describe()))
		}
	}
	return r
}

// add is the sources that get there by this way or that.
func (r *reach) add(o reach) {
	r.certain, r.possible, r.nowhere, r.elsewhere = r.certain.union(o.certain), r.possible.union(o.possible), r.nowhere.union(o.nowhere), r.elsewhere.union(o.elsewhere)
	for _, d := range o.decided {
		r.decided = appendOnce(r.decided, d)
	}
	for _, t := range o.targets {
		r.targets = appendOnce(r.targets, t)
	}
	for _, s := range o.assumed {
		r.assumed = appendOnce(r.assumed, s)
	}
}

// nowhere is what an answer has dropped of the sources that nobody can have: what the host itself drops,
// and its own addresses that rules of ours refuse. Nobody wants to read that everyone gets in but these.
// Only those count that lie beside sources that get through, so that none stands alone.
func (a *auditor) nowhere(answer exposure.Answer, passing exposure.Ranges) exposure.Ranges {
	var dropped exposure.Ranges
	for _, p := range answer.Pieces {
		if !p.Outcome.Passes() {
			dropped = dropped.Union(p.Sources.Intersect(a.unroutable[slot(answer.Question.Family)]))
		}
	}
	var out []exposure.Range
	for _, r := range dropped.List() {
		if passing.Touches(r) {
			out = append(out, r)
		}
	}
	return exposure.NewRanges(out...)
}

// maxNamed is how many deciders and targets a row names.
const maxNamed = 12

func appendOnce(list []string, s string) []string {
	if s == "" || slices.Contains(list, s) || len(list) == maxNamed {
		return list
	}
	return append(list, s)
}
