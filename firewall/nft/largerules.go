package nft

import (
	"cmp"
	"fmt"
	"math/bits"
	"net/netip"
	"slices"

	"github.com/google/nftables/expr"
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/netlink/nftables"
)

// maxLookups is how many lengths one rule looks up: three expressions each, two before and one
// after them, of the 128 that a rule may have (NFT_RULE_MAXEXPRS). IPv6 lists can have more
// lengths; what the first rule does not find goes on to a second chain.
const maxLookups = 40

// place makes the objects of a large part and returns the rule of the service's chain that leads to
// them. What is in none of the sets goes to the service's refusal from there, so the rule stands
// after the small sets of its family.
func (c *compiler) place(svc firewall.Service, f address.Family, at placement, p *pieces) rule {
	id := part{svc.Name, f}
	chain := id.chain(at)
	if p.shape == shapeLengths {
		c.lookUp(svc, f, chain, c.lengthSets(id, chain, p.shards[0]))
		return newRule().family(f).gotoChain(chain)
	}
	for i := range splitParts {
		shard := id.shardChain(at, i)
		c.lookUp(svc, f, shard, c.lengthSets(id, shard, p.shards[i]))
	}
	c.chain(chain, svc.Name, id.dispatch(at)...)
	return newRule().family(f).gotoChain(chain)
}

// dispatch are the rules that lead to the shards.
func (p part) dispatch(at placement) []rule {
	rules := make([]rule, splitParts)
	for i, bound := range at.bounds {
		rules[i] = newRule().saddrBelow(p.family, bound).gotoChain(p.shardChain(at, i))
	}
	rules[splitParts-1] = newRule().gotoChain(p.shardChain(at, splitParts-1))
	return rules
}

// formIn is how the kernel holds a part, which may be lost.
func (p part) formIn(r *ruleset, at placement) form {
	if r.chains[p.shardChain(at, 0)] == nil {
		return form{shape: shapeLengths}
	}
	found := form{shape: shapeSplit}
	i := 0
	for _, rule := range r.chains[p.chain(at)].rules {
		if i == len(found.bounds) {
			break
		}
		if bound, ok := p.bound(rule, p.shardChain(at, i)); ok {
			found.bounds[i] = bound
			i++
		}
	}
	if i < len(found.bounds) || !slices.IsSortedFunc(found.bounds[:], netip.Addr.Compare) {
		return form{shape: shapeSplit}
	}
	return found
}

// bound is the address below which a rule leads to a chain, if it is one of dispatch's.
func (p part) bound(r rule, chain string) (netip.Addr, bool) {
	const compares = 3 // behind the family and the source
	if len(r.Exprs) <= compares {
		return netip.Addr{}, false
	}
	is, _ := r.Exprs[compares].(nftables.Cmp)
	bound, ok := netip.AddrFromSlice([]byte(is.Data))
	return bound, ok && r.Equal(newRule().saddrBelow(p.family, bound).gotoChain(chain))
}

// lengthSets makes a set for each length.
func (c *compiler) lengthSets(id part, stem string, lists shardLists) []lookedUp {
	var out []lookedUp
	for length, k := range lists {
		s := &set{family: id.family, kind: kindPrefix, spec: specOf(kindPrefix, id.family), keys: k}
		name := lengthSet(stem, length)
		s.spec.Size = c.size(name, k.Len())
		c.set(name, s)
		out = append(out, lookedUp{s.name, length, bits.Len32(s.spec.Size)})
	}
	return out
}

// lookUp makes a chain that accepts what is in one of the sets.
func (c *compiler) lookUp(svc firewall.Service, f address.Family, name string, sets []lookedUp) {
	accept := letIn(newRule(), svc.Name, f, isSimple(svc))
	// By order of magnitude, so that the order does not change with every element.
	slices.SortFunc(sets, func(a, b lookedUp) int {
		return cmp.Or(cmp.Compare(b.magnitude, a.magnitude), cmp.Compare(a.length, b.length))
	})
	chain := name
	for more := 1; len(sets) > 0; more++ {
		now := sets[:min(len(sets), maxLookups)]
		sets = sets[len(now):]
		otherwise := refuseChain(svc.Name)
		if len(sets) > 0 {
			otherwise = fmt.Sprintf("%s/more%d", name, more)
		}
		c.chain(chain, svc.Name, newRule().saddrInNone(f, now).gotoChain(otherwise), accept)
		chain = otherwise
	}
	if chain == name { // there are none
		c.chain(name, svc.Name, newRule().gotoChain(refuseChain(svc.Name)))
	}
}

// isSimple reports whether a source that is in a set is accepted there and then.
func isSimple(svc firewall.Service) bool { return svc.Rate == nil && svc.Log != firewall.LogAll }

// minSize is the smallest size of a hash set; its table takes 4 KiB.
const minSize = 256

// size is what a hash set of n elements is declared with. The kernel makes its table for it and
// takes no more elements than that, so there is room to grow; a set that is there keeps its size
// while it suffices.
func (c *compiler) size(name string, n int) uint32 {
	if c.use.have != nil {
		if s := c.use.have.sets[name]; s != nil && s.spec.Size >= uint32(n) &&
			s.spec.Size >= minSize {
			return s.spec.Size
		}
	}
	return max(minSize, uint32(1)<<bits.Len(uint(n+n/4)))
}

// lookedUp is a set in a chain of them.
type lookedUp struct {
	set       string
	length    int
	magnitude int
}

// maskOf is a prefix length as an address.
func maskOf(f address.Family, length int) netip.Addr {
	b := make([]byte, loadAddress(f, false).Len)
	for i := range length {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// masked loads the source, or its first bits.
func masked(f address.Family, length int) []expr.Any {
	mask := maskOf(f, length)
	if length == mask.BitLen() {
		return []expr.Any{loadAddress(f, false)}
	}
	return []expr.Any{loadAddress(f, false), and(mask.AsSlice())}
}

// saddrInNone matches a source that is in none of the sets, each of prefixes of its length.
func (b *builder) saddrInNone(f address.Family, sets []lookedUp) *builder {
	b.family(f)
	for _, s := range sets {
		b.add(masked(f, s.length)...).lookupNot(s.set)
	}
	return b
}

// saddrBelow matches a source that is less than an address.
func (b *builder) saddrBelow(f address.Family, bound netip.Addr) *builder {
	below := &expr.Cmp{Op: expr.CmpOpLt, Register: reg1, Data: bound.AsSlice()}
	return b.family(f).add(loadAddress(f, false), below)
}

// read makes pieces of what the kernel holds of a part, where it stands; false if its objects are
// not such as we make.
func (p part) read(have *ruleset, at placement) (*pieces, bool) {
	out := &pieces{form: at.form, shards: make([]shardLists, at.shardCount())}
	if at.boundsUnknown() {
		return nil, false
	}
	full := maskOf(p.family, 0).BitLen()
	for i := range out.shards {
		stem := p.chain(at)
		if at.shape == shapeSplit {
			stem = p.shardChain(at, i)
		}
		out.shards[i] = shardLists{}
		for length := range full + 1 {
			if s := have.sets[lengthSet(stem, length)]; s != nil {
				if s.kind != kindPrefix || s.unexpected > 0 {
					return nil, false
				}
				out.shards[i][length] = s.keys
			}
		}
	}
	return out, true
}
