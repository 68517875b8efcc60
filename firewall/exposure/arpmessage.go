package exposure

import "slices"

// Chains of the family netdev see the messages of ARP too. One that drops them keeps a neighbour
// from finding this host, or this host from finding a neighbour.
//
// A message of ARP has no IP header, no ports and no connection, so few fields of it can be read.
// What else a rule reads may hold or not. Only whether a message may be dropped is asked for.

const (
	etherARP = 0x0806

	// RefusesARP is part of the reason of a Decider that may drop messages of ARP.
	RefusesARP = "refuses ARP"
)

// arpMessage is a message of ARP at one hook of a family.
type arpMessage struct {
	e    *Evaluator
	hook Hook
	on   *Interface // nil if unknown, and without a host
	name string     // its name; "" if unknown
	// below: the device may be one below the interface: a bridge's port, or a VLAN's device.
	below bool
	// marks: a rule may have set the mark.
	marks bool
	// passed are the chains that were run, or are running.
	passed   map[*Chain]arpEnd
	verdicts verdictLists
}

// arpEnd is how a message may leave a chain.
type arpEnd struct {
	falls bool    // it may return to where it came from
	drop  Decider // what may drop it; without a chain if nothing does
}

// refusedARP is the first chain or rule that may drop messages of ARP at an interface; the zero
// Decider if none may.
func (e *Evaluator) refusedARP(on *Interface, name string) Decider {
	if e.neighboursKnown || !e.seesARP {
		return Decider{}
	}
	type key struct{ arpAt string }
	return e.remember(key{name}, func() any {
		for _, hook := range []Hook{HookIngress, HookEgress} {
			for _, t := range e.rules.Tables {
				if t.Family != FamilyNetdev || t.Dormant {
					continue
				}
				at := &arpMessage{e: e, hook: hook, on: on, name: name, marks: e.marksARP,
					passed: map[*Chain]arpEnd{}, verdicts: verdictLists{}}
				below := *at
				below.below, below.passed = true, map[*Chain]arpEnd{}
				for _, c := range t.Chains {
					if c.Base == nil || c.Base.Hook != hook {
						continue
					}
					m := at
					if name != "" {
						switch e.onDevice(c, on, name) {
						case No:
							continue
						case Maybe:
							m = &below
						}
					}
					if by := m.atBase(t, c); by.Chain != nil {
						return by
					}
				}
			}
		}
		return Decider{}
	}).(Decider)
}

// findARP looks for chains that see messages of ARP, and for rules that set their marks.
func (e *Evaluator) findARP() {
	for _, t := range e.rules.Tables {
		netdev := t.Family == FamilyNetdev
		if t.Dormant || !netdev && t.Family != FamilyARP && t.Family != FamilyBridge {
			continue
		}
		for _, c := range t.Chains {
			e.seesARP = e.seesARP || netdev && c.Base != nil
			e.marksARP = e.marksARP || slices.ContainsFunc(c.Rules, func(r *Rule) bool {
				return slices.ContainsFunc(r.Statements, func(s Statement) bool {
					switch s := s.(type) {
					case Assign:
						return s.To == FieldMark
					case Unknown: // of netdev, it ends the look
						return s.Effect && !netdev
					}
					return false
				})
			})
		}
	}
}

// atBase is what of a base chain may drop the message.
func (m *arpMessage) atBase(t *Table, c *Chain) Decider {
	end := m.run(t, c, 0)
	if end.drop.Chain == nil && end.falls && c.Base.Policy != VerdictAccept {
		end.drop = Decider{Chain: c, Reason: "policy " + c.Base.Policy.String()}
	}
	if by := end.drop; by.Chain != nil {
		by.Reason += ": " + RefusesARP
		if m.name != "" {
			by.Reason += " on " + m.name
		}
		by.Reason += ", so hosts that aren't in the neighbour cache can't connect"
		return by
	}
	return Decider{}
}

