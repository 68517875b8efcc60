package exposure

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// wayPicker picks one of several ways, so that a walk follows a single way and its steps are in
// order.
type wayPicker struct {
	picks, options []int // the picks so far, and the number of options of each
	next           int
	steps          []Step
	before         *doubt // the flow's doubts at the start of the current rule
	misses         int    // steps that say "no match"
	// ordinary: only ways of ordinary packets are followed, as those decide the verdict.
	ordinary bool
}

const (
	// maxWays bounds the ways whose steps are listed. The verdict covers all ways.
	maxWays = 32
	// maxSteps bounds the steps of all ways together.
	maxSteps = 10_000
	// maxMisses bounds the steps of rules that didn't match.
	maxMisses = 500
)

// pick returns which of n ways to follow; −1 for all.
func (w *walk) pick(n int) int {
	o := w.picker
	if o == nil || n < 2 {
		return -1
	}
	if o.next == len(o.picks) {
		o.picks, o.options = append(o.picks, 0), append(o.options, n)
	}
	o.next++
	return o.picks[o.next-1]
}

// nextWay moves on to the next way. It is false after the last one.
func (o *wayPicker) nextWay() bool {
	for n := len(o.picks) - 1; n >= 0; n-- {
		if o.picks[n]+1 < o.options[n] {
			o.picks, o.options = o.picks[:n+1], o.options[:n+1]
			o.picks[n]++
			o.next, o.steps, o.before, o.misses = 0, nil, nil, 0
			return true
		}
	}
	return false
}

// Explain follows one source's packet and lists each step: policies, routing decisions, rules that
// matched or may have, and rules that didn't although they concern the packet's port, protocol and
// interface. The caller adds the listener. It returns an error for a question that no packet can
// be.
func (e *Evaluator) Explain(q Question, source netip.Addr) (Explanation, error) {
	q.Sources = NewRanges(One(Address(source)))
	if !source.IsValid() || source.Is4() != (addressWidth(q.Family) == 32) {
		return Explanation{}, fmt.Errorf(
			"exposure: the source %v is no %v address",
			source,
			q.Family,
		)
	}
	a, err := e.Evaluate(q)
	if err != nil {
		return Explanation{}, err
	}
	x := a.WithinRates().explanation(Address(source))
	x.Assumed = append(x.Assumed, a.assumedRates(Address(source))...)
	o := &wayPicker{ordinary: x.Verdict != "unknown"}
	var last []Step
	work := 0
	for way := 0; ; way++ {
		if way == maxWays {
			x.Assumed = append(
				x.Assumed, fmt.Sprintf("there are more ways than the %d told here", maxWays),
			)
			break
		}
		w := e.newWalk(q)
		w.picker, w.work = o, work
		w.run()
		x.WayTargets = append(x.WayTargets, w.targetOfWay())
		if work = w.work; w.tooFar || len(x.Steps)+len(o.steps) > maxSteps {
			x.Assumed = append(x.Assumed, tooComplex)
			break
		}
		// Steps in common with the way before are already listed.
		common := 0
		for common < len(last) && common < len(o.steps) && last[common] == o.steps[common] {
			common++
		}
		for _, s := range o.steps[common:] {
			s.Way = way
			x.Steps = append(x.Steps, s)
		}
		last = o.steps
		if !o.nextWay() {
			break
		}
	}
	return x, nil
}

// targetOfWay is the target of a walk that followed a single way; nil if the packet was stopped.
func (w *walk) targetOfWay() *netip.AddrPort {
	for _, e := range w.ended {
		if e.outcome.Passes() {
			t := e.packet.target(w.q, e.outcome == Delivered)
			return &t
		}
	}
	return nil
}

// AddStep adds what the caller knows of a target to the ways that lead there, or else to those
// whose target isn't known: behind the packet's steps, before those of its answer. last: nothing
// comes after it.
func (x *Explanation) AddStep(target netip.AddrPort, s Step, last bool) {
	if !slices.ContainsFunc(x.WayTargets, func(t *netip.AddrPort) bool {
		return t != nil && *t == target
	}) {
		target = netip.AddrPort{}
	}
	for way, t := range x.WayTargets {
		if t == nil || *t != target {
			continue
		}
		at := -1
		for i, before := range x.Steps {
			if before.Way == way && !before.Reply {
				at = i + 1
			}
		}
		if at < 0 { // it differs from the way before in the answer alone
			if last {
				x.Steps = slices.DeleteFunc(x.Steps, func(s Step) bool { return s.Way == way })
			}
			continue
		}
		s.Way = way
		x.Steps = slices.Insert(x.Steps, at, s)
		end := at + 1
		for last && end < len(x.Steps) && x.Steps[end].Way == way {
			end++
		}
		x.Steps = slices.Delete(x.Steps, at+1, end)
	}
}

// explanation is the part of an answer about one source.
func (a Answer) explanation(source Value) Explanation {
	x := Explanation{Verdict: "unknown", Assumed: slices.Clone(a.Assumed), Steps: []Step{}}
	var unknowns []Decider
	var targets []netip.AddrPort
	through, stopped := -1, -1 // the first of each
	pieces := a.piecesOf(source)
	for i, p := range pieces {
		if p.Outcome.Passes() {
			if through < 0 {
				through = i
			}
			if !slices.Contains(targets, p.Target) {
				targets = append(targets, p.Target)
			}
		} else {
			if stopped < 0 {
				stopped = i
			}
			x.Strays = x.Strays || !p.Translated || !p.Target.IsValid()
		}
		for _, u := range p.Unknowns {
			if !slices.Contains(unknowns, u) {
				unknowns = append(unknowns, u)
			}
		}
	}
	switch {
	case stopped < 0 && through >= 0:
		x.Verdict, x.DecidedBy = "allow", pieces[through].DecidedBy.Describe()
	case through < 0 && stopped >= 0:
		x.Verdict, x.DecidedBy = "deny", pieces[stopped].DecidedBy.Describe()
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

// replies adds where the packet may end up, and the outcome of the answer.
func (x *Explanation) replies(a Answer, source Value) {
	x.Targets = a.targets(source)
	var all []*Reply
	for _, p := range a.piecesOf(source) {
		if p.Outcome.Passes() && p.Reply != nil {
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

// step records a policy or, without a chain, a decision of the host itself.
func (w *walk) step(f *flow, c *chain, effect string, t Tri) {
	o := w.picker
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

// note adds a step, and stops a walk with too many.
func (w *walk) note(s Step) {
	s.Reply = w.reply != nil
	w.picker.steps = append(w.picker.steps, s)
	w.tooFar = w.tooFar || len(w.picker.steps) > maxSteps
}

func familyOf(q Question) Family {
	if addressWidth(q.Family) == 32 {
		return FamilyIPv4
	}
	return FamilyIPv6
}

// ruleStep records a rule that was evaluated.
func (w *walk) ruleStep(f *flow, c *chain, r *rule, effect string, t Tri) {
	o := w.picker
	if o == nil || f.sources.Empty() {
		return
	}
	if t == No {
		if o.misses++; o.misses > maxMisses {
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
	w.note(
		Step{
			Hook:   w.hook.String(),
			Family: c.Table.Family.String(),
			Table:  c.Table.Name,
			Chain:  c.Name,
			Rule:   text,
			Effect: effect,
			Owner:  r.Owner(),
			Handle: r.Handle,
			File:   r.Origin.File,
			Line:   r.Origin.Line,
			Match:  t,
		},
	)
}

// effects describes what a rule did to a packet that matched it.
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
