package nft

import (
	"bytes"
	"cmp"
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/google/nftables/expr"
	"github.com/portgrave/portgrave/firewall"
	"golang.org/x/sys/unix"
)

// maxLookups is how many lengths one rule looks up: three expressions each, two before and one after them, of the 128 that a rule
// may have (NFT_RULE_MAXEXPRS). IPv6 lists can have more lengths; what the first rule does not find goes on to a second chain.
const maxLookups = 40

// place makes the objects of a large part and returns the rule of the service's chain that leads to them. What is in none
// of the sets goes to the service's refusal from there, so the rule stands after the small sets of its family.
func (c *compiler) place(svc firewall.Service, f firewall.Family, at placement, p *pieces) rule {
	id := part{svc.Name, f}
	if p.shape == shapeLengths {
		chain := id.lengthsChain(at)
		c.lookUp(svc, f, chain, c.lengthSets(id, chain, p.shards[0]))
		return newRule().family(f).gotoChain(chain)
	}
	name := id.splitMap(at)
	short := c.lengthSets(id, id.shardStem(at, shorter), p.shards[shorter])
	verdicts := make(map[uint32]verdict, splitParts)
	for i := range splitParts {
		chain := id.shardStem(at, i)
		c.lookUp(svc, f, chain, slices.Concat(c.lengthSets(id, chain, p.shards[i]), short))
		verdicts[uint32(i)] = verdict{unix.NFT_GOTO, chain}
	}
	s := &set{name: name, service: svc.Name, family: f, kind: kindSplit, spec: specOf(kindSplit, f), verdicts: verdicts}
	s.spec.size = c.size(name, len(verdicts))
	c.sets[name] = s
	return newRule().saddrSplit(f, at.bits, name).done()
}

// lengthSets makes a set for each length.
func (c *compiler) lengthSets(id part, stem string, lists shardLists) []lookedUp {
	var out []lookedUp
	for length, k := range lists {
		s := &set{name: lengthSet(stem, length), service: id.service, family: id.family, kind: kindPrefix, spec: specOf(kindPrefix, id.family), keys: k}
		s.spec.size = c.size(s.name, k.len())
		c.sets[s.name] = s
		out = append(out, lookedUp{s.name, length, bits.Len32(s.spec.size)})
	}
	return out
}

