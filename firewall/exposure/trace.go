package exposure

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// oracle picks one way wherever there are several, so that a walk follows a single one and its steps come in order.
type oracle struct {
	picks, options []int // so far, and of how many
	next           int
	steps          []Step
	before         *doubt // the flow's doubts when it came to the rule that it is at
	dull           int    // steps that say "no match"
}

const (
	// maxWays bounds the ways that are told one by one; the verdict covers all of them anyhow.
	maxWays = 32
	// maxSteps bounds the steps of all ways together.
	maxSteps = 10_000
	// maxDull bounds the steps that only say that a rule didn't match.
	maxDull = 500
)

// pick is which of n ways to follow; −1 for all of them.
func (w *walk) pick(n int) int {
	o := w.oracle
	if o == nil || n < 2 {
		return -1
	}
	if o.next == len(o.picks) {
		o.picks, o.options = append(o.picks, 0), append(o.options, n)
	}
	o.next++
	return o.picks[o.next-1]
}

// another moves on to the next way; false if there is none.
func (o *oracle) another() bool {
	for n := len(o.picks) - 1; n >= 0; n-- {
		if o.picks[n]+1 < o.options[n] {
			o.picks, o.options = o.picks[:n+1], o.options[:n+1]
			o.picks[n]++
			o.next, o.steps, o.before, o.dull = 0, nil, nil, 0
			return true
		}
	}
	return false
}

// Explain is NewEvaluator and Evaluator.Explain, for a single packet.
func Explain(rs *Ruleset, host *Host, q Question, source netip.Addr) (Explanation, error) {
	return NewEvaluator(rs, host).Explain(q, source)
}

// Explain follows one source's packet and tells each step: the policies and routing decisions, the rules that matched or may have, and those that
// didn't though they are about the packet's port, protocol and interface. Who listens is for the caller to add. The error is for a question that makes no sense.
func (e *Evaluator) Explain(q Question, source netip.Addr) (Explanation, error) {
	q.Sources = NewRanges(One(Address(source)))
	if !source.IsValid() || source.Is4() != (addressWidth(q.Family) == 32) {
		return Explanation{}, fmt.Errorf("exposure: the source %v is no %v address", source, q.Family)
	}
	a, err := e.Evaluate(q)
	if err != nil {
		return Explanation{}, err
	}
	x := a.WithinRates().explanation(Address(source))
	o := &oracle{}
	var last []Step
	work := 0
	for way := 0; ; way++ {
		if way == maxWays {
			x.Assumed = append(x.Assumed, fmt.Sprintf("there are more ways than the %d told here", maxWays))
			break
		}
		w := e.newWalk(q)
		w.oracle, w.work = o, work
		w.run()
		if work = w.work; w.tooFar || len(x.Steps)+len(o.steps) > maxSteps {
			x.Assumed = append(x.Assumed, tooComplex)
			break
		}
		// What this way has in common with the one before has been told.
		common := 0
		for common < len(last) && common < len(o.steps) && last[common] == o.steps[common] {
			common++
		}
		for _, s := range o.steps[common:] {
			s.Way = way
			x.Steps = append(x.Steps, s)
		}
		last = o.steps
		if !o.another() {
			break
		}
	}
	return x, nil
}

// explanation is what an answer says of one source.
func (a Answer) explanation(source Value) Explanation {
	x := Explanation{Verdict: "unknown", Assumed: slices.Clone(a.Assumed), Steps: []Step{}}
	var unknowns []Decider
	var targets []netip.AddrPort
	through, stopped := -1, -1
	for i, p := range a.Pieces {
		if !p.Sources.Contains(source) {
			continue
		}
		if p.Outcome.Passes() {
			through = i
			if !slices.Contains(targets, p.Target) {
				targets = append(targets, p.Target)
			}
		} else if stopped < 0 {
			stopped = i
		}
		for _, u := range p.Unknowns {
			if !slices.Contains(unknowns, u) {
				unknowns = append(unknowns, u)
			}
		}
	}
	switch {
	case stopped < 0 && through >= 0:
		x.Verdict, x.DecidedBy = "allow", a.Pieces[through].DecidedBy.Describe()
	case through < 0 && stopped >= 0:
		x.Verdict, x.DecidedBy = "deny", a.Pieces[stopped].DecidedBy.Describe()
	case len(unknowns) > 0:
		x.DecidedBy = unknowns[0].Describe()
	}
	if x.Verdict == "unknown" {
		for _, u := range unknowns {
			x.Unknowns = append(x.Unknowns, u.Describe())
		}
	}
	x.replies(a, source)
	if len(targets) == 1 && targets[0].IsValid() {
		x.Target = targets[0].String()
	} else if len(targets) == 1 && targets[0].Port() != 0 {
		x.Target = fmt.Sprintf(":%d", targets[0].Port())
	}
	return x
}

