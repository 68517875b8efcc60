package address

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func drawList(t *rapid.T, label string) (l List) {
	some := map[uint64]bool{}
	for _, n := range rapid.SliceOfN(rapid.Uint64Range(0, 20), 0, 12).Draw(t, label) {
		some[n] = true
	}
	for _, n := range slices.Sorted(maps.Keys(some)) {
		l.V4 = append(l.V4, V4(n))
		l.V6 = append(l.V6, V6{Hi: n})
	}
	return l
}

func cloned(l List) List { return List{slices.Clone(l.V4), slices.Clone(l.V6)} }

// listOf is the list of some small numbers.
func listOf(some map[V4]bool) (l List) {
	for _, n := range slices.Sorted(maps.Keys(some)) {
		l.V4, l.V6 = append(l.V4, n), append(l.V6, V6{Hi: uint64(n)})
	}
	return l
}

// TestLists: what is made of lists is ascending, has each address once, and leaves them alone.
func TestLists(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list, remove, add := drawList(t, "list"), drawList(t, "remove"), drawList(t, "add")
		given := []List{list, remove, add}
		var were []List
		for _, l := range given {
			were = append(were, cloned(l))
		}
		replaced, united := map[V4]bool{}, map[V4]bool{}
		for _, n := range list.V4 {
			replaced[n], united[n] = true, true
		}
		for _, n := range remove.V4 {
			delete(replaced, n)
		}
		for _, n := range add.V4 {
			replaced[n], united[n] = true, true
		}
		if got := list.Replaced(remove, add); !got.Equal(listOf(replaced)) {
			t.Errorf("%v without %v and with %v: %v", list, remove, add, got)
		}
		if got := list.Union(add); !got.Equal(listOf(united)) {
			t.Errorf("%v and %v: %v", list, add, got)
		}
		come, gone := DiffLists(add, list)
		if got := list.Replaced(gone, come); !got.Equal(add) ||
			come.Union(list).Len() < come.Len() {
			t.Errorf("from %v to %v: %v comes, %v goes", list, add, come, gone)
		}
		for i, l := range given {
			if !l.Equal(were[i]) {
				t.Error("what it is made from has changed")
			}
		}
	})
}

// TestSortedLists: lists are sorted as comparing does it, whatever bytes differ, and what comes
// twice still does.
func TestSortedLists(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		masks := []uint64{^uint64(0), 0xff00_0000_ffff_0000, 0xff, 0}
		mask := rapid.SampledFrom(masks).Draw(t, "differ in")
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		var l List
		numbers := []int{0, 1, 2, minRadix - 1, minRadix, 1000}
		for range rapid.SampledFrom(numbers).Draw(t, "number") {
			n := r.Uint64()
			l.V4 = append(l.V4, V4(0xc0a80000^n&mask&0xffff_ffff))
			l.V6 = append(l.V6, V6{0x2001_0db8<<32 ^ r.Uint64()&mask, r.Uint64() & mask & 0xf0f})
		}
		want := cloned(l)
		slices.Sort(want.V4)
		slices.SortFunc(want.V6, V6.Compare)
		room := rapid.SampledFrom([]int{0, minRadix, 2000}).Draw(t, "spare")
		spare := List{V4: make([]V4, room)}
		if l.Sort(&spare); !l.Equal(want) {
			t.Errorf("got %x, want %x", l, want)
		}
	})
}

// Each list is another one: what a processor has learnt of one list makes it sort that one by
// comparing in a fifth of the time.
func BenchmarkSortList(b *testing.B) {
	const all = 1 << 17
	r := rand.New(rand.NewPCG(1, 1))
	var given List
	for range all {
		given.V4 = append(given.V4, V4(r.Uint32()&^0xff))
		given.V6 = append(given.V6, V6{Hi: 0x2001<<48 | uint64(r.Uint32())<<16})
	}
	l, spare := cloned(given), List{}
	for _, n := range []int{minRadix / 2, minRadix, 4096, all} {
		measure := func(name string, sort func(from, to int)) {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				for b.Loop() {
					copy(l.V4, given.V4)
					copy(l.V6, given.V6)
					for from := 0; from < all; from += n {
						sort(from, from+n)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/all, "ns/address")
			})
		}
		measure("ipv4", func(from, to int) { spare.V4 = sortNumbers(l.V4[from:to], spare.V4) })
		measure("ipv4-by-comparing", func(from, to int) { slices.Sort(l.V4[from:to]) })
		measure("ipv6", func(from, to int) { spare.V6 = sortNumbers(l.V6[from:to], spare.V6) })
		measure(
			"ipv6-by-comparing",
			func(from, to int) { slices.SortFunc(l.V6[from:to], V6.Compare) },
		)
	}
}
