package audit

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// Rules that do something else than let packets in to this host. A policy has no words for them, so
// they have to stay.

// maxKept bounds the rules that a note names.
const maxKept = 4

// keptRules collects such rules.
type keptRules struct {
	names []string
	more  bool
}

func (k *keptRules) add(d exposure.Decider) {
	if len(k.names) == maxKept {
		k.more = true
		return
	}
	k.names = appendOnce(k.names, Words(withoutReason(d).Describe()))
}

func (k *keptRules) String() string {
	text := strings.Join(k.names, "; ")
	if k.more {
		text += "; and others"
	}
	return text
}

// noteKept names the rules that have to stay.
func (w *importWriter) noteKept() {
	var helpers, sources, leaving keptRules
	var link []string
	for _, t := range w.Rules.Tables {
		for _, c := range t.Chains {
			if t.Dormant || c.Owner() == "portgrave" {
				continue
			}
			if onLink := t.Family == exposure.FamilyARP || t.Family == exposure.FamilyBridge; onLink &&
				mayRefuse(c) {
				link = appendOnce(link, t.Family.String()+" "+t.Name)
			}
			for _, r := range c.Rules {
				for _, st := range r.Statements {
					switch st := st.(type) {
					case exposure.NoEffect:
						if strings.HasPrefix(st.Text, "ct helper ") ||
							strings.Contains(st.Text, "--helper ") {
							helpers.add(exposure.Decider{Rule: r, Chain: c})
						}
					case exposure.NAT:
						if st.Kind == exposure.NATSource || st.Kind == exposure.NATMasquerade {
							sources.add(exposure.Decider{Rule: r, Chain: c})
						}
					}
				}
			}
		}
	}
	atOutput := func(b *exposure.Base) bool { return b.Hook == exposure.HookOutput }
	for _, t := range w.Rules.Tables {
		for _, c := range t.Chains {
			if !t.Dormant && c.Base != nil && atOutput(c.Base) && c.Owner() != "portgrave" &&
				c.Base.Policy == exposure.VerdictDrop && t.Family != exposure.FamilyARP {
				leaving.add(exposure.Decider{Chain: c})
			}
		}
	}
	for _, r := range w.Rules.RulesFrom(atOutput) {
		if r.Owner() != "portgrave" && refusesNew(r) && !toNobody(r) {
			leaving.add(exposure.Decider{Rule: r, Chain: r.Chain})
		}
	}
	if len(helpers.names) > 0 {
		w.note(
			"rules give connections a conntrack helper (%v), which lets in the data connections "+
				"of protocols such as FTP: keep these rules, or they are refused",
			&helpers,
		)
	}
	if len(sources.names) > 0 {
		w.note(
			"rules translate the sources of packets that go out (%v): keep these rules, or have "+
				"the program write them again that made them",
			&sources,
		)
	}
	if len(leaving.names) > 0 {
		w.note(
			"rules refuse packets that this host sends (%v); a policy says nothing of these: keep "+
				"the rules",
			&leaving,
		)
	}
	if len(link) > 0 {
		w.note(
			"rules refuse frames or ARP (table %s); a policy says nothing of these: keep the rules",
			strings.Join(link, ", table "),
		)
	}
}

// mayRefuse reports whether a chain refuses anything.
func mayRefuse(c *exposure.Chain) bool {
	return c.Base != nil && c.Base.Policy == exposure.VerdictDrop ||
		slices.ContainsFunc(c.Rules, func(r *exposure.Rule) bool { return refuses(r, 0) })
}

// refusesNew reports whether a rule itself refuses packets, also new ones: many drop the invalid.
func refusesNew(r *exposure.Rule) bool {
	const stateNew = 8
	drops := false
	for _, st := range r.Statements {
		if exposure.NeedsExtension(st) { // no ordinary packet meets it
			return false
		}
		switch st := st.(type) {
		case exposure.Match:
			if len(st.Key) == 1 && st.Key[0].Field == exposure.FieldCTState && st.In != nil &&
				column(st.In, 0).Contains(st.Key[0].Apply(exposure.Number(stateNew))) == st.Not {
				return false
			}
		case exposure.Verdict:
			drops = st.Kind == exposure.VerdictDrop || st.Kind == exposure.VerdictReject
		}
	}
	return drops
}

// nobody6 are destinations that no packet should have: firewalld refuses those that embed an IPv4
// address (RFC 3964).
var nobody6 = exposure.SourcesOf(address.Must("::/96", "2002::/16"), address.IPv6).
	Union(exposure.NewRanges(exposure.Prefix(netip.MustParsePrefix("::ffff:0:0/96"))))

// toNobody reports whether a rule is for such destinations only.
func toNobody(r *exposure.Rule) bool {
	return slices.ContainsFunc(r.Statements, func(st exposure.Statement) bool {
		m, ok := st.(exposure.Match)
		return ok && !m.Not && m.In != nil && len(m.Key) == 1 &&
			m.Key[0] == exposure.Of(exposure.FieldDest6) &&
			column(m.In, 0).Minus(nobody6).Empty()
	})
}