// lookUp makes a chain that accepts what is in one of the sets.
func (c *compiler) lookUp(svc firewall.Service, f firewall.Family, name string, sets []lookedUp) {
	accept := newRule().gotoChain(allowChain(svc.Name))
	if isSimple(svc) {
		accept = newRule().count(counterName(serviceChain(svc.Name), "allowed", f)).accept()
	}
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

// leastSize is the smallest size of a hash set; its table takes 4 KiB.
const leastSize = 256

// size is what a hash set of n elements is declared with. The kernel makes its table for it and takes no more elements than that, so there is
// room to grow; a set that is there keeps its size while it suffices.
func (c *compiler) size(name string, n int) uint32 {
	if c.use.have != nil {
		if s := c.use.have.sets[name]; s != nil && s.spec.size >= uint32(n) && s.spec.size >= leastSize {
			return s.spec.size
		}
	}
	return max(leastSize, uint32(1)<<bits.Len(uint(n+n/4)))
}

// lookedUp is a set in a chain of them.
type lookedUp struct {
	set       string
	length    int
	magnitude int
}

// maskOf is a prefix length as an address.
func maskOf(f firewall.Family, length int) netip.Addr {
	b := make([]byte, loadAddress(f, false).Len)
	for i := range length {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

func masked(f firewall.Family, mask netip.Addr) (exprs []expr.Any, text string) {
	exprs, text = []expr.Any{loadAddress(f, false)}, headerName(f)+" saddr"
	if mask != maskOf(f, mask.BitLen()) {
		raw := mask.AsSlice()
		exprs = append(exprs, &expr.Bitwise{SourceRegister: reg1, DestRegister: reg1, Len: uint32(len(raw)), Mask: raw, Xor: make([]byte, len(raw))})
		text += " & " + mask.String()
	}
	return exprs, text
}

// saddrInNone matches a source that is in none of the sets, each of prefixes of its length.
func (b *builder) saddrInNone(f firewall.Family, sets []lookedUp) *builder {
	b.add("", familyExprs(f)...)
	for _, s := range sets {
		exprs, text := masked(f, maskOf(f, s.length))
		b.add(text+" != @"+s.set, append(exprs, &expr.Lookup{SourceRegister: reg1, SetName: s.set, Invert: true})...)
	}
	return b
}

// saddrSplit sends the packet where the bits of its source that end there belong.
func (b *builder) saddrSplit(f firewall.Family, bits int, name string) *builder {
	mask, _ := netip.AddrFromSlice(splitKey(f, bits, splitParts-1))
	exprs, text := masked(f, mask)
	b.add("", familyExprs(f)...)
	return b.add(text+" vmap @"+name, append(exprs, &expr.Lookup{SourceRegister: reg1, SetName: name, DestRegister: 0, IsDestRegSet: true})...)
}

// splitKey is a key of a split map: the address that has a shard's number in the bits that end there, and is zero elsewhere.
func splitKey(f firewall.Family, bits int, shard uint32) []byte {
	key := make([]byte, loadAddress(f, false).Len)
	for i := range splitWidth {
		if shard>>i&1 != 0 {
			at := bits - 1 - i
			key[at/8] |= 0x80 >> (at % 8)
		}
	}
	return key
}

// shardOfKey is the shard whose key it is, and whether it is any's.
func shardOfKey(f firewall.Family, bits int, key []byte) (uint32, bool) {
	for shard := range uint32(splitParts) {
		if bytes.Equal(key, splitKey(f, bits, shard)) {
			return shard, true
		}
	}
	return 0, false
}

// splitBitsOf is where the bits end that choose a shard, as the name of a split map tells; 0 if it is none.
func splitBitsOf(name string) int {
	name = strings.TrimSuffix(name, placement{second: true}.suffix())
	n, err := strconv.Atoi(name[strings.LastIndexByte(name, '-')+1:])
	if err != nil || n < splitWidth || n > 128 || strings.Contains(name, "/split-"+firewall.IPv4.String()) && n > 32 {
		return 0
	}
	return n
}

// lengthOf is the prefix length that the name of a set of prefixes tells.
func lengthOf(name string) (int, bool) {
	n, err := strconv.Atoi(name[strings.LastIndexByte(name, '/')+1:])
	return n, err == nil && n >= 0 && n <= 128
}

// read makes pieces of what the kernel holds of a part, where it stands; false if its objects are not such as we make.
func (p part) read(have *ruleset, at placement) (*pieces, bool) {
	out := &pieces{form: at.form, shards: make([]shardLists, at.shardCount())}
	if at.shape == shapeSplit {
		split := have.sets[p.splitMap(at)]
		if split == nil || split.kind != kindSplit || split.odd > 0 || len(split.verdicts) != splitParts {
			return nil, false
		}
		for shard, v := range split.verdicts {
			if v != (verdict{unix.NFT_GOTO, p.shardStem(at, int(shard))}) {
				return nil, false
			}
		}
	}
	full := maskOf(p.family, 0).BitLen()
	for i := range out.shards {
		stem := p.lengthsChain(at)
		if at.shape == shapeSplit {
			stem = p.shardStem(at, i)
		}
		out.shards[i] = shardLists{}
		for length := range full + 1 {
			if s := have.sets[lengthSet(stem, length)]; s != nil {
				if s.kind != kindPrefix || s.odd > 0 {
					return nil, false
				}
				out.shards[i][length] = s.keys
			}
		}
	}
	return out, true
}
