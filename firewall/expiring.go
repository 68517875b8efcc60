package firewall

import (
	"cmp"
	"net/netip"
	"slices"
	"sort"
	"time"

	"github.com/portgrave/portgrave/firewall/address"
)

// canonicalExpiring gives every address its latest end, removes what is allowed for good,
// and splits the rest into disjoint minimal prefixes.
func canonicalExpiring(permanent address.Set, in []ExpiringSource) []ExpiringSource {
	var out []ExpiringSource
	for _, e := range LatestEnds(in) {
		// Of what is allowed for good, which may be a million sources, only what lies within this
		// prefix is looked at.
		for p := range address.Without(e.Prefix, permanent).All() {
			out = append(out, ExpiringSource{Prefix: p, Until: e.Until})
		}
	}
	slices.SortFunc(out, compareSources)
	return out
}

// LatestEnds gives every address its latest end, and each end its fewest prefixes: disjoint,
// ordered by prefix, ends in whole seconds of UTC. What is no usable prefix is left out: the policy
// reader has reported it, and a bad source allows nobody.
//
// Prefixes nest or are apart, never overlap otherwise. So they are a forest, walked from its roots
// down; where a prefix has others inside, it is halved until each part is plain.
func LatestEnds(in []ExpiringSource) []ExpiringSource {
	if len(in) == 0 {
		return nil
	}
	sorted := make([]ExpiringSource, 0, len(in))
	for _, e := range in {
		if e.Prefix.IsValid() && !e.Prefix.Addr().Is4In6() {
			sorted = append(
				sorted,
				ExpiringSource{e.Prefix.Masked(), e.Until.UTC().Truncate(time.Second)},
			)
		}
	}
	slices.SortFunc(sorted, compareSources) // a prefix comes before those inside it
	byEnd := map[time.Time]*address.Builder{}
	for len(sorted) > 0 {
		root := sorted[0].Prefix
		n := 1
		for n < len(sorted) && root.Overlaps(sorted[n].Prefix) {
			n++
		}
		spread(root, sorted[:n], time.Time{}, byEnd)
		sorted = sorted[n:]
	}
	var out []ExpiringSource
	for end, b := range byEnd {
		for p := range b.Set().All() {
			out = append(out, ExpiringSource{Prefix: p, Until: end})
		}
	}
	slices.SortFunc(out, compareSources)
	return out
}

// ExpiringIn lists the sources of an IP version that end by themselves and have not yet, of all
// ports; any says whether there were such at all.
func (svc Service) ExpiringIn(f address.Family, now time.Time) (list []ExpiringSource, any bool) {
	return expiringIn(svc.Expiring, f, now)
}

// ExpiringIn is the same of a lease.
func (l Lease) ExpiringIn(f address.Family, now time.Time) (list []ExpiringSource, any bool) {
	return expiringIn(l.Expiring, f, now)
}

func expiringIn(
	all []ExpiringSource, f address.Family, now time.Time,
) (list []ExpiringSource, any bool) {
	for _, e := range all {
		if e.Prefix.Addr().Is4() == (f == address.IPv4) {
			any = true
			if e.Until.After(now) {
				list = append(list, e)
			}
		}
	}
	return list, any
}

// Ending reports whether a source is ending right now. The kernel's clock and ours differ a little,
// so it is no drift whether the kernel still has it.
func Ending(until, now time.Time) bool {
	return !until.IsZero() && until.Sub(now) < ExpiryTolerance
}

// SameEnd reports whether two ends of one source are the same; the zero Time is none.
func SameEnd(a, b time.Time) bool {
	if a.IsZero() || b.IsZero() {
		return a.IsZero() == b.IsZero()
	}
	return a.Sub(b).Abs() <= ExpiryTolerance
}

func compareSources(a, b ExpiringSource) int {
	return cmp.Or(
		a.Prefix.Addr().Compare(b.Prefix.Addr()),
		cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()),
	)
}

// spread lays out what lies within p, ordered, under the latest end of what encloses it.
func spread(
	p netip.Prefix,
	within []ExpiringSource,
	end time.Time,
	byEnd map[time.Time]*address.Builder,
) {
	for len(within) > 0 && within[0].Prefix == p {
		if within[0].Until.After(end) {
			end = within[0].Until
		}
		within = within[1:]
	}
	if len(within) == 0 {
		if end.IsZero() { // a half in which nothing is
			return
		}
		if byEnd[end] == nil {
			byEnd[end] = &address.Builder{}
		}
		_ = byEnd[end].Add(p) // part of a usable prefix
		return
	}
	low, high := address.Halves(p)
	i := sort.Search(len(within), func(i int) bool { return !low.Overlaps(within[i].Prefix) })
	spread(low, within[:i], end, byEnd)
	spread(high, within[i:], end, byEnd)
}
