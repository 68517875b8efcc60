package audit

import (
	"slices"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// Bans: rules that refuse the sources in a set to which other rules add those that are too fast
// (nft's "limit rate over 10/minute add @denylist { ip saddr }"). They limit new connections of
// each source, as recent does in iptables, so the import writes the rate.

// rateBans gives look-ups of such sets the rate of the rules that add to them, if these are about
// the ports too.
func (s *survey) rateBans(doubts []exposure.Decider, ports firewall.PortRange) []exposure.Decider {
	out := slices.Clone(doubts)
	for i, d := range doubts {
		if d.Rate.Known() || d.Rule == nil || !refuses(d.Rule, 0) {
			continue
		}
		rate, adders, ok := s.banRate(d.Rule, ports)
		if !ok {
			continue
		}
		out[i].Rate = rate
		for _, r := range adders {
			by := exposure.Decider{Rule: r, Chain: r.Chain, Rate: rate}
			by.Rate.Over = refuses(r, 0) // it only records, if it doesn't refuse
			if !slices.ContainsFunc(doubts, func(d exposure.Decider) bool { return d.Rule == r }) {
				out = append(out, by)
			}
		}
	}
	return out
}

// banRate is the rate above which rules add a source to the set that a rule looks up, and these
// rules.
func (s *survey) banRate(
	looks *exposure.Rule,
	ports firewall.PortRange,
) (rate exposure.Rate, adders []*exposure.Rule, ok bool) {
	for _, st := range looks.Statements {
		m, is := st.(exposure.Match)
		if !is || m.In == nil || !m.In.Grows {
			continue
		}
		if rate.Known() || m.Not || len(m.Key) != 1 ||
			m.Key[0] != exposure.Of(exposure.FieldSource4) &&
				m.Key[0] != exposure.Of(exposure.FieldSource6) {
			return exposure.Rate{}, nil, false
		}
		found, same := s.adders(looks.Chain.Table, m)
		if !same {
			return exposure.Rate{}, nil, false
		}
		for _, r := range found {
			over := overRate(r)
			if !over.Known() || !about(r, ports) {
				return exposure.Rate{}, nil, false
			}
			if !rate.Known() || slower(policyRate(over), policyRate(rate)) {
				rate = over
			}
			adders = append(adders, r)
		}
	}
	return rate, adders, rate.Known()
}

// adders are the rules that add to the set of a look-up, without those that only renew an element.
// The rules of all tables count: an ipset belongs to none. same is false if a rule may add
// something else than what is looked up.
func (s *survey) adders(
	t *exposure.Table,
	looks exposure.Match,
) (rules []*exposure.Rule, same bool) {
	for _, r := range s.setUsers(looks.In.Name) {
		own := r.Chain.Table
		sameTable := own.System == t.System && own.Family == t.Family && own.Name == t.Name
		adds, renews := false, false
		for _, st := range r.Statements {
			switch st := st.(type) {
			case exposure.SetUpdate:
				if st.Set == nil || st.Set.Name != looks.In.Name || st.Op != exposure.SetAdd {
					continue
				}
				// A set of another table may have the same name; then this one's rate says nothing.
				if st.Set != looks.In && !sameTable || !slices.Equal(st.Key, looks.Key) {
					return nil, false
				}
				adds = true
			case exposure.Match:
				renews = renews || st.In != nil && st.In.Name == looks.In.Name && !st.Not &&
					slices.Equal(st.Key, looks.Key)
			}
		}
		if adds && !renews {
			rules = append(rules, r)
		}
	}
	return rules, true
}

// setUsers are the rules that update a set of a name.
func (s *survey) setUsers(name string) []*exposure.Rule {
	if known, ok := s.users.Load(name); ok {
		return known.([]*exposure.Rule)
	}
	var out []*exposure.Rule
	for _, t := range s.Rules.Tables {
		for _, c := range t.Chains {
			for _, r := range c.Rules {
				if slices.ContainsFunc(r.Statements, func(st exposure.Statement) bool {
					u, is := st.(exposure.SetUpdate)
					return is && u.Set != nil && u.Set.Name == name
				}) {
					out = append(out, r)
				}
			}
		}
	}
	s.users.Store(name, out)
	return out
}

// overRate is the rate above which a rule holds; the zero Rate if it isn't known.
func overRate(r *exposure.Rule) (rate exposure.Rate) {
	for _, s := range r.Statements {
		switch s := s.(type) {
		case exposure.Unknown:
			if rate = s.Rate; !rate.Over {
				return exposure.Rate{}
			}
		case exposure.SetUpdate:
			if s.Condition != "" && !s.Rate.Over {
				return exposure.Rate{}
			}
			if s.Rate.Over {
				rate = s.Rate
			}
		}
	}
	return rate
}

// about reports whether all packets to some ports may meet a rule's conditions on ports.
func about(r *exposure.Rule, ports firewall.PortRange) bool {
	if ofAnother(r, ports.Protocol) {
		return false
	}
	port := exposure.Number(uint64(ports.First)) // no rule distinguishes the others
	for _, s := range r.Statements {
		m, is := s.(exposure.Match)
		if is && len(m.Key) == 1 && m.Key[0] == exposure.Of(exposure.FieldDport) && m.In != nil &&
			column(m.In, 0).Contains(port) == m.Not {
			return false
		}
	}
	return true
}
