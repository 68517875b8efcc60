package audit

import (
	"slices"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// reach is the sources that get to a target, and what decided.
type reach struct {
	certain, possible sources
	// nowhere are the sources that no packet from outside can have: the host itself drops them.
	nowhere sources
	// elsewhere are the sources whose packets go to another target, where the port is published.
	elsewhere sources
	// unanswered are the sources whose packets certainly get there, but whose answer may be lost,
	// for protocols that don't need one. They are possible and not certain, though it isn't in
	// doubt that they get in.
	unanswered sources
	decided    []string
	// lost names what stops the answers to some sources.
	lost []string
	// unknown names what the difference between certain and possible depends on.
	unknown []string
	// otherUnknown: something of unknown isn't another program's rate.
	otherUnknown bool
	targets      []string
	assumed      []string
	work         int // of the answers, in steps
	asked        []asked
}

// asked is a question that was asked, and the ways that count.
type asked struct {
	evaluator *exposure.Evaluator
	question  exposure.Question
	picks     func(exposure.Piece) bool
}

// ask evaluates one question and keeps the ways that a function picks.
func (a *auditor) ask(
	e *exposure.Evaluator,
	q exposure.Question,
	picks func(exposure.Piece) bool,
) reach {
	answer, err := a.evaluate(e, q)
	if err != nil {
		// Questions about a socket and an interface are valid. If one isn't, nothing is known.
		r := reach{decided: []string{err.Error()}}
		r.possible[slot(q.Family)] = exposure.AllSources(q.Family)
		return r
	}
	certain, possible, unanswered := bounds(answer, picks)
	r := reach{assumed: answer.Assumed, work: answer.Work, asked: []asked{{e, q, picks}}}
	n := slot(q.Family)
	r.unanswered[n] = unanswered
	r.certain[n], r.possible[n] = a.shared.canonical(certain), a.shared.canonical(possible)
	r.nowhere[n] = a.nowhere(answer, r.possible[n])
	// What no client can have as its address is undecided for nobody.
	passing, open := !possible.Empty(), possible.Minus(certain).Minus(a.unroutable[n])
	// martian: only about sources that no client has
	var decided, martian, lost, unknown namedDeciders
	for _, p := range answer.Pieces {
		if p.Outcome.Passes() && !picks(p) {
			r.elsewhere[n] = r.elsewhere[n].Union(p.Sources)
		}
		answered := true
		if reply := p.Reply; picks(p) && reply != nil {
			if answered = !reply.Lost; reply.Lost && len(reply.Unknowns) == 0 &&
				!a.isNowhere(n, p.Sources) {
				lost.add(reply.By)
			}
			if unknown.wants(reply.Unknowns) && !open.Intersect(p.Sources).Empty() {
				unknown.add(reply.Unknowns...)
			}
		}
		if picks(p) == passing && (answered || !needsAnswer(q.Protocol)) {
			if a.isNowhere(n, p.Sources) {
				martian.add(p.DecidedBy)
			} else {
				decided.add(p.DecidedBy)
			}
		}
		if picks(p) {
			r.targets = appendTarget(r.targets, targetOf(p))
		}
		if unknown.wants(p.Unknowns) && !open.Intersect(p.Sources).Empty() {
			unknown.add(p.Unknowns...)
		}
	}
	r.decided, r.lost, r.unknown = decided.words, lost.words, unknown.words
	r.otherUnknown = unknown.notRate
	if r.decided == nil && r.lost == nil {
		r.decided = martian.words
	}
	return r
}

// evaluate answers a question, into the namespaces behind this host.
func (a *auditor) evaluate(e *exposure.Evaluator, q exposure.Question) (exposure.Answer, error) {
	answer, err := e.EvaluateWithin(q, a.budget)
	if err != nil {
		return answer, err
	}
	answer = answer.WithinRates()
	if needsAnswer(q.Protocol) {
		e.LoseLater(&answer, a.budget)
	}
	if e != a.untranslated {
		a.follow(&answer)
	}
	// This host's sockets don't answer what IPVS takes. Without translations, only packets matter.
	if e == a.untranslated || a.servedByIPVS(q.Protocol, q.Destination, q.Port) {
		for i := range answer.Pieces {
			answer.Pieces[i].Reply = nil
		}
	}
	return answer, nil
}

// stoppedBy names what stops packets of some sources, or loses the answers to them, and the programs
// whose rules these are, as far as they are known. It asks again for these sources alone, since what
// decides for others is beside the point.
func (a *auditor) stoppedBy(r reach, stopped sources) (words, owners []string) {
	var by, lost namedDeciders
	for _, x := range r.asked {
		x.question.Sources = stopped[slot(x.question.Family)]
		if x.question.Sources.Empty() {
			continue
		}
		answer, err := a.evaluate(x.evaluator, x.question)
		if err != nil {
			continue
		}
		for _, p := range answer.Pieces {
			switch {
			case !p.Outcome.Passes():
				by.add(p.DecidedBy)
				owners = appendOnce(owners, ownerOf(p.DecidedBy))
			case x.picks(p) && p.Reply != nil && p.Reply.Lost:
				lost.add(p.Reply.By)
				owners = appendOnce(owners, ownerOf(p.Reply.By))
			}
		}
	}
	for _, s := range lost.words {
		by.words = append(by.words, lostWords(s))
	}
	if len(by.words) == 0 {
		return r.decidedBy(), owners
	}
	return by.words, owners
}

// ownerOf is the program whose rules decided; "" if unknown. The policy of a chain that only one
// program has put rules in, such as ufw in INPUT, is taken for that program's.
func ownerOf(d exposure.Decider) string {
	if d.Owner() != "" || d.Rule != nil || d.Chain == nil || d.Chain.Base == nil {
		return d.Owner()
	}
	owner := ""
	for _, r := range d.Chain.Rules {
		switch o := r.Owner(); {
		case o == "" || o == "portgrave" || o == owner:
		case owner != "":
			return ""
		default:
			owner = o
		}
	}
	return owner
}

// lostWords says that something loses answers.
func lostWords(by string) string { return "answers are lost: " + by }

// needsAnswer reports whether packets of a protocol have no effect without an answer.
func needsAnswer(p firewall.Protocol) bool { return p == firewall.TCP || p == firewall.SCTP }

// bounds returns the sources that certainly, and those that possibly, get to a target. They are
// certain only if the answer gets out too. For protocols that don't need an answer, a packet that
// gets in makes its source possible even if the answer is lost.
func bounds(
	answer exposure.Answer,
	picks func(exposure.Piece) bool,
) (certain, possible, unanswered exposure.Ranges) {
	certain, possible = answer.Connects(picks)
	if !needsAnswer(answer.Question.Protocol) {
		var surely exposure.Ranges
		surely, possible = answer.Reach(picks)
		unanswered = surely.Minus(certain)
	}
	return certain, possible, unanswered
}

// surely are those of some possible sources that get there for certain, or but for a rate.
func (r *reach) surely(s sources) sources {
	if r.onlyRates() {
		return s
	}
	return s.intersect(r.certain.union(r.unanswered))
}

// undecided are the sources that may get there or not.
func (r *reach) undecided() sources { return r.possible.minus(r.certain).minus(r.unanswered) }

// decidedBy names what decided, what stops answers, and what can't be known: a rule that can't is
// named once.
func (r *reach) decidedBy() []string {
	out := []string{}
	for _, d := range r.decided {
		if !slices.Contains(r.unknown, d) {
			out = append(out, d)
		}
	}
	for _, l := range r.lost {
		out = append(out, lostWords(l))
	}
	for _, u := range r.unknown {
		out = append(out, "unknown: "+u)
	}
	return out
}

// isNowhere reports whether no client can have any of the sources. It is false for long lists.
func (a *auditor) isNowhere(family int, s exposure.Ranges) bool {
	return s.Len() <= fewAddresses && s.Minus(a.unroutable[family]).Empty()
}

// add joins the sources of another way to the target.
func (r *reach) add(o reach) {
	r.unanswered = r.unanswered.union(o.unanswered)
	r.certain, r.possible, r.nowhere, r.elsewhere = r.certain.union(
		o.certain,
	), r.possible.union(
		o.possible,
	), r.nowhere.union(
		o.nowhere,
	), r.elsewhere.union(
		o.elsewhere,
	)
	r.work += o.work
	r.otherUnknown = r.otherUnknown || o.otherUnknown
	r.asked = append(r.asked, o.asked...)
	for _, d := range o.decided {
		r.decided = appendOnce(r.decided, d)
	}
	for _, l := range o.lost {
		r.lost = appendOnce(r.lost, l)
	}
	for _, u := range o.unknown {
		r.unknown = appendOnce(r.unknown, u)
	}
	for _, t := range o.targets {
		r.targets = appendTarget(r.targets, t)
	}
	for _, s := range o.assumed {
		r.assumed = appendOnce(r.assumed, s)
	}
}

// nowhere returns the dropped sources that no client can have: those that the host itself drops,
// and its own addresses that Portgrave's rules refuse. A report that lists them as exceptions would
// be hard to read. Only sources adjacent to ones that get through count.
func (a *auditor) nowhere(answer exposure.Answer, passing exposure.Ranges) exposure.Ranges {
	var dropped exposure.Ranges
	for _, p := range answer.Pieces {
		if !p.Outcome.Passes() || p.Reply != nil && p.Reply.Lost {
			if in := p.Sources.Intersect(a.unroutable[slot(answer.Question.Family)]); !in.Empty() {
				dropped = dropped.Union(in)
			}
		}
	}
	var out []exposure.Range
	for r := range dropped.All() {
		if passing.Touches(r) {
			out = append(out, r)
		}
	}
	return exposure.NewRanges(out...)
}

const (
	// maxNamed is the most deciders that a row names.
	maxNamed = 12
	// maxTargets is the most targets that a row names; moreTargets follows them.
	maxTargets  = 64
	moreTargets = "and others"
)

func appendTarget(list []string, s string) []string {
	switch {
	case s == "" || slices.Contains(list, s) || len(list) > maxTargets:
		return list
	case len(list) == maxTargets:
		return append(list, moreTargets)
	}
	return append(list, s)
}

// namedDeciders are up to maxNamed deciders in words, each once. A question may have many
// thousands.
type namedDeciders struct {
	words []string
	seen  map[exposure.Decider]bool
	// notRate: one of them doesn't limit how often packets pass, or there were too many to look at.
	notRate bool
}

// wants reports whether any of the deciders would be added.
func (n *namedDeciders) wants(list []exposure.Decider) bool {
	return len(n.words) < maxNamed &&
		slices.ContainsFunc(list, func(d exposure.Decider) bool { return !n.seen[d] })
}

func (n *namedDeciders) add(list ...exposure.Decider) {
	for _, d := range list {
		if n.seen[d] {
			continue
		}
		n.notRate = n.notRate || !limitsRate(d) || len(n.words) == maxNamed-1
		if len(n.words) == maxNamed {
			continue
		}
		if n.seen == nil {
			n.seen = map[exposure.Decider]bool{}
		}
		n.seen[d] = true
		n.words = appendOnce(n.words, Words(d.Describe()))
	}
}

// limitsRate reports whether what a decider leaves open is only how often packets pass.
func limitsRate(d exposure.Decider) bool {
	return d.Rule != nil && d.Rate.Known() && (d.Rate.Records || d.Rate.Over == refuses(d.Rule, 0))
}

// onlyRates reports whether all that is undecided is how often sources get in.
func (r *reach) onlyRates() bool { return len(r.unknown) > 0 && !r.otherUnknown }

func appendOnce(list []string, s string) []string {
	if s == "" || slices.Contains(list, s) || len(list) == maxNamed {
		return list
	}
	return append(list, s)
}
