package exposure

import (
	"net/netip"
	"testing"

	"github.com/portgrave/portgrave/firewall/address"
	"pgregory.net/rapid"
)

func TestValuesOfEveryKind(t *testing.T) {
	for _, c := range []struct {
		in   string
		want Range
	}{
		{"10.1.2.0/24", Numbers(0x0a010200, 0x0a0102ff)},
		{"0.0.0.0/0", Full(32)},
		{"::/0", Full(128)},
		{"2001:db8::/64", Range{Value{0x20010db800000000, 0}, Value{0x20010db800000000, ^uint64(0)}}},
	} {
		if got := Prefix(netip.MustParsePrefix(c.in)); got != c.want {
			t.Errorf("%s: %v, want %v", c.in, got, c.want)
		}
	}
	for name, want := range map[string]bool{"eth": true, "eth0": true, "eth0.100": true, "et": false, "eti": false, "wlan0": false, "": false} {
		if got := NamePrefix("eth").Contains(Name(name)); got != want {
			t.Errorf("eth* and %q: %v", name, got)
		}
	}
	if !NamePrefix("").Contains(Name("")) || Name("eth0").Text() != "eth0" {
		t.Error("names")
	}
}

func TestShift(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := Value{rapid.Uint64().Draw(t, "hi"), rapid.Uint64().Draw(t, "lo")}
		n := rapid.IntRange(-130, 130).Draw(t, "n")
		got := v.Shift(n)
		for i := range 128 {
			want := uint64(0)
			if from := i - n; from >= 0 && from < 128 {
				want = v.bit(from)
			}
			if got.bit(i) != want {
				t.Fatalf("%v shifted by %d is %v: bit %d", v, n, got, i)
			}
		}
	})
}

// small draws a set of the numbers 0 to 15, as ranges and as a table.
func small(t *rapid.T, name string) (Ranges, [16]bool) {
	var list []Range
	var in [16]bool
	for range rapid.IntRange(0, 4).Draw(t, name+" ranges") {
		from := rapid.Uint64Range(0, 15).Draw(t, name)
		to := rapid.Uint64Range(from, 15).Draw(t, name)
		list = append(list, Numbers(from, to))
		for i := from; i <= to; i++ {
			in[i] = true
		}
	}
	return NewRanges(list...), in
}

func TestRangesAreSets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, inA := small(t, "a")
		b, inB := small(t, "b")
		third, inThird := small(t, "third")
		for name, c := range map[string]struct {
			got  Ranges
			want func(i int) bool
		}{
			"union":          {a.Union(b), func(i int) bool { return inA[i] || inB[i] }},
			"union of three": {unionOf([]Ranges{third, a, b}), func(i int) bool { return inA[i] || inB[i] || inThird[i] }},
			"intersect":      {a.Intersect(b), func(i int) bool { return inA[i] && inB[i] }},
			"minus":          {a.Minus(b), func(i int) bool { return inA[i] && !inB[i] }},
		} {
			var want []Range
			for i := range 16 {
				if c.want(i) {
					want = append(want, One(Number(uint64(i))))
				}
				if c.got.Contains(Number(uint64(i))) != c.want(i) {
					t.Fatalf("%v %s %v = %v: %d", a.List(), name, b.List(), c.got.List(), i)
				}
			}
			if !c.got.Equal(NewRanges(want...)) {
				t.Fatalf("%s is not in its one form: %v", name, c.got.List())
			}
		}
	})
}

func TestRangesReachBothEnds(t *testing.T) {
	all := AllSources(address.IPv6)
	one := NewRanges(One(Ones(128)), One(Value{}))
	rest := all.Minus(one)
	if rest.Contains(Ones(128)) || rest.Contains(Value{}) || !rest.Union(one).Equal(all) ||
		!all.Minus(all).Empty() {
		t.Errorf("ends: %v", rest.List())
	}
	if got := AllSources(address.IPv4).Minus(SourcesOf(address.Must("128.0.0.0/1"), address.IPv4)).Prefixes(address.IPv4).Strings(); len(
		got,
	) != 1 ||
		got[0] != "0.0.0.0/1" {
		t.Errorf("prefixes: %v", got)
	}
}
