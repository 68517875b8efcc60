package audit

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// A port may be let in differently at each of the host's addresses. Then it has a row for each.

// part is who gets to a port at some of the host's addresses.
type part struct {
	reach
	families  []firewall.Family
	addresses []netip.Addr // nil: at all of them
}

// dialledBy are the host's addresses that packets arriving by an interface may be for. A link-local
// address is its own interface's alone.
func (a *auditor) dialledBy(iface string, f firewall.Family) (out []netip.Addr) {
	on := a.Host.Interface(iface)
	for _, address := range a.addresses[f] {
		here := on != nil && slices.ContainsFunc(on.Addresses, func(p netip.Prefix) bool {
			return p.Addr().WithZone("") == address
		})
		if (here || !address.IsLinkLocalUnicast()) && !slices.Contains(out, address) {
			out = append(out, address)
		}
	}
	return out
}

// partsOf asks a question for each of the addresses, those together that nothing tells apart, and
// puts those together whose answers are the same. Of one answer for all, the part names no address.
func (a *auditor) partsOf(
	q exposure.Question,
	addresses []netip.Addr,
	ask func(exposure.Question) reach,
) []part {
	var parts []part
	for _, group := range a.evaluator.GroupAddresses(q.Family, q.Protocol, q.Port, addresses) {
		q.Destination = group[0]
		r := ask(q)
		if i := slices.IndexFunc(parts, func(p part) bool { return p.same(r) }); i >= 0 {
			parts[i].add(r)
			parts[i].addresses = append(parts[i].addresses, group...)
			continue
		}
		parts = append(parts, part{r, []firewall.Family{q.Family}, group})
	}
	switch len(parts) {
	case 0:
		return []part{{families: []firewall.Family{q.Family}}}
	case 1:
		parts[0].addresses = nil
	}
	return parts
}

// same reports whether the same sources get to the same place.
func (r *reach) same(o reach) bool {
	return r.certain.equal(o.certain) && r.possible.equal(o.possible) &&
		r.unanswered.equal(o.unanswered) &&
		r.elsewhere.equal(o.elsewhere) && slices.Equal(r.targets, o.targets)
}

// joinParts makes one part of those of several families if none tells addresses apart; else each
// names its addresses.
func (a *auditor) joinParts(parts []part, iface string) []part {
	if slices.ContainsFunc(parts, func(p part) bool { return p.addresses != nil }) {
		for i := range parts {
			if p := &parts[i]; p.addresses == nil {
				p.addresses = a.dialledBy(iface, p.families[0])
			}
		}
		return parts
	}
	var all part
	for _, p := range parts {
		all.add(p.reach)
		all.families = append(all.families, p.families...)
	}
	return []part{all}
}

// apiece is the parts as they get rows: a few addresses one each, so that a row names where to dial.
// Link-local ones, which only neighbours can dial, have one only if they differ from the others.
func apiece(parts []part) (out []part) {
	for _, p := range parts {
		far := slices.DeleteFunc(slices.Clone(p.addresses), netip.Addr.IsLinkLocalUnicast)
		if len(far) > 0 {
			p.addresses = far
		}
		if len(p.addresses) < 2 || len(p.addresses) > fewAddresses {
			out = append(out, p)
			continue
		}
		for _, address := range p.addresses {
			one := p
			one.addresses = []netip.Addr{address}
			out = append(out, one)
		}
	}
	return out
}

// at makes a row one about some of the addresses at which its port can be dialled.
func (x *Exposure) at(addresses []netip.Addr) {
	for _, address := range addresses {
		x.Addresses = append(x.Addresses, address.String())
	}
	if len(addresses) == 1 {
		x.Address = x.Addresses[0]
	}
}

// maxShown is how many addresses of a row are shown to people.
const maxShown = 3

// At is where the row's port is dialled, for people.
func (x *Exposure) At() string {
	if len(x.Addresses) == 0 {
		return x.Address
	}
	shown := x.Addresses[:min(maxShown, len(x.Addresses))]
	words := strings.Join(shown, ", ")
	if more := len(x.Addresses) - len(shown); more > 0 {
		words += fmt.Sprintf(" and %d more", more)
	}
	return words
}