// run runs a chain.
func (m *arpMessage) run(t *Table, c *Chain, depth int) arpEnd {
	if c == nil || depth > maxDepth {
		return arpEnd{falls: true}
	}
	if end, ok := m.passed[c]; ok {
		return end
	}
	m.passed[c] = arpEnd{falls: true} // for a jump in a circle
	end := m.runRules(t, c, depth)
	m.passed[c] = end
	return end
}

func (m *arpMessage) runRules(t *Table, c *Chain, depth int) (end arpEnd) {
	for _, r := range c.Rules {
		goesOn, ends := m.runRule(t, r, depth)
		end.falls = end.falls || ends.falls
		if ends.drop.Chain != nil {
			end.drop = ends.drop
			return end
		}
		if !goesOn {
			return end
		}
	}
	end.falls = true
	return end
}

// runRule runs a rule. It reports whether the message may go on with the next one.
func (m *arpMessage) runRule(t *Table, r *Rule, depth int) (goesOn bool, end arpEnd) {
	holds := Yes
	drop := func(what string) {
		end.drop = Decider{Rule: r, Chain: r.Chain, Reason: what}
	}
	for _, s := range r.Statements {
		switch s := s.(type) {
		case Match:
			holds = holds.And(m.matches(s.Key, s.In, s.Not))
		case Unknown:
			if s.Effect {
				drop(s.Text)
				return true, end
			}
			holds = holds.And(Maybe)
		case SetUpdate:
			holds = holds.And(Maybe) // its key may be absent
		case Assign:
			if s.To != FieldMark { // what is asked or answered changes
				drop("changes the message")
				return true, end
			}
			holds = holds.And(Maybe)
		case NoEffect:
			if s.Header {
				drop("changes the message")
				return true, end
			}
		case TProxy, NAT:
			holds = holds.And(Maybe)
		case Verdict:
			stays, leaves := m.verdict(t, r, s, depth)
			end.falls = end.falls || leaves.falls
			end.drop = leaves.drop
			if s.Kind == VerdictContinue {
				continue
			}
			return stays || holds != Yes, end
		case VerdictMap:
			known, verdicts := m.verdictsOf(s)
			if known != No && !m.listsAll(s) {
				drop("the map's verdicts aren't known")
				return true, end
			}
			goesOn = known != Yes
			for _, v := range verdicts {
				stays, leaves := m.verdict(t, r, v, depth)
				goesOn = goesOn || stays
				end.falls = end.falls || leaves.falls
				if leaves.drop.Chain != nil {
					end.drop = leaves.drop
				}
			}
			if known == Yes && !goesOn && holds == Yes {
				return false, end
			}
			holds = holds.And(Maybe)
		}
		if holds == No {
			break
		}
	}
	return true, end
}

// verdict applies a verdict. It reports whether the message may go on with the next rule.
func (m *arpMessage) verdict(t *Table, r *Rule, v Verdict, depth int) (goesOn bool, end arpEnd) {
	switch v.Kind {
	case VerdictContinue:
		return true, end
	case VerdictAccept:
		return false, end
	case VerdictReturn:
		return false, arpEnd{falls: true}
	case VerdictJump, VerdictGoto:
		end = m.run(t, t.Chain(v.Chain), depth+1)
		if v.Kind == VerdictJump {
			goesOn, end.falls = end.falls, false
		}
		return goesOn, end
	}
	end.drop = Decider{Rule: r, Chain: r.Chain, Reason: v.String()}
	return false, end
}

// verdictsOf are the verdicts that the message may get from a map, and whether it gets one. An
// element with a condition, or one that packets may remove, may not be found.
func (m *arpMessage) verdictsOf(s VerdictMap) (Tri, []Verdict) {
	if s.In == nil {
		return Maybe, nil
	}
	all := m.verdicts.of(s.In)
	switch found := m.matches(s.Key, s.In, false); {
	case m.surelyAbsent(s.Key):
		return No, nil
	case found == No && s.In.Default:
		known := Yes
		if m.absent(s.Key) {
			known = Maybe
		}
		return known, s.In.Verdicts[s.In.Len():]
	case found == No:
		return No, nil
	case !m.listsAll(s), s.In.Shrinks, s.In.Len() > maxPlain, m.absent(s.Key):
		return Maybe, all
	}
	known := No
	var out []Verdict
	for i, box := range s.In.All() {
		t := m.inBox(s.Key, box)
		if s.In.Notes[i].Condition != "" {
			t = t.And(Maybe)
		}
		if t != No && known != Yes {
			out, known = append(out, s.In.Verdicts[i]), known.Or(t)
		}
	}
	if known != Yes && s.In.Default {
		out = append(out, s.In.Verdicts[s.In.Len()])
	}
	return known, out
}

