package audit

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// findDirect finds the interfaces of workloads to whose own addresses the rules forward nothing,
// and notes what else the rules refuse to forward, which a policy can't express.
func (w *importWriter) findDirect() {
	var kept []string
	for _, to := range w.interfaces {
		guarded, asked := true, false
		for _, from := range w.outside() {
			if from.Name == to.Name {
				continue
			}
			for _, f := range firewall.Families {
				stopped, ok := w.refusesToForward(from, to, f)
				asked, guarded = asked || ok, guarded && (stopped || !ok)
			}
		}
		switch {
		case !asked || !guarded:
		case to.Kind == "bridge" || firewall.MatchInterface("veth*", to.Name):
			w.out.Direct = append(w.out.Direct, to.Name)
		default:
			kept = append(kept, to.Name)
		}
	}
	if len(w.out.Direct) > 0 {
		w.note(
			"direct closes all ways to the own addresses of what is behind %s, also where the rules "+
				"let packets through to published targets",
			strings.Join(w.out.Direct, ", "),
		)
	}
	if len(kept) > 0 {
		w.note("the rules refuse to forward new packets to %s; a policy says nothing of forwarded "+
			"packets, so keep these rules", strings.Join(kept, ", "))
	}
}

// refusesToForward reports whether rules stop all new packets from one interface to an address
// behind another. ok: the host forwards.
func (w *importWriter) refusesToForward(
	from, to exposure.Interface,
	f firewall.Family,
) (stopped, ok bool) {
	address := neighbourOf(to, f)
	if !address.IsValid() || !w.Host.Forwards(&from, f) {
		return false, false
	}
	var usual *subject
	for _, x := range w.subjects {
		if x.Protocol == firewall.TCP && (usual == nil || x.weight() > usual.weight()) {
			usual = x
		}
	}
	if usual == nil {
		return false, false
	}
	answer, err := w.evaluator.Evaluate(exposure.Question{
		Family:      f,
		Protocol:    firewall.TCP,
		Interface:   from.Name,
		Destination: address,
		Port:        usual.First,
	})
	if err != nil {
		return false, false
	}
	stopped = true
	for _, p := range answer.Pieces {
		if p.Outcome.Passes() {
			return false, true
		}
		ok = ok || p.DecidedBy.Chain != nil || p.DecidedBy.Rule != nil
	}
	return stopped, ok
}

// neighbourOf is an address in an interface's network that isn't the host's.
func neighbourOf(i exposure.Interface, f firewall.Family) netip.Addr {
	for _, p := range i.Addresses {
		if p.Addr().Is4() != (f == firewall.IPv4) || p.Addr().IsLinkLocalUnicast() ||
			p.IsSingleIP() {
			continue
		}
		for _, a := range []netip.Addr{p.Addr().Next(), p.Addr().Prev()} {
			if p.Contains(a) && a != p.Masked().Addr() {
				return a
			}
		}
	}
	return netip.Addr{}
}

// note adds a sentence to the head of the policy.
func (w *importWriter) note(format string, args ...any) {
	w.out.Notes = append(w.out.Notes, fmt.Sprintf(format, args...))
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
			w.note("left out, since it can't be known whom it %s: %s", w.effectOf(rule), rule)
		}
	}
	if w.mixed() {
		w.note(
			"the rules drop some packets and reject others; a policy does one for all ports, and "+
				"this one says %s",
			w.refusal(),
		)
	}
	w.warnFixedAddresses()
	w.warnLockouts()
	if slices.ContainsFunc(w.out.Services, func(s ImportedService) bool {
		return s.Target != ""
	}) {
		w.note(
			"some ports are published by DNAT rules: keep these rules, or have the program write " +
				"them again that made them",
		)
	}
	for _, u := range w.report.Unread {
		w.note("not read: %s", u)
	}
	for _, m := range w.Rules.Missing {
		w.note("not read, so that nothing surely gets in: %s: %s", m.What, m.Why)
	}
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
