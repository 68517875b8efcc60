package address

import (
	"testing"

	"pgregory.net/rapid"
)

// drawScattered is a set of many ranges of both families, near the ends of the address space too.
func drawScattered(t *rapid.T, most int, label string) Set {
	var b Builder
	v4 := rapid.SampledFrom([]V4{0, 0x0a000000, 0xffffffff - 4095})
	v6 := rapid.SampledFrom([]V6{{}, {0x20010db8 << 32, 0}, {^uint64(0), ^uint64(4095)}})
	for range rapid.IntRange(0, most).Draw(t, label) {
		first := rapid.IntRange(0, 4095).Draw(t, "first")
		last := min(4095, first+rapid.SampledFrom([]int{0, 0, 0, 1, 2, 7, 100}).Draw(t, "more"))
		if rapid.Bool().Draw(t, "ipv6") {
			base := v6.Draw(t, "base")
			b.AddV6(Range[V6]{
				V6{base.Hi, base.Lo + uint64(first)}, V6{base.Hi, base.Lo + uint64(last)},
			})
		} else {
			base := v4.Draw(t, "base")
			b.AddV4(Range[V4]{base + V4(first), base + V4(last)})
		}
	}
	return b.Set()
}

func TestReplaced(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScattered(t, 300, "ranges")
		remove, add := drawScattered(t, 8, "removed"), drawScattered(t, 8, "added")
		if rapid.Bool().Draw(t, "remove only what is there") {
			remove = remove.Intersect(s)
		}
		got, want := s.Replaced(remove, add), s.Minus(remove).Union(add)
		if !got.Equal(want) {
			t.Fatalf("%v\nreplaced: %v\n    with: %v\n     got: %v\n    want: %v",
				s, remove, add, got, want)
		}
		if want.Equal(s) && got.Identity() != s.Identity() {
			t.Fatal("nothing has changed, but there is a new set")
		}
	})
}

func TestHull(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, n := drawScattered(t, 40, "ranges"), rapid.IntRange(1, 10).Draw(t, "most")
		h := s.Hull(n)
		if !s.Minus(h).IsZero() || len(h.V4()) > n || len(h.V6()) > n {
			t.Fatalf("the hull of %v with %d ranges is %v", s, n, h)
		}
		if len(s.V4()) <= n && len(s.V6()) <= n && !h.Equal(s) {
			t.Fatalf("the hull of %v with %d ranges is %v", s, n, h)
		}
	})
}
