package nft

import (
	"fmt"
	"maps"
	"net/netip"
	"strings"

	"github.com/portgrave/portgrave/firewall"
)

// How a service's sources of one family are held is decided here, by their number, from measurements (Linux 6.18, a million
// CIDRs of 16 lengths, milliseconds of kernel time; packet rates relative to no rules at all, base chain included):
//
//	                                   load   dump   1 %  one   UDP, one source / 130 000   TCP
//	one interval set                   1690  67000   368  236   0.77 / 0.61                 0.87
//	64 interval sets by address        1390    430   318    3   0.79 / 0.46                 0.55…0.9
//	1024 interval sets by address      1200    310   268  0.4   0.79 / 0.56                 0.87
//	a hash set per length              560    1450    18  0.1   0.89 / 0.72                 0.97
//	the same, 16 parts by address      385     227    24  0.2
//
// An interval set is a tree of twice as many nodes as ranges, which a packet descends; each commit walks all of it.
// Hash sets of prefixes of one length need a look-up per length, but each of them takes one memory access or two, and
// they stand in one rule, so that a look-up costs three expressions and no more; the most populous length comes first. A dump starts again
// from the first element for every 32 KiB, so what is large is cut in parts by the leading bits of the address.
// Below some thousand prefixes an interval set is as fast, and simpler to look at.
type shape uint8

const (
	shapeNone    shape = iota // nothing there
	shapeSmall                // an interval set, and a hash set for many exact addresses
	shapeLengths              // a hash set per prefix length
	shapeSplit                // a map from the leading bits to parts, each with a hash set per prefix length
)

// limits are from how many prefixes on a part takes a shape.
type limits struct{ lengths, split int }

var usualLimits = limits{manyPrefixes, splitPrefixes}

const (
	// manyPrefixes is from how many prefixes on they are held by length. A commit that touches an interval set of 4096 takes the kernel
	// 0.7 ms, and a dump of it 2 ms.
	manyPrefixes = 4096
	// splitPrefixes is from how many on they are cut in parts: a dump of a hash set of 128 k takes 100 ms, four times what its elements are worth.
	splitPrefixes = 128 << 10
	// splitParts is how many parts there are: a million sources make parts of 32 k, whose dumps cost little more than their elements.
	splitParts = 32
)

// splitBits is how many leading bits choose a part. The map has an element for each value that occurs: 4096 at most of IPv4; of IPv6, where
// all that is routed begins with 2000::/3, 8192. Neighbouring values belong to different parts, so lists that crowd together are cut as well.
func splitBits(f firewall.Family) int {
	if f == firewall.IPv4 {
		return 12
	}
	return 16
}

// shapeOf is the shape for n prefixes. What is there stays until it is off by half, so that a list around a limit is not loaded
// anew all the time.
func (l limits) shapeOf(n int, have shape) shape {
	if l == (limits{}) {
		l = usualLimits
	}
	switch {
	case have == shapeSmall && n < 2*l.lengths,
		have == shapeLengths && n >= l.lengths/2 && n < 2*l.split,
		have == shapeSplit && n >= l.split/2:
		return have
	case n < l.lengths:
		return shapeSmall
	case n < l.split:
		return shapeLengths
	}
	return shapeSplit
}

// part names one service's sources of one family.
type part struct {
	service string
	family  firewall.Family
}

// placement is where a part's sources stand.
type placement struct {
	shape  shape
	second bool // under the second of two names, of which one can be loaded while the other is in use
}

func (p placement) suffix() string {
	if p.second {
		return ".2"
	}
	return ""
}

// Names of a large part's objects.
func (p part) lengthsChain(at placement) string {
	return fmt.Sprintf("svc/%s/%s%s", p.service, p.family, at.suffix())
}

func (p part) splitMap(at placement) string {
	return fmt.Sprintf("svc/%s/split-%s%s", p.service, p.family, at.suffix())
}

func (p part) shardChain(at placement, shard int) string {
	if shard == wholeShard {
		return fmt.Sprintf("svc/%s/%s-all%s", p.service, p.family, at.suffix())
	}
	return fmt.Sprintf("svc/%s/%s-%02d%s", p.service, p.family, shard, at.suffix())
}

// lengthSet is the set of a chain's prefixes of one length.
func lengthSet(chain string, length int) string { return fmt.Sprintf("%s/%d", chain, length) }

// partOf tells whether an object's name is that of one of a large part's.
func partOf(name string) (part, bool) {
	service := serviceOf(name)
	if service == "" || len(name) < len("svc//")+len(service) {
		return part{}, false
	}
	rest := strings.TrimPrefix(name[len("svc//")+len(service):], "split-")
	for _, f := range firewall.Families {
		if tail, ok := strings.CutPrefix(rest, f.String()); ok && (tail == "" || strings.ContainsRune("-/.", rune(tail[0]))) {
			return part{service, f}, true
		}
	}
	return part{}, false
}

// pieces is a large part's sources, cut as its sets hold them.
type pieces struct {
	sources firewall.Prefixes
	shape   shape
	shards  []shardLists
	// values are the leading 16 bits (the last 4 zero of IPv4) of what is in a shard, and which.
	values map[uint32]int
}

// wholeShard stands for all addresses that begin with a value.
const wholeShard = -1

// shardLists are the keys of a shard by prefix length.
type shardLists map[int]keys

// cut makes pieces of the sources of one family.
func cut(p firewall.Prefixes, f firewall.Family, s shape) *pieces {
	if f == firewall.IPv4 {
		return cutNumbers(p, f, s, firewall.Address4Of, func(a firewall.Address4) uint32 { return uint32(a >> 16) },
			func(list []firewall.Address4) keys { return keys{v4: list} })
	}
	return cutNumbers(p, f, s, firewall.Address6Of, func(a firewall.Address6) uint32 { return uint32(a.Hi >> 48) },
		func(list []firewall.Address6) keys { return keys{v6: list} })
}

