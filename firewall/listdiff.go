package firewall

import (
	"cmp"
	"maps"
	"slices"
)

// DiffMaps walks two maps that shall become equal, in the order of their keys. What a map lacks is
// the zero value.
func DiffMaps[K cmp.Ordered, V any](want, have map[K]V, each func(k K, want, have V)) {
	all := make(map[K]struct{}, max(len(want), len(have)))
	for k := range want {
		all[k] = struct{}{}
	}
	for k := range have {
		all[k] = struct{}{}
	}
	for _, k := range slices.Sorted(maps.Keys(all)) {
		each(k, want[k], have[k])
	}
}

// maxCompared bounds the table that DiffLists makes: 8 MB.
const maxCompared = 1 << 20

// DiffLists walks two ordered lists that shall become equal: add and remove are called in
// order, with the longest common part kept. For lists of rules, where order matters.
//
// What is equal at both ends is found first, so that one change in ten thousand rules costs no more
// than reading them. Lists that differ in so many places that finding the longest common part would
// take their product in memory keep what is equal at the ends, and nothing between.
func DiffLists[T any](want, have []T, equal func(a, b T) bool, add, remove func(T)) {
	for len(want) > 0 && len(have) > 0 && equal(want[0], have[0]) {
		want, have = want[1:], have[1:]
	}
	for len(want) > 0 && len(have) > 0 && equal(want[len(want)-1], have[len(have)-1]) {
		want, have = want[:len(want)-1], have[:len(have)-1]
	}
	if len(want)*len(have) > maxCompared {
		for _, x := range want {
			add(x)
		}
		for _, x := range have {
			remove(x)
		}
		return
	}
	// length[i][j] is the longest common subsequence of want[i:] and have[j:].
	length := make([][]int, len(want)+1)
	for i := range length {
		length[i] = make([]int, len(have)+1)
	}
	for i := len(want) - 1; i >= 0; i-- {
		for j := len(have) - 1; j >= 0; j-- {
			if equal(want[i], have[j]) {
				length[i][j] = length[i+1][j+1] + 1
			} else {
				length[i][j] = max(length[i+1][j], length[i][j+1])
			}
		}
	}
	for i, j := 0, 0; i < len(want) || j < len(have); {
		switch {
		case i < len(want) && j < len(have) && equal(want[i], have[j]):
			i, j = i+1, j+1
		case i < len(want) && (j == len(have) || length[i+1][j] >= length[i][j+1]):
			add(want[i])
			i++
		default:
			remove(have[j])
			j++
		}
	}
}
