package address

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

// scattered is n disjoint prefixes of many lengths that never touch, ascending: one range each.
func scattered(n int, f Family) []netip.Prefix {
	r := rand.New(rand.NewPCG(1, uint64(f)))
	list := make([]netip.Prefix, n)
	for i := range list {
		// n slots of at least 2 × 256 addresses
		slot := uint32(uint64(i)<<32/uint64(n))&^0xff + 0x100
		bits := 24 + r.IntN(9)
		if f == IPv4 {
			list[i] = netip.PrefixFrom(V4(slot).IP(), bits)
		} else {
			list[i] = netip.PrefixFrom(V6{uint64(slot) + 0x2000<<48, 0}.IP(), bits+32)
		}
	}
	return list
}

func BenchmarkSet(b *testing.B) {
	const n = 1_000_000
	for _, f := range Families {
		sorted := scattered(n, f)
		shuffled := slices.Clone(sorted)
		rand.New(rand.NewPCG(2, 2)).Shuffle(n, func(i, j int) {
			shuffled[i], shuffled[j] = shuffled[j], shuffled[i]
		})
		set, _ := New(sorted...)
		twin, _ := New(sorted...)
		other, _ := New(sorted[n/100:]...)
		raw, _ := set.AppendBinary(nil)
		probe := sorted[n/3].Addr()
		if set.Len() != n {
			b.Fatalf("%d of %d prefixes are left", set.Len(), n)
		}
		for name, run := range map[string]func(){
			"new, sorted":   func() { set, _ = New(sorted...) },
			"new, shuffled": func() { set, _ = New(shuffled...) },
			"equal": func() {
				if !set.Equal(twin) {
					b.Fatal("two sets of the same prefixes differ")
				}
			},
			"union":     func() { set.Union(other) },
			"minus":     func() { set.Minus(other) },
			"intersect": func() { set.Intersect(other) },
			"contains":  func() { set.Contains(probe) },
			"all": func() {
				for range set.All() {
				}
			},
			"write": func() { raw, _ = set.AppendBinary(raw[:0]) },
			"read":  func() { _, _, _ = Read(raw) },
		} {
			b.Run(fmt.Sprintf("%s/%s", f, name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					run()
				}
			})
		}
	}
}
