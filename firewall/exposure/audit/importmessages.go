package audit

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// Messages of neighbour discovery and multicast membership that the rules refuse by some interface,
// or to some neighbours, and that the policy's essentials let in all the same.

// neighbours are the sources of such messages.
var neighbours = exposure.NewRanges(exposure.Prefix(firewall.LinkLocal6)).
	Minus(martians()[slot(address.IPv6)])

// noteRefusedMessages names the messages that an essential lets in and the rules refuse.
func (w *importWriter) noteRefusedMessages() {
	if !w.out.Closed.Has(firewall.EssentialNeighbourDiscovery) {
		if refused := w.refusedMessages(firewall.EssentialNeighbourDiscovery); len(refused) > 0 {
			w.note(
				"the rules refuse %s, and this policy lets them in: essentials closes neighbour "+
					"discovery only as a whole. The kernel ignores router advertisements with the sysctl "+
					"net.ipv6.conf.INTERFACE.accept_ra=0, and redirects with accept_redirects=0",
				strings.Join(refused, ", "),
			)
		}
	}
	igmp, mld := w.membership()
	if !igmp || !mld {
		return // said elsewhere
	}
	refused := w.refusedMessages(firewall.EssentialMulticastMembership)
	if by := w.refusesIGMP(); by != "" {
		refused = append(refused, "igmp"+by)
	}
	if len(refused) > 0 {
		w.note("the rules refuse %s, and this policy lets them in: essentials closes IGMP and MLD "+
			"only as a whole (multicast-membership)", strings.Join(refused, ", "))
	}
}

// refusedMessages are the ICMPv6 messages of an essential that the rules refuse, for people:
// "nd-redirect (137) by eth0".
func (w *importWriter) refusedMessages(of firewall.Essentials) (out []string) {
	for _, m := range of.Messages() {
		var whole, partly []string
		asked := 0
		for _, on := range w.interfaces {
			// Neighbours need an address of the interface itself.
			if m.Family != address.IPv6 || !hasOwn(on, m.Family) {
				continue
			}
			asked++
			from := neighbours.Minus(w.unroutable[slot(m.Family)])
			answer, err := w.evaluator.Evaluate(exposure.Question{
				Family:    m.Family,
				Protocol:  firewall.Ping,
				ICMPType:  m.Type,
				Interface: on.Name,
				Answers:   exposure.NoAnswers,
				Sources:   from,
			})
			if err != nil {
				continue
			}
			_, possible := answer.Reach(func(p exposure.Piece) bool { return p.Outcome.Passes() })
			switch {
			case possible.Empty():
				whole = append(whole, on.Name)
			case !from.Minus(possible).Empty():
				partly = append(partly, on.Name)
			}
		}
		name := fmt.Sprintf("%s (%d)", m.Name, m.Type)
		if len(whole) > 0 {
			out = append(out, name+byInterfaces(whole, asked))
		}
		if len(partly) > 0 {
			out = append(out, name+" from some neighbours"+byInterfaces(partly, asked))
		}
	}
	return out
}

// hasOwn reports whether an interface has an address of a family itself.
func hasOwn(on exposure.Interface, f address.Family) bool {
	return slices.ContainsFunc(on.Addresses, func(p netip.Prefix) bool {
		return p.Addr().Is4() == (f == address.IPv4)
	})
}

// byInterfaces names interfaces, for people; "" if they are all that were asked about.
func byInterfaces(names []string, asked int) string {
	if len(names) == asked {
		return ""
	}
	return " by " + shortList(names)
}

// refusesIGMP names the interfaces by which the rules refuse IGMP, if they let it in by others;
// "" if there are none.
func (w *importWriter) refusesIGMP() string {
	n := slices.IndexFunc(w.subjects, func(x *subject) bool {
		return x.Protocol == firewall.IGMP
	})
	if n < 0 {
		return ""
	}
	var names []string
	asked := 0
	for i, p := range w.subjects[n].profiles {
		if len(w.addressesBy(w.interfaces[i], address.IPv4)) == 0 {
			continue
		}
		if asked++; p.empty() {
			names = append(names, w.interfaces[i].Name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return byInterfaces(names, asked)
}

// optional are the ICMP types, beyond essentials, that the kernel or a daemon acts on when they
// come unasked. (It ignores source quench, and takes answers by their connection.)
var optional = map[uint8]string{
	5: "redirect", 9: "router-advertisement", 10: "router-solicitation", 13: "timestamp-request",
	17: "address-mask-request",
}

// noteOptionalMessages names the messages that rules let in by their type and the policy refuses.
func (w *importWriter) noteOptionalMessages() {
	var names []string
	input := w.Rules.RulesFrom(func(b *exposure.Base) bool { return b.Hook == exposure.HookInput })
	for _, t := range slices.Sorted(maps.Keys(optional)) {
		if !slices.ContainsFunc(input, func(r *exposure.Rule) bool { return namesMessage(r, t) }) {
			continue
		}
		if _, open := w.messages(address.IPv4, t); open {
			names = append(names, fmt.Sprintf("%s (%d)", optional[t], t))
		}
	}
	if len(names) > 0 {
		w.note(
			"rules let in the ICMP messages %s, and this policy refuses them: no service can list "+
				"them",
			strings.Join(names, ", "),
		)
	}
}

// namesMessage reports whether a rule names an ICMP type, alone or among few.
func namesMessage(r *exposure.Rule, t uint8) bool {
	if r.Owner() == "portgrave" {
		return false
	}
	return slices.ContainsFunc(r.Statements, func(st exposure.Statement) bool {
		m, ok := st.(exposure.Match)
		if !ok || m.Not || m.In == nil || len(m.Key) == 0 {
			return false
		}
		n := slices.Index(m.Key, exposure.Of(exposure.FieldICMPType))
		if n < 0 {
			return false
		}
		types := column(m.In, n)
		one, of := exposure.One(exposure.Number(uint64(t))), 0
		for x := range types.All() {
			last, _ := x.To.Uint64()
			first, _ := x.From.Uint64()
			of += int(last-first) + 1
		}
		return types.Touches(one) && of <= fewAddresses
	})
}
