package exposure

// Place is where rules name a destination. Places are bits.
type Place uint8

const (
	PlaceBefore      Place = 1 << iota // before routing, when the packet may be for another machine
	PlaceTranslation                   // in chains of NAT before routing
	PlaceInput                         // at hook input, when it is for this host, and at output
	PlaceForward                       // at forward, when it is for another machine
	PlaceOut                           // on the way out, which says nothing about whose the address is
)

// placeOfPacket is where a base chain sees first packets; 0: it sees none.
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

// placeOfAnswer is where a base chain sees answers with the address that was dialled: in output, and
// on their way out. Chains of NAT see no answers.
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

// places tells of a table's chains from which places they are reached.
func places(t *Table, of func(*Base) Place) map[*Chain]Place {
	at := map[*Chain]Place{}
	var todo []*Chain
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
					for _, v := range s.In.Verdicts {
						reach(t.Chain(v.Chain), at[c])
					}
				}
			}
		}
	}
	return at
}

// portChanges are the ways in which rules may change the port that was dialled.
type portChanges struct {
	rewrites   bool // rules write to packets
	portOnly   bool // rules of NAT that leave the address
	translates bool // rules of NAT, or for transparent proxies
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
						out.portOnly = out.portOnly || port && s.Addr == nil && s.Kind == NATDestination
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

// before reports whether a base chain may see the address that was dialled with another port. Where
// NAT sets the address too, a packet that has the address has its port, but for packets to this host.
func (p portChanges) before(b *Base) bool {
	switch {
	case b.beforeNAT():
		return p.rewrites
	case b.Hook == HookInput || b.Hook == HookOutput:
		return p.rewrites || p.translates
	}
	return p.rewrites || p.portOnly
}

// beforeNAT reports whether a base chain sees no packet that NAT has sent elsewhere: before its own
// hook, and in it, since a packet that is translated meets no more of its rules.
func (b *Base) beforeNAT() bool {
	return b.Hook == HookIngress || b.Hook == HookPrerouting &&
		(b.Type == TypeNAT || b.EffectivePriority() < PriorityNATDestination)
}

// portField is where a packet has the port that was dialled.
func portField(answers bool) Field {
	if answers {
		return FieldSport
	}
	return FieldDport
}