// listsAll reports whether a map's verdicts are all that the message may get from it.
func (m *arpMessage) listsAll(s VerdictMap) bool {
	return s.In != nil && s.In.Unknown == "" && !s.In.Grows && s.In.Width == len(s.Key) &&
		!m.e.peekSet(s.In).broken
}

// surelyAbsent reports whether a part of a key is absent, so that its look-up ends the rule.
func (m *arpMessage) surelyAbsent(key []Operand) bool {
	return slices.ContainsFunc(key, func(o Operand) bool { return m.read(o).absent == Yes })
}

func (m *arpMessage) absent(key []Operand) bool {
	return slices.ContainsFunc(key, func(o Operand) bool { return m.read(o).absent != No })
}

// matches reports whether a tuple of the message is in a set.
func (m *arpMessage) matches(key []Operand, s *Set, not bool) Tri {
	sure := true
	for _, o := range key {
		switch m.read(o).absent {
		case Yes:
			return No
		case Maybe:
			sure = false
		}
	}
	if s == nil || s.Unknown != "" || s.Grows || s.Shrinks || len(s.Notes) > 0 ||
		s.Width != len(key) {
		return Maybe
	}
	in := No
	if len(key) == 1 {
		in = m.read(key[0]).through(key[0]).inAny(m.e.peekSet(s).flat)
	} else if s.Len() > maxPlain {
		in = Maybe
	} else {
		for _, box := range s.All() {
			in = in.Or(m.inBox(key, box))
		}
	}
	if not {
		in = in.Not()
	}
	if !sure {
		in = in.And(Maybe)
	}
	return in
}

func (m *arpMessage) inBox(key []Operand, box []Range) Tri {
	t := Yes
	for i, o := range key {
		t = t.And(m.read(o).through(o).in(box[i]))
	}
	return t
}

// read is what is known of a field of the message. What isn't named here may be anything, or
// absent.
func (m *arpMessage) read(o Operand) view {
	width := o.Width()
	name, index := FieldInName, FieldInIndex
	if m.hook == HookEgress {
		name, index = FieldOutName, FieldOutIndex
	}
	switch o.Field {
	case name:
		if m.name != "" && !m.below {
			return exactly(Name(m.name), width)
		}
	case index:
		if m.on != nil && !m.below {
			return exactly(Number(uint64(m.on.Index)), width)
		}
	case FieldNone:
		return exactly(Value{}, width)
	case FieldEtherType:
		return exactly(Number(etherARP), width)
	case FieldNFProto:
		return exactly(Number(uint64(FamilyNetdev)), width)
	case FieldMark:
		if !m.marks {
			return exactly(Value{}, width)
		}
	case FieldRaw:
		switch {
		case o.Raw.Base == RawLink && o.Raw.Offset == 12*8 && o.Raw.Bits == 16:
			// A VLAN's device may see its tag there.
			if !m.below && (m.on == nil || m.on.Ethernet) {
				return exactly(Number(etherARP), width)
			}
		case o.Raw.Base != RawLink && o.Raw.Base != RawNetwork:
			// nf_tables knows no transport header of a packet that isn't IP's
			// (nft_set_pktinfo_unspec in include/net/netfilter/nf_tables.h).
			return absentValue(width)
		}
	case FieldSource4, FieldSource6, FieldDest4, FieldDest6, FieldFragment, FieldProtocol,
		FieldSport, FieldDport, FieldTCPFlags, FieldICMPType, FieldICMPCode, FieldHeaders:
		return absentValue(width)
	}
	return anyValue(width).maybeAbsent()
}