// replies adds where the packet may end up, and what becomes of the answer.
func (x *Explanation) replies(a Answer, source Value) {
	x.Targets = a.targets(source)
	var all []*Reply
	for _, p := range a.Pieces {
		if p.Sources.Contains(source) && p.Outcome.Passes() && p.Reply != nil {
			all = append(all, p.Reply)
		}
	}
	if len(all) > 0 {
		r := repliesOf(all, a.Question.Family, source)
		x.Replies = &r
	}
	if x.Targets == nil {
		x.Targets = []Target{}
	}
}

// step notes a policy, or without a chain a decision that no rule made.
func (w *walk) step(f *flow, c *chain, effect string, t Tri) {
	o := w.oracle
	if o == nil || f.sources.Empty() {
		return
	}
	s := Step{Hook: w.hook.String(), Family: familyOf(w.q).String(), Effect: effect, Match: t}
	if w.routing {
		s.Hook = "routing"
	}
	if c != nil {
		s.Family, s.Table, s.Chain, s.Owner = c.Table.Family.String(), c.Table.Name, c.Name, c.Owner()
		s.File, s.Line = c.Origin.File, c.Origin.Line
	}
	w.note(s)
}

// note keeps a step, and stops a walk that has too many.
func (w *walk) note(s Step) {
	s.Reply = w.reply != nil
	w.oracle.steps = append(w.oracle.steps, s)
	w.tooFar = w.tooFar || len(w.oracle.steps) > maxSteps
}

func familyOf(q Question) Family {
	if addressWidth(q.Family) == 32 {
		return FamilyIPv4
	}
	return FamilyIPv6
}

// ruleStep notes a rule that was looked at.
func (w *walk) ruleStep(f *flow, c *chain, r *rule, effect string, t Tri) {
	o := w.oracle
	if o == nil || f.sources.Empty() {
		return
	}
	if t == No {
		if o.dull++; o.dull > maxDull {
			return
		}
	} else {
		effect = "match: " + r.effects(f, effect)
	}
	if f.doubts != o.before && f.doubts != nil && f.doubts.by.Rule == r.Rule {
		if t == No {
			effect = "may match, here not: " + f.doubts.by.Reason
		} else {
			effect = "may " + effect + " (" + f.doubts.by.Reason + ")"
		}
		t = Maybe
	}
	text := r.Text
	if text == "" {
		text = fmt.Sprintf("rule %d", r.Number)
	}
	w.note(Step{Hook: w.hook.String(), Family: c.Table.Family.String(), Table: c.Table.Name, Chain: c.Name, Rule: text, Effect: effect,
		Owner: r.Owner(), Handle: r.Handle, File: r.Origin.File, Line: r.Origin.Line, Match: t})
}

// effects is what a rule has done to a packet that matched it.
func (r *rule) effects(f *flow, verdict string) string {
	var out []string
	for _, s := range r.Statements {
		switch s := s.(type) {
		case Assign:
			switch b := f.packet.mark; {
			case s.To == FieldMark && b.Known == Ones(32):
				out = append(out, "mark "+b.Value.String())
			case s.To == FieldCTMark && f.packet.ctMark.Known == Ones(32):
				out = append(out, "ct mark "+f.packet.ctMark.Value.String())
			default:
				out = append(out, s.To.String()+" set")
			}
		case NoTrack:
			out = append(out, "notrack")
		case TProxy:
			out = append(out, "tproxy")
		}
	}
	if verdict == "" && len(out) == 0 {
		verdict = "goes on"
	}
	if verdict != "" {
		out = append(out, verdict)
	}
	return strings.Join(out, ", ")
}
