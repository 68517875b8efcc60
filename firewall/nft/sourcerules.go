package nft

import (
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"golang.org/x/sys/unix"
)

// A few sources of a service are rules of its chain, one each, that let in what they match, and to people they are what they would be in a
// set: elements.

// letIn ends a rule that matches some of a service's sources: they are counted and accepted, or have to pass a rate or be logged before.
func letIn(b *builder, service string, f firewall.Family, simple bool) rule {
	if simple {
		return b.count(counterName(serviceChain(service), "allowed", f)).accept()
	}
	return b.gotoChain(allowChain(service))
}

// sourceRules is a rule for each of a service's lasting sources of one family.
func sourceRules(svc firewall.Service, f firewall.Family) []rule {
	var out []rule
	for p := range svc.Sources.Family(f) {
		r := letIn(newRule().saddr(f, p), svc.Name, f, isSimple(svc))
		r.source = p
		out = append(out, r)
	}
	return out
}

// sourceOf is what a rule of a chain lets in, if it is one of sourceRules of the chain's service. Of a rule from the kernel there is the normal form
// alone: what it seems to match is made a rule again, which must be the same.
func sourceOf(r rule, chain string) (firewall.Prefix, bool) {
	service := serviceOf(chain)
	if chain != serviceChain(service) {
		return netip.Prefix{}, false
	}
	if r.source.IsValid() || len(r.exprs) > 0 { // we made it
		return r.source, r.source.IsValid()
	}
	f, p, ok := seemsToMatch(r.canon)
	if !ok {
		return netip.Prefix{}, false
	}
	for _, simple := range []bool{true, false} {
		if letIn(newRule().saddr(f, p), service, f, simple).canon == r.canon {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

// seemsToMatch is the source prefix in the normal form of a rule that saddr begins; of other rules it may be anything.
func seemsToMatch(canon string) (f firewall.Family, p netip.Prefix, ok bool) {
	const compared, mask = "cmp(1=00000001,3=(1=", "4=(1=" // NFTA_CMP_SREG, NFTA_CMP_DATA; NFTA_BITWISE_MASK
	switch family := hexAfter(canon, compared); {
	case slices.Equal(family, []byte{unix.NFPROTO_IPV4}):
		f = firewall.IPv4
	case slices.Equal(family, []byte{unix.NFPROTO_IPV6}):
		f = firewall.IPv6
	default:
		return 0, p, false
	}
	address := make([]byte, loadAddress(f, false).Len)
	_, loaded, _ := strings.Cut(canon, "payload(") // nothing is loaded to match everybody
	bits := 8 * copy(address, hexAfter(loaded, compared))
	if _, and, masked := strings.Cut(loaded, "bitwise("); masked {
		bits = leadingOnes(hexAfter(and, mask))
	}
	a, _ := netip.AddrFromSlice(address)
	p = netip.PrefixFrom(a, bits)
	return f, p, p.IsValid()
}

// hexAfter is the number that follows a mark in a normal form, empty if there is none.
func hexAfter(canon, mark string) []byte {
	_, tail, _ := strings.Cut(canon, mark)
	digits, _, _ := strings.Cut(tail, ")")
	raw, _ := hex.DecodeString(digits)
	return raw
}

func leadingOnes(mask []byte) (n int) {
	for n < 8*len(mask) && mask[n/8]&(0x80>>(n%8)) != 0 {
		n++
	}
	return n
}

// partOfSource is the part that one of a service's sources belongs to.
func partOfSource(service string, p firewall.Prefix) part {
	if p.Addr().Is4() {
		return part{service, firewall.IPv4}
	}
	return part{service, firewall.IPv6}
}

// ruleSources is what rules of the service's chain let in.
func (r *ruleset) ruleSources(p part) []firewall.Prefix {
	c := r.chains[serviceChain(p.service)]
	if c == nil {
		return nil
	}
	var out []firewall.Prefix
	for _, rule := range c.rules {
		if x, ok := sourceOf(rule, c.name); ok && partOfSource(p.service, x) == p {
			out = append(out, x)
		}
	}
	return out
}

// holdsSets reports whether lasting sources of a part stand in sets.
func (r *ruleset) holdsSets(p part) bool { return r.holdsSmall(p) || len(r.placements(p)) > 0 }

// placements are where a large part's objects stand, whether or not something leads there.
func (r *ruleset) placements(p part) []placement {
	var out []placement
	for _, second := range []bool{false, true} {
		if at := (placement{second: second}); r.chains[p.chain(at)] != nil {
			out = append(out, at)
		}
	}
	return out
}

// ways are the rules of a service's chain that may lead to sets in which a part's sources stand: to one of the small ones, or to the chain of a large part.
func (p part) ways() map[string][]rule {
	out := map[string][]rule{}
	for _, name := range p.smallSets() {
		for _, simple := range []bool{true, false} {
			out[name] = append(out[name], letIn(newRule().saddrIn(p.family, name), p.service, p.family, simple))
		}
	}
	for _, second := range []bool{false, true} {
		name := p.chain(placement{second: second})
		out[name] = []rule{newRule().family(p.family).gotoChain(name)}
	}
	return out
}

// usesSets reports whether the service's chain leads to all the sets that a part's sources stand in, as a rule of ours would.
func (r *ruleset) usesSets(p part) bool {
	c := r.chains[serviceChain(p.service)]
	for name, ways := range p.ways() {
		leads := func(x rule) bool { return slices.ContainsFunc(ways, x.same) }
		if (r.sets[name] != nil || r.chains[name] != nil) && (c == nil || !slices.ContainsFunc(c.rules, leads)) {
			return false
		}
	}
	return true
}

// wayIn is a rule of a chain as we would have written it, if it leads to some of the sources of the chain's service.
func wayIn(r rule, chain string) (rule, bool) {
	service := serviceOf(chain)
	if chain != serviceChain(service) {
		return rule{}, false
	}
	for _, f := range firewall.Families {
		for _, ways := range (part{service, f}).ways() {
			if i := slices.IndexFunc(ways, r.same); i >= 0 {
				return ways[i], true
			}
		}
	}
	return rule{}, false
}

// leavesRules reports whether a part's sources stand in rules on one side and in sets on the other. It has to be sure of what the kernel lets in: rules
// do so by being there, sets only if a rule leads to them.
func leavesRules(p part, want, have *ruleset) bool {
	before, after := len(have.ruleSources(p)) > 0, len(want.ruleSources(p)) > 0
	switch {
	case before && !after:
		return want.holdsSets(p) && !have.holdsSets(p)
	case after && !before:
		return have.holdsSets(p) && !want.holdsSets(p) && have.usesSets(p)
	}
	return false
}
