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
		for _, r := range s.adders(looks.Chain.Table, m.In.Name) {
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

// setKey is a set's place: sets of one name in a table are one.
type setKey struct {
	system exposure.System
	family exposure.Family
	table  string
	set    string
}

// adders are the rules of a table that add to a set, without those that only renew an element.
func (s *survey) adders(t *exposure.Table, set string) []*exposure.Rule {
	k := setKey{t.System, t.Family, t.Name, set}
	if known, ok := s.added.Load(k); ok {
		return known.([]*exposure.Rule)
	}
	out := s.findAdders(t, set)
	s.added.Store(k, out)
	return out
}

func (s *survey) findAdders(t *exposure.Table, set string) (out []*exposure.Rule) {
	named := func(in *exposure.Set) bool { return in != nil && in.Name == set }
	for _, x := range s.Rules.Tables {
		if x.Family != t.Family || x.Name != t.Name || x.System != t.System {
			continue
		}
		for _, c := range x.Chains {
			for _, r := range c.Rules {
				adds, looks := false, false
				for _, st := range r.Statements {
					switch st := st.(type) {
					case exposure.SetUpdate:
						adds = adds || named(st.Set) && st.Op == exposure.SetAdd
					case exposure.Match:
						looks = looks || named(st.In) && !st.Not
					}
				}
				if adds && !looks {
					out = append(out, r)
				}
			}
		}
	}
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
