package exposure

import (
	"slices"

	"github.com/portgrave/portgrave/firewall/address"
)

// A connection needs more than its first packet and the answer. Rules that let in new connections
// and never established ones drop the client's next packet. That packet is followed only where no
// rule accepts established packets, as few rulesets lack one.

// LaterDropped begins the reason of a Decider that stops later packets.
const LaterDropped = "later packets of the connection are dropped: "

// LoseLater marks the answers of pieces as lost whose sources' later packets certainly don't get
// through. It does nothing where some rule accepts established packets, or none tells them apart.
func (e *Evaluator) LoseLater(a *Answer, b *Budget) {
	if e.laterPass(a.Question.Family) {
		return
	}
	q := a.Question
	q.later, q.Answers = true, NoAnswers
	later, err := e.EvaluateWithin(q, b)
	if err != nil {
		return
	}
	_, passing := later.Through()
	var out []Piece
	for _, p := range a.Pieces {
		lost := p.Sources.Minus(passing)
		if !p.Outcome.Passes() || p.Reply != nil && p.Reply.Lost || lost.Empty() {
			out = append(out, p)
			continue
		}
		for _, l := range later.Pieces {
			part := lost.Intersect(l.Sources)
			if part.Empty() {
				continue
			}
			lost = lost.Minus(part)
			by := l.DecidedBy
			by.Reason = LaterDropped + by.Reason
			stopped := p
			stopped.Sources, stopped.Reply = part, &Reply{Lost: true, By: by}
			out = append(out, stopped)
		}
		if p.Sources = p.Sources.Intersect(passing.Union(lost)); !p.Sources.Empty() {
			out = append(out, p)
		}
	}
	a.Pieces = out
}

// laterPass reports whether some rule accepts established packets, or may, or none tells them from
// new ones.
func (e *Evaluator) laterPass(f address.Family) bool {
	type key struct{ established address.Family }
	return e.remember(key{f}, func() any {
		w := &walk{e: e, q: Question{Family: f, later: true}, doubts: map[doubtKey]*doubt{}}
		w.limit, w.most, w.phase = e.maxWork, e.maxWork, afterConntrack
		tells := false
		for _, t := range e.rules.Tables {
			if t.Dormant || !t.Family.Sees(f) {
				continue
			}
			for _, c := range t.Chains {
				if slices.ContainsFunc(c.Rules, w.acceptsEstablished) {
					return true
				}
				tells = tells || slices.ContainsFunc(c.Rules, tellsLater)
			}
		}
		return !tells
	}).(bool)
}

func (w *walk) acceptsEstablished(r *Rule) bool {
	holds, reads := true, false
	for _, s := range r.Statements {
		switch s := s.(type) {
		case Match:
			if s.In == nil || len(s.Key) != 1 || s.Key[0].Field != FieldCTState {
				continue
			}
			reads = true
			f := flow{sources: AllSources(w.q.Family), packet: newPacket(w.q)}
			some := false
			for _, rd := range w.read(&f, s.Key) {
				in, perhaps := w.match(rd, w.e.prepareSet(s.In))
				some = some || !perhaps.Empty() || in.Empty() == s.Not
			}
			holds = holds && some
		case VerdictMap:
			if slices.ContainsFunc(s.Key, func(o Operand) bool { return o.Field == FieldCTState }) {
				return true
			}
		case Verdict:
			switch s.Kind {
			case VerdictDrop, VerdictReject, VerdictReturn:
			default: // accept, or another chain that may
				if reads && holds {
					return true
				}
			}
		}
	}
	return false
}

// tellsLater reports whether a rule may tell a connection's first packet from others.
func tellsLater(r *Rule) (tells bool) {
	for _, s := range r.Statements {
		lookedUp(s, func(key []Operand, _ *Set) {
			tells = tells || slices.ContainsFunc(key, func(o Operand) bool {
				switch o.Field {
				case FieldCTState, FieldCTStatus, FieldTCPFlags:
					return true
				}
				return false
			})
		})
	}
	return tells
}
