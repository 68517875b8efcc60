package exposure

import (
	"slices"

	"github.com/portgrave/portgrave/firewall/address"
)

// Who can't be found by ARP gets no IPv4 packet, and can't find this host either. Rules of ARP
// aren't followed: where one may drop, packets may be lost.

// arpRules accounts for the rules of ARP at interfaces that use it.
func (w *walk) arpRules(flows []flow) []flow {
	by := w.e.arp
	if w.q.Family != address.IPv4 || by.Chain == nil ||
		w.in != nil && (w.in.Loopback || w.in.Tunnel()) {
		return flows
	}
	var out []flow
	for _, f := range flows {
		pick := w.pick(2)
		w.step(&f, nil, "may be lost: "+by.Reason, Maybe)
		if pick != 0 {
			drop := f
			drop.doubts = w.doubt(f.doubts, by, 1)
			w.finish(drop, Dropped, by)
		}
		if pick != 1 {
			f.doubts = w.doubt(f.doubts, by, 0)
			out = append(out, f)
		}
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
