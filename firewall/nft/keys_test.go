package nft

import (
	"maps"
	"slices"
	"testing"

	"github.com/portgrave/portgrave/firewall"
	"pgregory.net/rapid"
)

func drawKeys(t *rapid.T, label string) keys {
	some := map[uint64]bool{}
	for _, n := range rapid.SliceOfN(rapid.Uint64Range(0, 20), 0, 12).Draw(t, label) {
		some[n] = true
	}
	var k keys
	for _, n := range slices.Sorted(maps.Keys(some)) {
		k.v4 = append(k.v4, firewall.Address4(n))
		k.v6 = append(k.v6, firewall.Address6{Hi: n})
	}
	return k
}

// Keys with some replaced are those that stay and those that come, ascending, each once; and all that it is made from stays as it is.
func TestReplacedKeys(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list, remove, add := drawKeys(t, "list"), drawKeys(t, "remove"), drawKeys(t, "add")
		given := []keys{list, remove, add}
		var were []keys
		for _, k := range given {
			were = append(were, keys{slices.Clone(k.v4), slices.Clone(k.v6)})
		}
		all := map[firewall.Address4]bool{}
		for _, x := range list.v4 {
			all[x] = true
		}
		for _, x := range remove.v4 {
			delete(all, x)
		}
		for _, x := range add.v4 {
			all[x] = true
		}
		var want keys
		for _, x := range slices.Sorted(maps.Keys(all)) {
			want.v4, want.v6 = append(want.v4, x), append(want.v6, firewall.Address6{Hi: uint64(x)})
		}
		if got := list.replaced(remove, add); !got.equal(want) {
			t.Errorf("%v without %v and with %v: %v", list, remove, add, got)
		}
		for i, k := range given {
			if !k.equal(were[i]) {
				t.Error("what it is made from has changed")
			}
		}
	})
}

// The union of two lists is what is in either, ascending, each once; and both stay as they are.
func TestUnionOfKeys(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawKeys(t, "a"), drawKeys(t, "b")
		wasA, wasB := keys{slices.Clone(a.v4), slices.Clone(a.v6)}, keys{slices.Clone(b.v4), slices.Clone(b.v6)}
		all := map[firewall.Address4]bool{}
		for _, x := range slices.Concat(a.v4, b.v4) {
			all[x] = true
		}
		got := a.union(b)
		if want := slices.Sorted(maps.Keys(all)); !slices.Equal(got.v4, want) {
			t.Errorf("union of %v and %v: %v", a.v4, b.v4, got.v4)
		}
		for i, x := range got.v6 {
			if len(got.v6) != len(got.v4) || x.Hi != uint64(got.v4[i]) {
				t.Errorf("of IPv6 %v, of IPv4 %v", got.v6, got.v4)
			}
		}
		if !a.equal(wasA) || !b.equal(wasB) {
			t.Error("what was united has changed")
		}
	})
}
