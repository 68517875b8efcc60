package lease

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/portgrave/portgrave/firewall"
)

// latest gives every address its latest end, and each end its fewest prefixes: the form that State.Canonical gives expiring sources.
// That one goes through all sources once for each end, which suits a policy; leases have thousands of ends, and stand beside a
// million sources.
//
// Prefixes nest or are apart, never overlap otherwise. So they are a forest, walked from its roots down; where a prefix
// has others inside, it is halved until each part is plain.
func latest(in []firewall.ExpiringSource) []firewall.ExpiringSource {
	sorted := slices.Clone(in)
	for i := range sorted {
		sorted[i].Until = sorted[i].Until.UTC().Truncate(time.Second)
	}
	slices.SortFunc(sorted, compareSources) // a prefix comes before those inside it
	byEnd := map[time.Time][]netip.Prefix{}
	for len(sorted) > 0 {
		root := sorted[0].Prefix
		n := 1
		for n < len(sorted) && root.Overlaps(sorted[n].Prefix) {
			n++
		}
		spread(root, sorted[:n], time.Time{}, byEnd)
		sorted = sorted[n:]
	}
	var out []firewall.ExpiringSource
	for end, list := range byEnd {
		merged, err := firewall.NewPrefixes(list...)
		if err != nil {
			continue // no prefix of a lease or a canonical State is one; a bad source allows nobody
		}
		for p := range merged.All() {
			out = append(out, firewall.ExpiringSource{Prefix: p, Until: end})
		}
	}
	slices.SortFunc(out, compareSources)
	return out
}

func compareSources(a, b firewall.ExpiringSource) int {
	return cmp.Or(a.Prefix.Addr().Compare(b.Prefix.Addr()), cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()))
}

// spread lays out what lies within p, ordered, under the latest end of what encloses it.
func spread(p netip.Prefix, within []firewall.ExpiringSource, end time.Time, byEnd map[time.Time][]netip.Prefix) {
	for len(within) > 0 && within[0].Prefix == p {
		if within[0].Until.After(end) {
			end = within[0].Until
		}
		within = within[1:]
	}
	if len(within) == 0 {
		if !end.IsZero() { // else a half in which nothing is
			byEnd[end] = append(byEnd[end], p)
		}
		return
	}
	low, high := halves(p)
	i := slices.IndexFunc(within, func(e firewall.ExpiringSource) bool { return !low.Overlaps(e.Prefix) })
	if i < 0 {
		i = len(within)
	}
	spread(low, within[:i], end, byEnd)
	spread(high, within[i:], end, byEnd)
}

// halves cuts a prefix in two. One that has others inside is no single address.
func halves(p netip.Prefix) (low, high netip.Prefix) {
	bits := p.Bits() + 1
	b := p.Addr().AsSlice()
	b[(bits-1)/8] |= 0x80 >> ((bits - 1) % 8)
	second, _ := netip.AddrFromSlice(b) // as long as it was
	return netip.PrefixFrom(p.Addr(), bits), netip.PrefixFrom(second, bits)
}
