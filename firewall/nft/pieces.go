package nft

import (
	"maps"
	"net/netip"

	"github.com/portgrave/portgrave/firewall/address"
)

// pieces is a large part's sources, cut as its sets hold them.
type pieces struct {
	sources address.Set
	form
	// shards: one if they are held by length alone, splitParts if they are split. A prefix that
	// lies across bounds is in all that it touches.
	shards []shardLists
}

// shardLists are the keys of a shard by prefix length.
type shardLists map[int]address.List

// shardCount is how many shards there are in a form.
func (f form) shardCount() int {
	if f.shape == shapeSplit {
		return splitParts
	}
	return 1
}

// cut makes pieces of the sources of one family.
func cut(p address.Set, f address.Family, as form) *pieces {
	out := &pieces{sources: p, form: as}
	if f == address.IPv4 {
		out.shards = cutRanges(p.V4(), as, address.V4Of,
			func(list []address.V4) address.List { return address.List{V4: list} })
	} else {
		out.shards = cutRanges(p.V6(), as, address.V6Of,
			func(list []address.V6) address.List { return address.List{V6: list} })
	}
	return out
}

// cutRanges lays out the prefixes of a set by shard and length.
func cutRanges[N address.Number[N]](set address.Ranges[N], as form, number func(netip.Addr) N,
	wrap func([]N) address.List) []shardLists {
	var bounds []N
	if as.shape == shapeSplit && !as.boundsUnknown() {
		for _, b := range as.bounds {
			bounds = append(bounds, number(b))
		}
	}
	// each yields the prefixes in each shard that they lie in.
	each := func(yield func(shard, length int, first N)) {
		shard := 0
		set.Prefixes(func(first N, length int) bool {
			for shard < len(bounds) && bounds[shard].Compare(first) <= 0 {
				shard++
			}
			last := address.PrefixRange(first, length).Last
			yield(shard, length, first)
			for i := shard; i < len(bounds) && bounds[i].Compare(last) <= 0; i++ {
				yield(i+1, length, first)
			}
			return true
		})
	}
	// Once to count and once to fill, so that all keys lie in one piece of memory of the right
	// size.
	var counts [splitParts][129]int
	total := 0
	each(func(shard, length int, _ N) {
		counts[shard][length]++
		total++
	})
	all := make([]N, 0, total)
	var lists [splitParts][129][]N
	for i := range lists {
		for length, n := range counts[i] {
			lists[i][length] = all[len(all) : len(all) : len(all)+n]
			all = all[:len(all)+n]
		}
	}
	each(func(shard, length int, first N) {
		lists[shard][length] = append(lists[shard][length], first)
	})
	shards := make([]shardLists, as.shardCount())
	for i := range shards {
		shards[i] = shardLists{}
		for length, list := range lists[i] {
			if len(list) > 0 {
				shards[i][length] = wrap(list)
			}
		}
	}
	return shards
}

// splitAt cuts the sources of one family, at least two, into parts of equal
// size, between prefixes.
func splitAt(p address.Set, f address.Family) (bounds [splitParts - 1]netip.Addr) {
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

// recut makes pieces of other sources. Where a few have changed, the lists that hold none of those
// are the same as before.
func (p *pieces) recut(sources address.Set, f address.Family, as form) *pieces {
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
			k := p.shards[i][length].Replaced(remove.shards[i][length], add.shards[i][length])
			if out.shards[i][length] = k; k.Len() == 0 {
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
				out.shards[i][length] = out.shards[i][length].Union(k)
			}
		}
	}
	return out
}
