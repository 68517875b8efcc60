package nft

import (
	"maps"
	"slices"
	"testing"

	"github.com/portgrave/portgrave/firewall"
	"pgregory.net/rapid"
)

// The union of two lists is what is in either, ascending, each once; and both stay as they are.
func TestUnionOfKeys(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(label string) keys {
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
		a, b := draw("a"), draw("b")
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
