package nft

import (
	"slices"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

func compareSpans(a, b span) int { return a.first.Compare(b.first) }

func sameSpan(a, b span) bool {
	return a.first == b.first && a.last == b.last && firewall.SameEnd(a.until, b.until)
}

// diffSpans merges two ascending lists and returns what must be added to have and removed from it
// to get want, both ascending.
func diffSpans(want, have []span) (add, remove []span) {
	return address.DiffSorted(want, have, compareSpans, sameSpan)
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
