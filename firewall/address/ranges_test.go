package address

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// naive is a set as a table of what it holds, the model of Ranges: a few numbers at each of some
// places.
type naive [places * placeSize]bool

const (
	places    = 3
	placeSize = 40
)

// spots are the first numbers of the places: the first of all, some in the middle, and the last
// ones.
func spots4() [places]V4 { return [places]V4{0, 1<<31 - placeSize/2, 1<<32 - placeSize} }

func spots6() [places]V6 {
	return [places]V6{{}, {7, 1<<64 - placeSize/2}, {1<<64 - 1, 1<<64 - placeSize}}
}

func plus[N Number[N]](n N, steps int) N {
	for range steps {
		n = n.next()
	}
	return n
}

// numbers are those that the model knows.
func numbers[N Number[N]](spots [places]N) (out []N) {
	for _, s := range spots {
		for i := range placeSize {
			out = append(out, plus(s, i))
		}
	}
	return out
}

// modelOf is the model of a set.
func modelOf[N Number[N]](known []N, s Ranges[N]) (m naive) {
	for i, n := range known {
		m[i] = slices.ContainsFunc(s, func(r Range[N]) bool { return r.Contains(n) })
	}
	return m
}

func drawRanges[N Number[N]](t *rapid.T, known []N, label string) []Range[N] {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Range[N] {
		first := rapid.IntRange(0, len(known)-1).Draw(t, "first")
		last := first
		switch rapid.IntRange(0, 9).Draw(t, "kind") {
		case 0:
			last = rapid.IntRange(first, len(known)-1).Draw(t, "last")
		default:
			last = min(len(known)-1, first+rapid.IntRange(0, 3).Draw(t, "length"))
		}
		return Range[N]{known[first], known[last]}
	}), 0, 30).Draw(t, label)
}

func build[N Number[N]](list []Range[N]) Ranges[N] {
	var b RangesBuilder[N]
	for _, r := range list {
		b.Add(r)
	}
	return b.Ranges()
}

// isCanonical reports whether a list is in order and its ranges do not touch.
func isCanonical[N Number[N]](s Ranges[N]) bool {
	for i, r := range s {
		if less(r.Last, r.First) || i > 0 && (!less(s[i-1].First, r.First) || touches(s[i-1], r)) {
			return false
		}
	}
	return true
}

func TestRangesAgainstModel(t *testing.T) {
	t.Run("ipv4", func(t *testing.T) { rangesAgainstModel(t, spots4()) })
	t.Run("ipv6", func(t *testing.T) { rangesAgainstModel(t, spots6()) })
}

func rangesAgainstModel[N Number[N]](t *testing.T, spots [places]N) {
	known := numbers(spots)
	rapid.Check(t, func(t *rapid.T) {
		list, others := drawRanges(t, known, "a"), drawRanges(t, known, "b")
		var x, y naive
		for i, n := range known {
			x[i] = slices.ContainsFunc(list, func(r Range[N]) bool { return r.Contains(n) })
			y[i] = slices.ContainsFunc(others, func(r Range[N]) bool { return r.Contains(n) })
		}
		a, b := build(list), build(others)
		keptA, keptB := slices.Clone(a), slices.Clone(b)
		check := func(what string, got Ranges[N], want naive) {
			t.Helper()
			if !isCanonical(got) {
				t.Fatalf("%s of %v and %v: %v is not canonical", what, a, b, got)
			}
			if modelOf(known, got) != want {
				t.Fatalf("%s of %v and %v: %v", what, a, b, got)
			}
			for _, n := range known {
				if got.Contains(n) != want[slices.Index(known, n)] {
					t.Fatalf("%s of %v and %v: Contains(%v)", what, a, b, n)
				}
			}
		}
		check("a", a, x)
		check("b", b, y)
		var union, minus, both naive
		for i := range known {
			union[i], minus[i], both[i] = x[i] || y[i], x[i] && !y[i], x[i] && y[i]
		}
		check("union", a.Union(b), union)
		check("minus", a.Minus(b), minus)
		check("intersection", a.Intersect(b), both)
		check("union of three", UnionAll([]Ranges[N]{a, b, a.Minus(b)}), union)
		if got, want := a.Disjoint(b), both == (naive{}); got != want {
			t.Fatalf("%v and %v are disjoint: %v", a, b, got)
		}
		if got, want := a.coversAll(b), len(b.Minus(a)) == 0; got != want {
			t.Fatalf("%v covers %v: %v", a, b, got)
		}
		if got, want := a.Equal(b), slices.Equal(a, b); got != want {
			t.Fatalf("%v equals %v: %v", a, b, got)
		}
		for _, r := range others {
			one := Ranges[N]{r}
			check("within", a.Within(r), modelOf(known, a.Intersect(one)))
			if got, want := a.Overlaps(r), len(a.Intersect(one)) > 0; got != want {
				t.Fatalf("%v overlaps %v: %v", a, r, got)
			}
			if got, want := a.Covers(r), len(one.Minus(a)) == 0; got != want {
				t.Fatalf("%v covers %v: %v", a, r, got)
			}
		}
		n := 0
		var again []Range[N]
		a.Prefixes(func(first N, length int) bool {
			n++
			again = append(again, PrefixRange(first, length))
			return true
		})
		if got := build(again); n != a.PrefixCount() || !got.Equal(a) {
			t.Fatalf("%v has %d prefixes, not %d: %v", a, n, a.PrefixCount(), again)
		}
		if !slices.Equal(a, keptA) || !slices.Equal(b, keptB) {
			t.Fatalf("%v and %v have become %v and %v", keptA, keptB, a, b)
		}
	})
}

