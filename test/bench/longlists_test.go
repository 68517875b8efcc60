package main

import (
	"slices"
	"testing"

	"github.com/portgrave/portgrave/firewall/address"
)

// No two prefixes of a list touch, so that every way to hold it holds as many.
func TestLongListsAreSortedAndDisjoint(t *testing.T) {
	for _, x := range longLists {
		for _, n := range []int{400, 10_000} {
			list := x.list(n)
			if len(list) < n-2 || len(list) > n {
				t.Errorf("%s: %d prefixes, not %d", x.what, len(list), n)
			}
			set, err := address.New(list...)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(slices.Collect(set.All()), list) {
				t.Errorf("%s: %d prefixes are %d when merged", x.what, n, set.Len())
			}
		}
	}
}
