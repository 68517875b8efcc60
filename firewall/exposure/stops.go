package exposure

import (
	"slices"

	"github.com/portgrave/portgrave/firewall/address"
)

// MayStopAnswers reports whether a rule at output or a later hook may stop an answer of this host.
func (e *Evaluator) MayStopAnswers(f address.Family) bool {
	type key struct{ mayStop address.Family }
	return e.remember(key{f}, func() any {
		for _, t := range e.rules.Tables {
			if t.Dormant || !t.Family.Sees(f) && t.Family != FamilyNetdev {
				continue
			}
			at := places(t, placeOfAnswer)
			verdicts := verdictLists{}
			for _, c := range t.Chains {
				if at[c] != 0 && c.mayStop(verdicts) {
					return true
				}
			}
		}
		return false
	}).(bool)
}

// mayStop reports whether a chain has a verdict or an unknown effect that may stop a packet.
func (c *Chain) mayStop(verdicts verdictLists) bool {
	if c.Base != nil && c.Base.Policy != VerdictAccept {
		return true
	}
	return slices.ContainsFunc(c.Rules, func(r *Rule) bool {
		return slices.ContainsFunc(r.Statements, func(s Statement) bool {
			switch s := s.(type) {
			case Verdict:
				return !goesOn(s.Kind)
			case VerdictMap:
				return slices.ContainsFunc(verdicts.of(s.In), func(v Verdict) bool {
					return !goesOn(v.Kind)
				})
			case Unknown:
				return s.Effect
			}
			return false
		})
	})
}

// goesOn reports whether a packet continues after a verdict.
func goesOn(k VerdictKind) bool {
	switch k {
	case VerdictAccept, VerdictContinue, VerdictReturn, VerdictJump, VerdictGoto:
		return true
	}
	return false
}
