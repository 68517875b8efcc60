package exposure

import "slices"

// Who can't be found by ARP gets no IPv4 packet, and can't find this host either. Rules of the
// family arp aren't followed: where one may drop, packets may be lost. For those of netdev, see
// arpmessage.go.

// arpRules accounts for the rules that see messages of ARP on the question's link.
func (w *walk) arpRules(flows []flow) []flow {
	by := w.e.arp
	if by.Chain == nil {
		by = w.e.refusedARP(w.in, w.q.Interface)
	}
	if by.Chain == nil {
		return flows
	}
	var out []flow
	for _, f := range flows {
		out = append(out, w.perhapsLost(f, by)...)
	}
	return out
}

// arpDecider is the chain of ARP that may drop; the zero Decider if none may.
func (rs *Ruleset) arpDecider() Decider {
	for _, t := range rs.Tables {
		if t.Family != FamilyARP || t.Dormant {
			continue
		}
		drops := slices.ContainsFunc(t.Chains, func(c *Chain) bool {
			return slices.ContainsFunc(c.Rules, mayDropARP)
		})
		for _, c := range t.Chains {
			if c.Base != nil && (c.Base.Policy != VerdictAccept || drops && len(c.Rules) > 0) {
				return Decider{Chain: c, Reason: "rules of ARP aren't followed"}
			}
		}
	}
	return Decider{}
}

// mayDropARP reports whether a rule may drop, or change what is asked or answered.
func mayDropARP(r *Rule) bool {
	return slices.ContainsFunc(r.Statements, func(s Statement) bool {
		switch s := s.(type) {
		case Verdict:
			switch s.Kind {
			case VerdictDrop, VerdictReject, VerdictQueue, VerdictStolen:
				return true
			}
		case Unknown:
			return s.Effect
		case VerdictMap:
			return true
		case Assign:
			return s.To != FieldMark
		}
		return false
	})
}