// TestSharedResults: a result that equals an operand is that operand.
func TestSharedResults(t *testing.T) {
	a, b := Must(
		"10.0.0.0/8",
		"192.0.2.0/24",
		"2001:db8::/32",
	), Must(
		"10.1.0.0/16",
		"2001:db8:1::/48",
	)
	far := Must("172.16.0.0/12", "fe80::/10")
	for what, same := range map[string][2]Set{
		"union with a part":            {a.Union(b), a},
		"union of a part":              {b.Union(a), a},
		"union with nothing":           {a.Union(Set{}), a},
		"what is left of what it had":  {a.Minus(far), a},
		"intersection with a part":     {a.Intersect(b), b},
		"intersection of a part":       {b.Intersect(a), b},
		"intersection with everything": {a.Intersect(Must("0.0.0.0/0", "::/0")), a},
		"what lies within it all":      {a.Of(IPv4).Within(Must("0.0.0.0/0").first()), a.Of(IPv4)},
	} {
		if same[0].Identity() != same[1].Identity() || same[0].Len() != same[1].Len() {
			t.Errorf("%s: %v is a copy of %v", what, same[0], same[1])
		}
	}
}

// TestBuilderIsBounded: what is added again and again in disorder takes no more memory than twice
// what it comes to.
func TestBuilderIsBounded(t *testing.T) {
	const n = 1000
	var b RangesBuilder[V4]
	for i := range 100 * minMerged {
		at := V4(i*7919%n) * 1000
		b.Add(Range[V4]{at, at + 9})
		if len(b.list) > minMerged {
			t.Fatalf("%d ranges are held", len(b.list))
		}
	}
	if got := b.Ranges(); len(got) != n || !isCanonical(got) {
		t.Fatalf("%d ranges, not %d", len(got), n)
	}
}

// TestLateRanges checks that what comes out of order behind a long beginning counts like the rest:
// also where it joins or repeats what is there, or comes before all of it.
func TestLateRanges(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for _, late := range []int{1, 100, 3 * minMerged} {
		for _, beginning := range []int{
			minOrdered, minOrdered + 1, minOrdered + 2, 5 * minOrdered,
		} {
			var b RangesBuilder[V6]
			var list []Range[V6]
			put := func(first uint64, length int) {
				r := Range[V6]{V6{7, first}, V6{7, first + uint64(length)}}
				list = append(list, r)
				b.Add(r)
			}
			for i := range beginning {
				put(uint64(1000+10*i), i%7)
			}
			for i := range late {
				put(uint64(random.IntN(10*beginning+2000)), random.IntN(12))
				if i%10 == 0 { // in order again
					put(uint64(1000+10*(beginning+i)), 3)
				}
			}
			n := b.Len()
			slices.SortFunc(list, func(a, b Range[V6]) int { return a.First.Compare(b.First) })
			got, want := b.Ranges(), build(list)
			if !got.Equal(want) || !isCanonical(got) || n < len(got) || b.Len() != 0 {
				t.Errorf("%d late ranges of %d: %d ranges of %d held, not %d",
					late, len(list), len(got), n, len(want))
			}
		}
	}
}

// TestManyRanges goes through the ways that only long lists take.
func TestManyRanges(t *testing.T) {
	for _, step := range []V4{1, 2, 3, 1000} {
		var even, odd, all RangesBuilder[V4]
		for i := range V4(10_000) {
			r := Range[V4]{100 * i, 100*i + 9}
			all.Add(r)
			if i/step%2 == 0 {
				even.Add(r)
			} else {
				odd.Add(r)
			}
		}
		e, o, a := even.Ranges(), odd.Ranges(), all.Ranges()
		for what, pair := range map[string][2]Ranges[V4]{
			"union":        {e.Union(o), a},
			"minus":        {a.Minus(e), o},
			"intersection": {a.Intersect(e.Union(Ranges[V4]{{0, 4}})), e},
			"nothing":      {e.Intersect(o), nil},
		} {
			if !pair[0].Equal(pair[1]) || cap(pair[0]) > 5*max(1, len(pair[0]))/4 {
				t.Errorf("%s of runs of %d: %d ranges in %d, want %d",
					what, step, len(pair[0]), cap(pair[0]), len(pair[1]))
			}
		}
	}
}

func (s Set) first() (out netip.Prefix) {
	for p := range s.All() {
		return p
	}
	return out
}

func ExampleSet() {
	s := Must("10.0.0.0/8", "2001:db8::/32").Minus(Must("10.0.0.0/9"))
	fmt.Println(s, s.Len())
	// Output: [10.128.0.0/9 2001:db8::/32] 2
}
