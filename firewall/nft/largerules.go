package nft

import (
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
		c.lengths(svc, id, chain, p.shards[0])
		return newRule().family(f).gotoChain(chain)
	}
	name := id.splitMap(at)
	verdicts := make(map[uint32]verdict, len(p.values))
	made := map[int]verdict{}
	for value, shard := range p.values {
		v, ok := made[shard]
		if !ok {
			chain := id.shardChain(at, shard)
			lists := shardLists{}
			if shard != wholeShard {
				lists = p.shards[shard]
			}
			c.lengths(svc, id, chain, lists)
			v = verdict{unix.NFT_GOTO, chain}
			made[shard] = v
		}
		verdicts[value] = v
	}
	s := &set{name: name, service: svc.Name, family: f, kind: kindSplit, spec: specOf(kindSplit, f), verdicts: verdicts}
	s.spec.size = c.size(name, len(verdicts))
	c.sets[name] = s
	return newRule().saddrSplit(f, splitBits(f), name).done()
}

// lengths makes a chain that accepts what is in one of the lists, and the lists' sets; without lists it accepts everything.
func (c *compiler) lengths(svc firewall.Service, id part, name string, lists shardLists) {
	accept := newRule().gotoChain(allowChain(svc.Name))
	if isSimple(svc) {
		accept = newRule().count(counterName(serviceChain(svc.Name), "allowed", id.family)).accept()
	}
	var order []lookedUp
	for length, k := range lists {
		s := &set{name: lengthSet(name, length), service: svc.Name, family: id.family, kind: kindPrefix, spec: specOf(kindPrefix, id.family), keys: k}
		s.spec.size = c.size(s.name, k.len())
		c.sets[s.name] = s
		order = append(order, lookedUp{s.name, length, bits.Len32(s.spec.size)})
	}
	// By order of magnitude, so that the order does not change with every element.
	slices.SortFunc(order, func(a, b lookedUp) int {
		return cmp.Or(cmp.Compare(b.magnitude, a.magnitude), cmp.Compare(a.length, b.length))
	})
	chain := name
	for more := 1; len(order) > 0; more++ {
		now := order[:min(len(order), maxLookups)]
		order = order[len(now):]
		otherwise := refuseChain(svc.Name)
		if len(order) > 0 {
			otherwise = fmt.Sprintf("%s/more%d", name, more)
		}
		c.chain(chain, svc.Name, newRule().saddrInNone(id.family, now).gotoChain(otherwise), accept)
		chain = otherwise
	}
	if len(lists) == 0 {
		c.chain(name, svc.Name, accept)
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

func masked(f firewall.Family, length int) (exprs []expr.Any, text string) {
	exprs, text = []expr.Any{loadAddress(f, false)}, headerName(f)+" saddr"
	if mask := maskOf(f, length); length < mask.BitLen() {
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
		exprs, text := masked(f, s.length)
		b.add(text+" != @"+s.set, append(exprs, &expr.Lookup{SourceRegister: reg1, SetName: s.set, Invert: true})...)
	}
	return b
}

// saddrSplit sends the packet where the leading bits of its source belong.
func (b *builder) saddrSplit(f firewall.Family, length int, name string) *builder {
	exprs, text := masked(f, length)
	b.add("", familyExprs(f)...)
	return b.add(text+" vmap @"+name, append(exprs, &expr.Lookup{SourceRegister: reg1, SetName: name, DestRegister: 0, IsDestRegSet: true})...)
}

// splitKey is the address that begins with a value and goes on with zeros.
func splitKey(f firewall.Family, value uint32) []byte {
	key := make([]byte, loadAddress(f, false).Len)
	key[0], key[1] = byte(value>>8), byte(value)
	return key
}

// valuePrefix is all addresses that begin with a value.
func valuePrefix(f firewall.Family, value uint32) netip.Prefix {
	key, _ := netip.AddrFromSlice(splitKey(f, value))
	return netip.PrefixFrom(key, splitBits(f))
}

// lengthOf is the prefix length that the name of a set of prefixes tells.
func lengthOf(name string) (int, bool) {
	n, err := strconv.Atoi(name[strings.LastIndexByte(name, '/')+1:])
	return n, err == nil && n >= 0 && n <= 128
}

// read makes pieces of what the kernel holds of a part, where it stands; false if its objects are not such as we make.
func (p part) read(have *ruleset, at placement) (*pieces, bool) {
	out := &pieces{shape: at.shape}
	chains := []string{p.lengthsChain(at)}
	if at.shape == shapeSplit {
		split := have.sets[p.splitMap(at)]
		if split == nil || split.kind != kindSplit || split.odd > 0 {
			return nil, false
		}
		chains = make([]string, splitParts)
		shardOf := map[string]int{p.shardChain(at, wholeShard): wholeShard}
		for i := range chains {
			chains[i] = p.shardChain(at, i)
			shardOf[chains[i]] = i
		}
		out.values = make(map[uint32]int, len(split.verdicts))
		for value, v := range split.verdicts {
			shard, ok := shardOf[v.chain]
			if !ok || v.code != unix.NFT_GOTO {
				return nil, false
			}
			out.values[value] = shard
		}
	}
	out.shards = make([]shardLists, len(chains))
	full := maskOf(p.family, 0).BitLen()
	for i, chain := range chains {
		out.shards[i] = shardLists{}
		for length := range full + 1 {
			if s := have.sets[lengthSet(chain, length)]; s != nil {
				if s.kind != kindPrefix || s.odd > 0 {
					return nil, false
				}
				out.shards[i][length] = s.keys
			}
		}
	}
	return out, true
}