func cutNumbers[A any](p firewall.Prefixes, f firewall.Family, s shape, number func(netip.Addr) A, top func(A) uint32, wrap func([]A) keys) *pieces {
	out := &pieces{sources: p, shape: s}
	shards, bits := 1, 0
	if s == shapeSplit {
		shards, bits = splitParts, splitBits(f)
		out.values = map[uint32]int{}
	}
	step := uint32(1) << (16 - bits) // between one value and the next
	// Once to count and once to fill, so that all keys lie in one piece of memory of the right size.
	var counts [splitParts][129]int
	total := 0
	last, shard := ^uint32(0), 0
	for x := range p.Family(f) {
		if s == shapeSplit {
			value := top(number(x.Addr())) &^ (step - 1)
			if x.Bits() <= bits {
				for v := value; v <= value|(uint32(1)<<(16-x.Bits())-1); v += step {
					out.values[v] = wholeShard
				}
				continue
			}
			if value != last {
				last, shard = value, int(value/step)%shards
				out.values[value] = shard
			}
		}
		counts[shard][x.Bits()]++
		total++
	}
	all := make([]A, 0, total)
	lists := make([][129][]A, shards)
	for i := range lists {
		for length, n := range counts[i] {
			lists[i][length] = all[len(all) : len(all) : len(all)+n]
			all = all[:len(all)+n]
		}
	}
	shard = 0
	for x := range p.Family(f) {
		a := number(x.Addr())
		if s == shapeSplit {
			if x.Bits() <= bits {
				continue
			}
			shard = int(top(a)/step) % shards
		}
		lists[shard][x.Bits()] = append(lists[shard][x.Bits()], a)
	}
	out.shards = make([]shardLists, shards)
	for i := range lists {
		out.shards[i] = shardLists{}
		for length, list := range lists[i] {
			if len(list) > 0 {
				out.shards[i][length] = wrap(list)
			}
		}
	}
	return out
}

// recut makes pieces of other sources. Where a few have changed, the lists that hold none of those are the same as before.
func (p *pieces) recut(sources firewall.Prefixes, f firewall.Family, s shape) *pieces {
	if p == nil || p.shape != s || s != shapeSplit && s != shapeLengths {
		return cut(sources, f, s)
	}
	come, gone := rangesThatDiffer(sources, p.sources, f)
	if 8*(come.FamilyLen(f)+gone.FamilyLen(f)) > sources.FamilyLen(f) {
		return cut(sources, f, s)
	}
	add, remove := cut(come, f, s), cut(gone, f, s)
	out := &pieces{sources: sources, shape: s, shards: make([]shardLists, len(p.shards)), values: maps.Clone(p.values)}
	for i := range p.shards {
		out.shards[i] = maps.Clone(p.shards[i])
		for length, k := range remove.shards[i] {
			if out.shards[i][length], _ = diffKeys(out.shards[i][length], k); out.shards[i][length].len() == 0 {
				delete(out.shards[i], length)
			}
		}
		for length, k := range add.shards[i] {
			out.shards[i][length] = out.shards[i][length].union(k)
		}
	}
	// A value is gone when nothing begins with it any more.
	for value := range remove.values {
		delete(out.values, value)
	}
	maps.Copy(out.values, add.values)
	for value, shard := range remove.values {
		if _, ok := add.values[value]; !ok && shard != wholeShard && sources.Overlaps(valuePrefix(f, value)) {
			out.values[value] = shard
		}
	}
	return out
}

// rangesThatDiffer are the ranges of each of two sets that the other does not have, as they are.
func rangesThatDiffer(a, b firewall.Prefixes, f firewall.Family) (onlyA, onlyB firewall.Prefixes) {
	var inA, inB firewall.PrefixesBuilder
	if f == firewall.IPv4 {
		diffRanges(a.Ranges4(), b.Ranges4(), inA.AddRange4, inB.AddRange4)
	} else {
		diffRanges(a.Ranges6(), b.Ranges6(), inA.AddRange6, inB.AddRange6)
	}
	return inA.Set(), inB.Set()
}

func diffRanges[A ordered[A]](a, b []firewall.Range[A], onlyA, onlyB func(firewall.Range[A])) {
	for len(a) > 0 && len(b) > 0 {
		switch c := a[0].First.Compare(b[0].First); {
		case c < 0:
			onlyA(a[0])
			a = a[1:]
		case c > 0:
			onlyB(b[0])
			b = b[1:]
		default:
			if a[0] != b[0] {
				onlyA(a[0])
				onlyB(b[0])
			}
			a, b = a[1:], b[1:]
		}
	}
	for _, r := range a {
		onlyA(r)
	}
	for _, r := range b {
		onlyB(r)
	}
}

// union is the pieces that hold all that either holds, element by element.
func (p *pieces) union(o *pieces) *pieces {
	out := &pieces{shape: p.shape, shards: make([]shardLists, len(p.shards))}
	for i := range p.shards {
		out.shards[i] = shardLists{}
		for _, lists := range []shardLists{p.shards[i], o.shards[i]} {
			for length, k := range lists {
				out.shards[i][length] = out.shards[i][length].union(k)
			}
		}
	}
	if p.shape == shapeSplit {
		out.values = map[uint32]int{}
		for _, values := range []map[uint32]int{p.values, o.values} {
			for v, shard := range values {
				if out.values[v] != wholeShard {
					out.values[v] = shard
				}
			}
		}
	}
	return out
}
