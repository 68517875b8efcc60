package audit

import (
	"fmt"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall/exposure"
)

// note adds a sentence to the head of the policy.
func (w *importWriter) note(format string, args ...any) {
	w.out.Notes = append(w.out.Notes, fmt.Sprintf(format, args...))
}

// noteUnknown adds a sentence about a rule for all ports whose sources can't be known.
func (w *importWriter) noteUnknown(rule string) {
	note := fmt.Sprintf("left out, since it can't be known whom it %s: %s", w.effectOf(rule), rule)
	if w.out.UnknownNotes == nil {
		w.out.UnknownNotes = map[string]string{}
	}
	w.out.UnknownNotes[note] = rule
	w.out.Notes = appendOnce(w.out.Notes, note)
}

// notes adds what the policy can't express, beyond single services.
func (w *importWriter) notes() {
	if w.tooManyPorts {
		w.note(
			"the rules tell too many ports apart: only those were looked at where somebody listens, " +
				"and the widest ranges of others; what the rules let in elsewhere is left out",
		)
	}
	if w.sampledOpen {
		w.note(
			"some ports on which nobody listens are open, but it isn't known which: they are left out",
		)
	}
	for _, u := range w.unknownToAll {
		for _, rule := range lines(u) {
			w.noteUnknown(rule)
		}
	}
	ending, more := w.endingOf(w.pool.endings[w.endingToAll])
	for _, e := range ending {
		w.note("%s, to all ports", e)
	}
	if more != "" {
		w.note("%s, to all ports", more)
	}
	if barred := w.pool.simplestPrefixes(w.pool.number(w.barred)); barred.Len() > 0 {
		w.note("entries of sets that expire bar %s for a time; this policy bars them for good",
			fewOf(barred))
	}
	if w.mixed() {
		w.note(
			"the rules drop some packets and reject others; a policy does one for all ports, and "+
				"this one says %s",
			w.refusal(),
		)
	}
	w.noteNextHeaders()
	if len(w.assumed) > 0 {
		slices.Sort(w.assumed)
		w.note("assumed of packets where rules look: %s", strings.Join(w.assumed, "; "))
	}
	w.noteSilenced()
	w.noteSpreading()
	w.noteLater()
	w.noteSharedRates()
	w.warnLockouts()
	if slices.ContainsFunc(w.out.Services, func(s ImportedService) bool {
		return s.Target != ""
	}) {
		w.note(
			"some ports are published by DNAT rules: keep these rules, or have the program write " +
				"them again that made them",
		)
	}
	w.noteKept()
	for _, u := range w.report.Unread {
		w.note("not read: %s", u)
	}
	for _, m := range w.Rules.Missing {
		w.note("not read, so that nothing surely gets in: %s: %s", m.What, m.Why)
	}
	for _, iface := range w.unsayable {
		w.note(
			"a policy can't name the interface %q: what the rules let in there, but not by every "+
				"interface, is left out",
			iface,
		)
	}
	w.noteAbsentAddresses()
	for _, iface := range w.absentInterfaces() {
		w.note(
			"rules name the interface %s, which isn't there now: what they let in there is left out",
			iface,
		)
	}
}

// maxAbsent bounds the interfaces that are named.
const maxAbsent = 8

// absentInterfaces are interfaces that rules let packets in by, and that the host doesn't have now.
func (w *importWriter) absentInterfaces() (out []string) {
	for _, t := range w.Rules.Tables {
		for _, c := range t.Chains {
			if c.Owner() == "portgrave" {
				continue // it names interfaces that may exist
			}
			for _, r := range c.Rules {
				for _, s := range r.Statements {
					m, ok := s.(exposure.Match)
					if !ok || m.Not || m.In == nil || len(m.Key) != 1 ||
						m.In.Len() > fewAddresses ||
						m.Key[0].Field != exposure.FieldInName {
						continue
					}
					for _, box := range m.In.All() {
						name := box[0].From.Text()
						if box[0].From != box[0].To {
							name += "*"
						}
						if name != "*" && !w.hasInterface(box[0]) && !slices.Contains(out, name) &&
							len(out) < maxAbsent {
							out = append(out, name)
						}
					}
				}
			}
		}
	}
	return out
}

// hasInterface reports whether the host has an interface whose name is in a range.
func (w *importWriter) hasInterface(names exposure.Range) bool {
	return slices.ContainsFunc(w.Host.Interfaces, func(i exposure.Interface) bool {
		return names.Contains(exposure.Name(i.Name))
	})
}

// noteNextHeaders names the rules that look at IPv6's next header or let in by extension headers,
// and what the import assumes there.
func (w *importWriter) noteNextHeaders() {
	var names []string
	for _, t := range w.Rules.Tables {
		for _, c := range t.Chains {
			for _, r := range c.Rules {
				if len(names) < maxNamed && readsNextHeader(r) {
					d := exposure.Decider{Rule: r, Chain: c}
					names = appendOnce(names, Words(d.Describe()))
				}
			}
		}
	}
	if len(names) > 0 {
		w.note(
			"rules look at IPv6's next header or extension headers: %s. This policy lets in whom they "+
				"let in with packets without extension headers, as ordinary clients send them; behind "+
				"such a header, the rules may decide otherwise",
			strings.Join(names, "; "),
		)
	}
}

// readsNextHeader reports whether a rule compares byte 6 of the IPv6 header, or does something else
// than refuse packets by their extension headers.
func readsNextHeader(r *exposure.Rule) bool {
	if r.Chain.Table.Family == exposure.FamilyIPv4 {
		return false
	}
	onlyRefuses := refuses(r, 0)
	return slices.ContainsFunc(r.Statements, func(s exposure.Statement) bool {
		var key []exposure.Operand
		switch s := s.(type) {
		case exposure.Unknown:
			return s.Optional && !onlyRefuses
		case exposure.Match:
			key = s.Key
		case exposure.VerdictMap:
			key = s.Key
		}
		return slices.ContainsFunc(key, func(o exposure.Operand) bool {
			byHeaders := o.Field == exposure.FieldHeaders ||
				o.Field == exposure.FieldRaw && o.Raw.Base == exposure.RawExtension
			return byHeaders && !onlyRefuses ||
				o.Field == exposure.FieldRaw && o.Raw.Base == exposure.RawNetwork &&
					o.Raw.Offset == 48 && o.Raw.Bits == 8
		})
	})
}
