package nft

import (
	"maps"
	"net/netip"

	"github.com/portgrave/portgrave/firewall"
)

// pieces is a large part's sources, cut as its sets hold them.
type pieces struct {
	sources firewall.Prefixes
	form
	// shards: one if they are held by length alone; splitParts and, as the last, the shorter prefixes if they are split.
	shards []shardLists
}

// shorter is the number of the shard of those prefixes that are too short to belong to one of the others.
const shorter = splitParts

// shardLists are the keys of a shard by prefix length.
type shardLists map[int]keys

// shardCount is how many shards there are in a form.
func (f form) shardCount() int {
	if f.shape == shapeSplit {
		return splitParts + 1
	}
	return 1
}

// cut makes pieces of the sources of one family.
func cut(p firewall.Prefixes, f firewall.Family, as form) *pieces {
	if f == firewall.IPv4 {
		return cutNumbers(p, f, as, firewall.Address4Of, shard4, func(list []firewall.Address4) keys { return keys{v4: list} })
	}
	return cutNumbers(p, f, as, firewall.Address6Of, shard6, func(list []firewall.Address6) keys { return keys{v6: list} })
}

func shard4(a firewall.Address4, bits int) int { return int(a>>(32-bits)) & (splitParts - 1) }

func shard6(a firewall.Address6, bits int) int {
	if bits > 64 {
		a.Hi, bits = a.Hi<<(bits-64)|a.Lo>>(128-bits), 64
	}
	return int(a.Hi>>(64-bits)) & (splitParts - 1)
}

func cutNumbers[A any](p firewall.Prefixes, f firewall.Family, as form, number func(netip.Addr) A, shardOf func(A, int) int, wrap func([]A) keys) *pieces {
	out := &pieces{sources: p, form: as, shards: make([]shardLists, as.shardCount())}
	shard := func(a A, length int) int {
		switch {
		case as.shape != shapeSplit:
			return 0
		case length < as.bits:
			return shorter
		}
		return shardOf(a, as.bits)
	}
	// Once to count and once to fill, so that all keys lie in one piece of memory of the right size.
	var counts [splitParts + 1][129]int
	total := 0
	for x := range p.Family(f) {
		counts[shard(number(x.Addr()), x.Bits())][x.Bits()]++
		total++
	}
	all := make([]A, 0, total)
	var lists [splitParts + 1][129][]A
	for i := range out.shards {
		for length, n := range counts[i] {
			lists[i][length] = all[len(all) : len(all) : len(all)+n]
			all = all[:len(all)+n]
		}
	}
	for x := range p.Family(f) {
		a := number(x.Addr())
		list := &lists[shard(a, x.Bits())][x.Bits()]
		*list = append(*list, a)
	}
	for i := range out.shards {
		out.shards[i] = shardLists{}
		for length, list := range lists[i] {
			if len(list) > 0 {
				out.shards[i][length] = wrap(list)
			}
		}
	}
	return out
}

// splitSamples is how many prefixes are looked at to find out where to split.
const splitSamples = 4096

// splitAt finds out which bits split the sources of one family best: prefixes that differ in their leading bits, as IPv4's mostly do, and
// those that all belong to one network. A dump of a set takes time with the square of its size, so the sum of the squares shall be small.
func splitAt(p firewall.Prefixes, f firewall.Family) int {
	const first, step = 16, 4
	full := maskOf(f, 0).BitLen()
	counts := make([][splitParts + 1]int, full/step+1)
	every, i := max(1, p.FamilyLen(f)/splitSamples), 0
	for x := range p.Family(f) {
		if i++; i%every != 0 {
			continue
		}
		for bits := first; bits <= full; bits += step {
			shard := shorter
			switch {
			case x.Bits() < bits:
			case f == firewall.IPv4:
				shard = shard4(firewall.Address4Of(x.Addr()), bits)
			default:
				shard = shard6(firewall.Address6Of(x.Addr()), bits)
			}
			counts[bits/step][shard]++
		}
	}
	best, least := first, -1
	for bits := first; bits <= full; bits += step {
		sum := 0
		for _, n := range counts[bits/step] {
			sum += n * n
		}
		if least < 0 || sum < least {
			best, least = bits, sum
		}
	}
	return best
}

// recut makes pieces of other sources. Where a few have changed, the lists that hold none of those are the same as before.
func (p *pieces) recut(sources firewall.Prefixes, f firewall.Family, as form) *pieces {
	if p == nil || p.form != as || as.shape != shapeSplit && as.shape != shapeLengths {
		return cut(sources, f, as)
	}
	come, gone := rangesThatDiffer(sources, p.sources, f)
	if 8*(come.FamilyLen(f)+gone.FamilyLen(f)) > sources.FamilyLen(f) {
		return cut(sources, f, as)
	}
	add, remove := cut(come, f, as), cut(gone, f, as)
	out := &pieces{sources: sources, form: as, shards: make([]shardLists, len(p.shards))}
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
	out := &pieces{form: p.form, shards: make([]shardLists, len(p.shards))}
	for i := range p.shards {
		out.shards[i] = shardLists{}
		for _, lists := range []shardLists{p.shards[i], o.shards[i]} {
			for length, k := range lists {
				out.shards[i][length] = out.shards[i][length].union(k)
			}
		}
	}
	return out
}
