package exposure

// Place is where on a packet's way a rule names a destination. Places are bits.
type Place uint8

const (
	PlaceBefore      Place = 1 << iota // before routing, for this host or another machine
	PlaceTranslation                   // in NAT chains before routing
	PlaceInput                         // at input, for this host, and at output
	PlaceForward                       // at forward, for another machine
	PlaceOut                           // on the way out, for addresses of any host
)

// placeOfPacket is where a base chain sees first packets; 0 if it doesn't.
func placeOfPacket(b *Base) Place {
	switch b.Hook {
	case HookIngress, HookPrerouting:
		if b.Type == TypeNAT {
			return PlaceTranslation
		}
		return PlaceBefore
	case HookInput:
		return PlaceInput
	case HookForward:
		return PlaceForward
	case HookPostrouting, HookEgress:
		return PlaceOut
	}
	return 0
}

// placeOfAnswer is where a base chain sees answers from the dialled address: at output and on their
// way out; 0 if it doesn't. NAT chains don't see answers.
func placeOfAnswer(b *Base) Place {
	switch {
	case b.Type == TypeNAT:
		return 0
	case b.Hook == HookOutput:
		return PlaceInput
	case b.Hook == HookPostrouting || b.Hook == HookEgress:
		return PlaceOut
	}
	return 0
}

// places returns the places from which a table's chains are reached.
func places(t *Table, of func(*Base) Place) map[*Chain]Place {
	at := map[*Chain]Place{}
	var todo []*Chain
	verdicts := verdictLists{}
	reach := func(c *Chain, p Place) {
		if c != nil && at[c]|p != at[c] {
			at[c] |= p
			todo = append(todo, c)
		}
	}
	for _, c := range t.Chains {
		if c.Base != nil {
			reach(c, of(c.Base))
		}
	}
	for len(todo) > 0 {
		c := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, r := range c.Rules {
			for _, s := range r.Statements {
				switch s := s.(type) {
				case Verdict:
					reach(t.Chain(s.Chain), at[c])
				case VerdictMap:
					for _, v := range verdicts.of(s.In) {
						reach(t.Chain(v.Chain), at[c])
					}
				}
			}
		}
	}
	return at
}

// portChanges says how rules may change the dialled port.
type portChanges struct {
	rewrites   bool // rules write to packets
	portOnly   bool // NAT rules that keep the address
	translates bool // NAT rules, or rules for transparent proxies
}

func changesPorts(rs *Ruleset) (out portChanges) {
	for _, t := range rs.Tables {
		for _, c := range t.Chains {
			for _, r := range c.Rules {
				for _, s := range r.Statements {
					switch s := s.(type) {
					case NAT:
						port := s.Port != nil && s.Kind != NATSource
						out.translates = out.translates || port
						out.portOnly = out.portOnly || port && s.Addr == nil &&
							s.Kind == NATDestination
					case TProxy:
						out.translates = true
					case Assign:
						out.rewrites = out.rewrites || s.To == FieldDport || s.To == FieldRaw
					}
				}
			}
		}
	}
	return out
}

// before reports whether a base chain may see the dialled address with another port. If NAT sets
// the address too, a packet with the dialled address has the dialled port, except packets to this
// host.
func (p portChanges) before(b *Base) bool {
	switch {
	case b.beforeNAT():
		return p.rewrites
	case b.Hook == HookInput || b.Hook == HookOutput:
		return p.rewrites || p.translates
	}
	return p.rewrites || p.portOnly
}

// beforeNAT reports whether a base chain runs before any translation: before the NAT hook, or in
// it, since a translated packet skips the hook's other rules.
func (b *Base) beforeNAT() bool {
	return b.Hook == HookIngress || b.Hook == HookPrerouting &&
		(b.Type == TypeNAT || b.EffectivePriority() < PriorityNATDestination)
}

// portField is the field that holds the dialled port.
func portField(answers bool) Field {
	if answers {
		return FieldSport
	}
	return FieldDport
}

// RulesFrom returns the rules that some base chains lead to, in the order of the tables.
func (rs *Ruleset) RulesFrom(picks func(*Base) bool) (out []*Rule) {
	for _, t := range rs.Tables {
		if t.Dormant {
			continue
		}
		at := places(t, func(b *Base) (p Place) {
			if picks(b) {
				p = 1
			}
			return p
		})
		for _, c := range t.Chains {
			if at[c] != 0 {
				out = append(out, c.Rules...)
			}
		}
	}
	return out
}
