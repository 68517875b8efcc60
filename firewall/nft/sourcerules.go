package nft

import (
	"net/netip"
	"slices"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/netlink/nftables"
	"golang.org/x/sys/unix"
)

// A few sources of a service are rules of its chain, one each, that let in what they match, and to
// people they are what they would be in a set: elements.

// letIn ends a rule that matches some of a service's sources: they are counted and accepted, or
// have to pass a rate or be logged before.
func letIn(b *builder, service string, f address.Family, simple bool) rule {
	if simple {
		return b.count(counterName(serviceChain(service), "allowed", f)).accept()
	}
	return b.gotoChain(allowChain(service))
}

// sourceRules is a rule for each of a service's lasting sources of one family.
func sourceRules(svc firewall.Service, f address.Family) []rule {
	var out []rule
	for p := range svc.Sources.Family(f) {
		out = append(out, letIn(newRule().saddr(f, p), svc.Name, f, isSimple(svc)))
	}
	return out
}

// sourceOf is what a rule of a chain lets in, if it is one of sourceRules of the chain's service:
// what it matches makes the same rule again.
func (c *chain) sourceOf(r rule) (netip.Prefix, bool) {
	if c.is.role != roleService {
		return netip.Prefix{}, false
	}
	f, p, ok := matchedSource(r.Exprs)
	if !ok {
		return netip.Prefix{}, false
	}
	for _, simple := range []bool{true, false} {
		if r.Equal(letIn(newRule().saddr(f, p), c.is.service, f, simple)) {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

// matchedSource is the source prefix that the first expressions match, if they are those of saddr;
// of others it may be anything.
func matchedSource(exprs []nftables.Expr) (f address.Family, p netip.Prefix, ok bool) {
	const loads = 2 // behind the family
	if len(exprs) <= loads {
		return 0, p, false
	}
	version, _ := exprs[loads-1].(nftables.Cmp)
	switch version.Data {
	case string([]byte{unix.NFPROTO_IPV4}):
		f = address.IPv4
	case string([]byte{unix.NFPROTO_IPV6}):
		f = address.IPv6
	default:
		return 0, p, false
	}
	address := make([]byte, loadAddress(f, false).Len)
	length := 0 // nothing is loaded to match everybody
	for _, e := range exprs[loads:min(loads+3, len(exprs))] {
		switch e := e.(type) {
		case nftables.Payload:
			length = 8 * int(e.Len)
		case nftables.Bitwise:
			length, _ = nftables.PrefixBits(e.Mask)
		case nftables.Cmp:
			copy(address, e.Data)
		}
	}
	a, _ := netip.AddrFromSlice(address)
	p = netip.PrefixFrom(a, length)
	return f, p, p.IsValid()
}

// partOfSource is the part that one of a service's sources belongs to.
func partOfSource(service string, p netip.Prefix) part { return part{service, familyOf(p)} }

// ruleSources is what rules of the service's chain let in.
func (r *ruleset) ruleSources(p part) []netip.Prefix {
	c := r.chains[serviceChain(p.service)]
	if c == nil {
		return nil
	}
	var out []netip.Prefix
	for _, rule := range c.rules {
		if x, ok := c.sourceOf(rule); ok && partOfSource(p.service, x) == p {
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

// ways are the rules of a service's chain that may lead to sets in which a part's sources stand: to
// one of the small ones, or to the chain of a large part.
func (p part) ways() map[string][]rule {
	out := map[string][]rule{}
	for _, name := range p.smallSets() {
		for _, simple := range []bool{true, false} {
			in := newRule().saddrIn(p.family, name)
			out[name] = append(out[name], letIn(in, p.service, p.family, simple))
		}
	}
	for _, second := range []bool{false, true} {
		name := p.chain(placement{second: second})
		out[name] = []rule{newRule().family(p.family).gotoChain(name)}
	}
	return out
}

// usesSets reports whether the service's chain leads to all the sets that a part's sources stand
// in, as a rule of ours would.
func (r *ruleset) usesSets(p part) bool {
	c := r.chains[serviceChain(p.service)]
	for name, ways := range p.ways() {
		leads := func(x rule) bool { return slices.ContainsFunc(ways, x.Equal) }
		there := r.sets[name] != nil || r.chains[name] != nil
		if there && (c == nil || !slices.ContainsFunc(c.rules, leads)) {
			return false
		}
	}
	return true
}

// leavesRules reports whether a part's sources stand in rules on one side and in sets on the other.
// It has to be sure of what the kernel lets in: rules do so by being there, sets only if a rule
// leads to them.
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
