package firewall

import (
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func edited(want, have []int) (added, removed []int) {
	DiffLists(want, have, func(a, b int) bool { return a == b },
		func(x int) { added = append(added, x) }, func(x int) { removed = append(removed, x) })
	return added, removed
}

// What is added is in want, what is removed in have, each in its order, and without them both lists
// are the same.
func TestDiffListsLeavesTheCommonPart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lists := rapid.SliceOfN(rapid.IntRange(0, 4), 0, 12)
		want, have := lists.Draw(t, "want"), lists.Draw(t, "have")
		added, removed := edited(want, have)
		if len(want)-len(added) != len(have)-len(removed) {
			t.Fatalf("added %v, removed %v", added, removed)
		}
		if kept := len(want) - len(added); kept != longestCommon(want, have) {
			t.Fatalf(
				"%d are kept of %d; added %v, removed %v",
				kept,
				longestCommon(want, have),
				added,
				removed,
			)
		}
		if !bounded(added, want) || !bounded(removed, have) {
			t.Fatalf("added %v, removed %v are out of order", added, removed)
		}
	})
}

// longestCommon is the plain definition.
func longestCommon(a, b []int) int {
	switch {
	case len(a) == 0 || len(b) == 0:
		return 0
	case a[0] == b[0]:
		return 1 + longestCommon(a[1:], b[1:])
	}
	return max(longestCommon(a[1:], b), longestCommon(a, b[1:]))
}

// within reports whether part can be had of all by leaving some out.
func bounded(part, all []int) bool {
	for _, x := range all {
		if len(part) > 0 && part[0] == x {
			part = part[1:]
		}
	}
	return len(part) == 0
}

// Ten thousand rules against ten thousand: a change in one place is found, and so many changes that
// comparing would take gigabytes are still changes from the one to the other.
func TestDiffListsOfManyRules(t *testing.T) {
	want := make([]int, 10_000)
	for i := range want {
		want[i] = i
	}
	have := slices.Delete(slices.Clone(want), 5_000, 5_001)
	if added, removed := edited(want, have); !slices.Equal(added, []int{5_000}) || removed != nil {
		t.Errorf("added %v, removed %v", added, removed)
	}
	have = slices.Clone(want)
	slices.Reverse(have[1:])
	added, removed := edited(want, have)
	if !slices.Equal(added, want[1:]) || !slices.Equal(removed, have[1:]) {
		t.Errorf("added %d, removed %d", len(added), len(removed))
	}
}

func TestDiffMaps(t *testing.T) {
	one, two, three := 1, 2, 3
	want := map[string]*int{"b": &two, "a": &one}
	have := map[string]*int{"b": &three, "c": &three}
	var got []string
	word := func(n *int) string {
		if n == nil {
			return "none"
		}
		return strconv.Itoa(*n)
	}
	DiffMaps(want, have, func(k string, want, have *int) {
		got = append(got, k+": "+word(want)+" for "+word(have))
	})
	if diff := cmp.Diff([]string{"a: 1 for none", "b: 2 for 3", "c: none for 3"}, got); diff != "" {
		t.Error(diff)
	}
	DiffMaps(nil, nil, func(k string, _, _ int) { t.Errorf("%s is in neither map", k) })
}
