package audit

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// If the answer for a port differs between the host's addresses, each gets a row.

// part is the sources that get to a port at some of the host's addresses.
type part struct {
	reach
	families  []address.Family
	addresses []netip.Addr // nil: all of them
}

// dialledBy are the host's addresses that packets by an interface may be for. Link-local addresses
// belong to their interface only.
func (a *auditor) dialledBy(iface string, f address.Family) (out []netip.Addr) {
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

// partsOf asks a question for each group of addresses that nothing distinguishes, and joins equal
// answers. If all answers are equal, the part names no address.
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
		parts = append(parts, part{r, []address.Family{q.Family}, group})
	}
	switch len(parts) {
	case 0:
		return []part{{families: []address.Family{q.Family}}}
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

// joinParts joins the parts of several families if none names addresses. Otherwise each part names
// its addresses.
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

// apiece splits parts into rows: each of a few addresses gets its own, so that a row names where to
// dial. Link-local addresses, which only neighbours can dial, get one only if they differ from the
// others.
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

// at limits a row to some of the addresses at which its port can be dialled.
func (x *Exposure) at(addresses []netip.Addr) {
	for _, address := range addresses {
		x.Addresses = append(x.Addresses, address.String())
	}
	if len(addresses) == 1 {
		x.Address = x.Addresses[0]
	}
}

// maxShown is the most addresses of a row that are shown to people.
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
