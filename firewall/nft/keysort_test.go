package nft

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/portgrave/portgrave/firewall"
	"pgregory.net/rapid"
)

// Keys are sorted as comparing them does, whatever bytes of them differ, and those that come twice still do.
func TestSortedKeys(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		mask := rapid.SampledFrom([]uint64{^uint64(0), 0xff00_0000_ffff_0000, 0xff, 0}).Draw(t, "differ in")
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		var k keys
		for range rapid.SampledFrom([]int{0, 1, 2, radixLeast - 1, radixLeast, 1000}).Draw(t, "number") {
			n := r.Uint64()
			k.v4 = append(k.v4, firewall.Address4(0xc0a80000^n&mask&0xffff_ffff))
			k.v6 = append(k.v6, firewall.Address6{Hi: 0x2001_0db8<<32 ^ r.Uint64()&mask, Lo: r.Uint64() & mask & 0xf0f})
		}
		want := keys{slices.Clone(k.v4), slices.Clone(k.v6)}
		slices.Sort(want.v4)
		slices.SortFunc(want.v6, firewall.Address6.Compare)
		spare := keys{v4: make([]firewall.Address4, rapid.SampledFrom([]int{0, radixLeast, 2000}).Draw(t, "spare"))}
		if got := k.sorted(&spare); !got.equal(want) {
			t.Errorf("got %x, want %x", got, want)
		}
	})
}

// Each list is another one: what a processor has learnt of one list makes it sort that one by comparing in a fifth of the time.
func BenchmarkSortKeys(b *testing.B) {
	const all = 1 << 17
	r := rand.New(rand.NewPCG(1, 1))
	var given keys
	for range all {
		given.v4 = append(given.v4, firewall.Address4(r.Uint32()&^0xff))
		given.v6 = append(given.v6, firewall.Address6{Hi: 0x2001<<48 | uint64(r.Uint32())<<16})
	}
	k, spare := keys{slices.Clone(given.v4), slices.Clone(given.v6)}, keys{}
	for _, n := range []int{radixLeast / 2, radixLeast, 4096, all} {
		measure := func(name string, sort func(from, to int)) {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				for b.Loop() {
					copy(k.v4, given.v4)
					copy(k.v6, given.v6)
					for from := 0; from < all; from += n {
						sort(from, from+n)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/all, "ns/key")
			})
		}
		measure("ipv4", func(from, to int) { spare.v4 = sort4(k.v4[from:to], spare.v4) })
		measure("ipv4-by-comparing", func(from, to int) { slices.Sort(k.v4[from:to]) })
		measure("ipv6", func(from, to int) { spare.v6 = sort6(k.v6[from:to], spare.v6) })
		measure("ipv6-by-comparing", func(from, to int) { slices.SortFunc(k.v6[from:to], firewall.Address6.Compare) })
	}
}
