package nft

import (
	"maps"
	"net/netip"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

// pieces is a large part's sources, cut as its sets hold them.
type pieces struct {
	sources firewall.Prefixes
	form
	// shards: one if they are held by length alone, splitParts if they are split. A prefix that lies across bounds is in all that it touches.
	shards []shardLists
}

// shardLists are the keys of a shard by prefix length.
type shardLists map[int]keys

// shardCount is how many shards there are in a form.
func (f form) shardCount() int {
	if f.shape == shapeSplit {
		return splitParts
	}
	return 1
}

// shardsOf are the numbers of the first and the last shard that a prefix belongs to.
func (f form) shardsOf(p netip.Prefix) (first, last int) {
	if f.shape != shapeSplit {
		return 0, 0
	}
	for first < len(f.bounds) && f.bounds[first].Compare(p.Addr()) <= 0 {
		first++
	}
	for last = first; last < len(f.bounds) && p.Contains(f.bounds[last]); last++ {
	}
	return first, last
}

// cut makes pieces of the sources of one family.
func cut(p firewall.Prefixes, f firewall.Family, as form) *pieces {
	if f == firewall.IPv4 {
		return cutNumbers(p, f, as, firewall.Address4Of, func(list []firewall.Address4) keys { return keys{v4: list} })
	}
	return cutNumbers(p, f, as, firewall.Address6Of, func(list []firewall.Address6) keys { return keys{v6: list} })
}

func cutNumbers[A any](p firewall.Prefixes, f firewall.Family, as form, number func(netip.Addr) A, wrap func([]A) keys) *pieces {
	out := &pieces{sources: p, form: as, shards: make([]shardLists, as.shardCount())}
	// Once to count and once to fill, so that all keys lie in one piece of memory of the right size.
	var counts [splitParts][129]int
	total := 0
	for x := range p.Family(f) {
		first, last := as.shardsOf(x)
		for i := first; i <= last; i++ {
			counts[i][x.Bits()]++
			total++
		}
	}
	all := make([]A, 0, total)
	var lists [splitParts][129][]A
	for i := range out.shards {
		for length, n := range counts[i] {
			lists[i][length] = all[len(all) : len(all) : len(all)+n]
			all = all[:len(all)+n]
		}
	}
	for x := range p.Family(f) {
		first, last := as.shardsOf(x)
		for i := first; i <= last; i++ {
			lists[i][x.Bits()] = append(lists[i][x.Bits()], number(x.Addr()))
		}
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

// splitAt cuts the sources of one family, of which there are at least two, into parts of equal size, between prefixes.
func splitAt(p firewall.Prefixes, f firewall.Family) (bounds [splitParts - 1]netip.Addr) {
	n, i, next := p.FamilyLen(f), 0, 0
	for x := range p.Family(f) {
		for ; next < len(bounds) && i*splitParts >= (next+1)*n; next++ {
			bounds[next] = x.Addr()
		}
		i++
	}
	for ; next < len(bounds); next++ { // fewer prefixes than parts
		bounds[next] = bounds[max(0, next-1)]
	}
	return bounds
}

// recut makes pieces of other sources. Where a few have changed, the lists that hold none of those are the same as before.
func (p *pieces) recut(sources firewall.Prefixes, f firewall.Family, as form) *pieces {
	if p == nil || p.form != as || !as.large() {
		return cut(sources, f, as)
	}
	come, gone := address.DiffRanges(sources.Of(f), p.sources.Of(f))
	if 8*(come.FamilyLen(f)+gone.FamilyLen(f)) > sources.FamilyLen(f) {
		return cut(sources, f, as)
	}
	add, remove := cut(come, f, as), cut(gone, f, as)
	out := &pieces{sources: sources, form: as, shards: make([]shardLists, len(p.shards))}
	for i := range p.shards {
		out.shards[i] = maps.Clone(p.shards[i])
		changed := maps.Clone(remove.shards[i])
		maps.Copy(changed, add.shards[i])
		for length := range changed {
			k := p.shards[i][length].replaced(remove.shards[i][length], add.shards[i][length])
			if out.shards[i][length] = k; k.len() == 0 {
				delete(out.shards[i], length)
			}
		}
	}
	return out
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
