package nft

import (
	"net/netip"
	"slices"

	"github.com/portgrave/portgrave/firewall"
	"go4.org/netipx"
)

func lastOf(p firewall.Prefix) netip.Addr { return netipx.PrefixLastIP(p) }

func prefixOf(first, last netip.Addr) (firewall.Prefix, bool) {
	return netipx.IPRangeFrom(first, last).Prefix()
}

func compareSpans(a, b span) int { return a.first.Compare(b.first) }

func sameSpan(a, b span) bool {
	if a.first != b.first || a.last != b.last || a.until.IsZero() != b.until.IsZero() {
		return false
	}
	return a.until.IsZero() || a.until.Sub(b.until).Abs() <= firewall.ExpiryTolerance
}

// diffSpans merges two ascending lists and returns what must be added to have and removed from it
// to get want, both ascending.
func diffSpans(want, have []span) (add, remove []span) {
	return diffSorted(want, have, compareSpans, sameSpan)
}

// diffSorted merges two ascending lists and returns what must be added to have and removed from it to get want, both ascending. Elements that compare
// equal may still differ: then they are replaced.
func diffSorted[E any](want, have []E, compare func(a, b E) int, same func(a, b E) bool) (add, remove []E) {
	i, j := 0, 0
	for i < len(want) && j < len(have) {
		switch c := compare(want[i], have[j]); {
		case c < 0:
			add = append(add, want[i])
			i++
		case c > 0:
			remove = append(remove, have[j])
			j++
		default:
			if !same(want[i], have[j]) {
				add, remove = append(add, want[i]), append(remove, have[j])
			}
			i, j = i+1, j+1
		}
	}
	return append(add, want[i:]...), append(remove, have[j:]...)
}

// overlap reports whether two ascending lists share an address.
func overlap(a, b []span) bool {
	i, j := 0, 0
	for i < len(a) && j < len(b) {
		switch {
		case a[i].last.Less(b[j].first):
			i++
		case b[j].last.Less(a[i].first):
			j++
		default:
			return true
		}
	}
	return false
}

func sortSpans(s []span) { slices.SortFunc(s, compareSpans) }
