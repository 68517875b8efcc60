package address

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"net/netip"
	"slices"
	"testing"

	"go4.org/netipx"
	"pgregory.net/rapid"
)

// The model of every set operation is netipx, which shares no line with ours.

// drawPrefix picks prefixes that often nest, touch, and reach the ends of the address space.
func drawPrefix(t *rapid.T) netip.Prefix {
	if rapid.Bool().Draw(t, "ipv6") {
		b := [16]byte{}
		fill := rapid.SampledFrom([]byte{0, 0xff, 0x20}).Draw(t, "fill")
		for i := range b {
			b[i] = fill
		}
		if fill == 0 {
			b[0] = 0x20 // not IPv4-mapped
		}
		for _, i := range []int{0, 7, 8, 15} {
			b[i] ^= byte(rapid.IntRange(0, 7).Draw(t, "byte"))
		}
		lengths := rapid.SampledFrom([]int{0, 1, 3, 62, 63, 64, 65, 66, 100, 125, 126, 127, 128})
		return netip.PrefixFrom(netip.AddrFrom16(b), lengths.Draw(t, "bits")).Masked()
	}
	v := rapid.SampledFrom([]V4{0, 0x0a000000, 0x7fffff00, 0xffffff00}).Draw(t, "base")
	v += V4(rapid.IntRange(0, 255).Draw(t, "host"))
	lengths := rapid.SampledFrom([]int{0, 1, 2, 8, 24, 25, 26, 27, 28, 29, 30, 31, 32})
	return netip.PrefixFrom(v.IP(), lengths.Draw(t, "bits")).Masked()
}

func drawPrefixes(t *rapid.T, label string) ([]netip.Prefix, *netipx.IPSetBuilder) {
	list := rapid.SliceOfN(rapid.Custom(drawPrefix), 0, 12).Draw(t, label)
	var b netipx.IPSetBuilder
	for _, p := range list {
		b.AddPrefix(p)
	}
	return list, &b
}

func modelSet(t interface{ Fatal(...any) }, b *netipx.IPSetBuilder) *netipx.IPSet {
	set, err := b.IPSet()
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func mustSet(t interface{ Fatal(...any) }, list []netip.Prefix) Set {
	p, err := New(list...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func checkAgainst(t *rapid.T, what string, got Set, model *netipx.IPSet) {
	want := model.Prefixes()
	all := slices.Collect(got.All())
	if !slices.Equal(all, want) {
		t.Fatalf("%s: got %v, netipx has %v", what, all, want)
	}
	if got.Len() != len(want) {
		t.Fatalf("%s: Len is %d of %d prefixes", what, got.Len(), len(want))
	}
	var ranges []netipx.IPRange
	for _, f := range Families {
		var family []netip.Prefix
		for _, p := range want {
			if p.Addr().Is4() == (f == IPv4) {
				family = append(family, p)
			}
		}
		of, n := slices.Collect(got.Family(f)), len(family)
		if !slices.Equal(of, family) || got.Has(f) != (n > 0) || got.FamilyLen(f) != n {
			t.Fatalf("%s: %v has %v (Has: %v), want %v", what, f, of, got.Has(f), family)
		}
		for first, last := range got.Ranges(f) {
			ranges = append(ranges, netipx.IPRangeFrom(first, last))
		}
	}
	if !slices.Equal(ranges, model.Ranges()) {
		t.Fatalf("%s: ranges %v, netipx has %v", what, ranges, model.Ranges())
	}
	for _, r := range model.Ranges() {
		for _, a := range []netip.Addr{r.From(), r.To(), r.From().Prev(), r.To().Next()} {
			if a.IsValid() && got.Contains(a) != model.Contains(a) {
				t.Fatalf("%s: Contains(%v) is %v", what, a, got.Contains(a))
			}
		}
	}
	for _, p := range []netip.Prefix{drawPrefix(t), drawPrefix(t), {}} {
		if got.Overlaps(p) != (p.IsValid() && model.OverlapsPrefix(p)) {
			t.Fatalf("%s: Overlaps(%v) is %v", what, p, got.Overlaps(p))
		}
	}
	if again := mustSet(t, all); !again.Equal(got) {
		t.Fatalf("%s: its own prefixes make another set: %v", what, again)
	}
	checkCodec(t, what, got)
}

func checkCodec(t *rapid.T, what string, p Set) {
	raw, err := p.AppendBinary([]byte("before"))
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	back, rest, err := Read(append(raw[len("before"):], "behind"...))
	if err != nil || !back.Equal(p) || back.Len() != p.Len() || string(rest) != "behind" {
		t.Fatalf("%s: binary: got %v and %q, %v", what, back, rest, err)
	}
	for i := range len(raw) - len("before") {
		if _, _, err := Read(raw[len("before"):][:i]); err == nil {
			t.Fatalf("%s: the first %d bytes of its binary form are accepted", what, i)
		}
	}
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	var fromText Set
	if err := json.Unmarshal(text, &fromText); err != nil || !fromText.Equal(p) {
		t.Fatalf("%s: JSON %s: got %v, %v", what, text, fromText, err)
	}
	all, n := p.Strings(), p.Len()/2
	if !slices.Equal(p.FirstStrings(n), all[:n]) || !slices.Equal(p.FirstStrings(n+p.Len()), all) {
		t.Errorf("the first %d of %v: %v", n, all, p.FirstStrings(n))
	}
	if list, _ := json.Marshal(p.Strings()); !bytes.Equal(list, text) {
		t.Fatalf("%s: JSON is %s, the list of its strings %s", what, text, list)
	}
}

func TestAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list, b := drawPrefixes(t, "a")
		others, c := drawPrefixes(t, "b")
		p, q := mustSet(t, list), mustSet(t, others)
		x, y := modelSet(t, b), modelSet(t, c)
		checkAgainst(t, "set", p, x)
		slices.SortFunc(list, netipx.ComparePrefix)
		checkAgainst(t, "set of sorted prefixes", mustSet(t, list), x)
		for what, op := range map[string]struct {
			got   Set
			model func(*netipx.IPSetBuilder, *netipx.IPSet)
		}{
			"union":        {p.Union(q), (*netipx.IPSetBuilder).AddSet},
			"minus":        {p.Minus(q), (*netipx.IPSetBuilder).RemoveSet},
			"intersection": {p.Intersect(q), (*netipx.IPSetBuilder).Intersect},
		} {
			var m netipx.IPSetBuilder
			m.AddSet(x)
			op.model(&m, y)
			checkAgainst(t, what, op.got, modelSet(t, &m))
		}
		if p.Equal(q) != x.Equal(y) {
			t.Fatalf("Equal of %v and %v is %v", p, q, p.Equal(q))
		}
		if !p.Union(p).Equal(p) || !p.Intersect(p).Equal(p) || p.Minus(p).Len() != 0 {
			t.Fatalf("%v with itself", p)
		}
		// Operands are never changed.
		checkAgainst(t, "first operand", p, x)
		checkAgainst(t, "second operand", q, y)
	})
}

// Pieces in any order, as ranges and as prefixes, make the set that their prefixes make.
func TestBuilder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list, model := drawPrefixes(t, "a")
		var b Builder
		for _, p := range list {
			r := netipx.RangeOfPrefix(p)
			var err error
			if rapid.Bool().Draw(t, "as a range") {
				err = b.AddRange(r.From(), r.To())
			} else {
				err = b.Add(netip.PrefixFrom(r.To(), p.Bits())) // with host bits
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		checkAgainst(t, "built", b.Set(), modelSet(t, model))
		if b.Set().Len() != 0 {
			t.Fatal("Set left something in the builder")
		}
	})
}

func TestPartsOfSets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list, _ := drawPrefixes(t, "set")
		others, _ := drawPrefixes(t, "other")
		set, other, x := mustSet(t, list), mustSet(t, others), drawPrefix(t)
		alone := mustSet(t, []netip.Prefix{x})
		if got, want := set.Within(x), set.Intersect(alone); !got.Equal(want) ||
			got.Len() != want.Len() {
			t.Fatalf("%v of %v: %v, want %v", x, set, got, want)
		}
		if got, want := Without(x, set), alone.Minus(set); !got.Equal(want) {
			t.Fatalf("%v without %v: %v, want %v", x, set, got, want)
		}
		if got, want := set.Covers(x), alone.Minus(set).IsZero(); got != want {
			t.Fatalf("%v covers %v: %v", set, x, got)
		}
		if got, want := set.Disjoint(other), set.Intersect(other).IsZero(); got != want {
			t.Fatalf("%v and %v are disjoint: %v", set, other, got)
		}
		if got, want := Union(set, other, alone), set.Union(other).Union(alone); !got.Equal(want) {
			t.Fatalf("%v, %v and %v together: %v, want %v", set, other, alone, got, want)
		}
		add, remove := Diff(set, other)
		if got := other.Minus(remove).Union(add); !got.Equal(set) || !add.Disjoint(remove) {
			t.Fatalf("from %v to %v: add %v, remove %v", other, set, add, remove)
		}
		onlySet, onlyOther := DiffRanges(set, other)
		if got := other.Minus(onlyOther).Union(onlySet); !got.Equal(set) ||
			!onlySet.Minus(set).IsZero() {
			t.Fatalf("from %v to %v: ranges %v and %v", other, set, onlySet, onlyOther)
		}
	})
}

func TestRefuse(t *testing.T) {
	a := netip.MustParseAddr
	mapped := netip.PrefixFrom(a("::ffff:10.0.0.1"), 128)
	if _, err := New(mapped); err == nil {
		t.Error("an IPv4-mapped prefix is accepted")
	}
	if _, err := New(netip.Prefix{}); err == nil {
		t.Error("the zero prefix is accepted")
	}
	for _, r := range [][2]netip.Addr{
		{a("10.0.0.2"), a("10.0.0.1")},
		{a("10.0.0.1"), a("2001:db8::1")},
		{},
		{a("::ffff:10.0.0.1"), a("::ffff:10.0.0.2")},
		{a("fe80::1%eth0"), a("fe80::2%eth0")},
	} {
		var b Builder
		if b.AddRange(r[0], r[1]) == nil {
			t.Errorf("the range %v-%v is accepted", r[0], r[1])
		}
	}
	p := Must("10.0.0.0/8", "fe80::/10")
	if !p.Contains(a("::ffff:10.0.0.1")) || !p.Contains(a("fe80::1%eth0")) ||
		p.Contains(netip.Addr{}) {
		t.Error("mapped, zoned and invalid addresses are not looked up as IPv4, IPv6 and nothing")
	}
}

func TestReadPrefixesRefuses(t *testing.T) {
	ranges4 := func(counts []byte, edges ...uint32) []byte {
		for _, e := range edges {
			counts = binary.BigEndian.AppendUint32(counts, e)
		}
		return counts
	}
	for name, b := range map[string][]byte{
		"nothing":                   nil,
		"one count":                 {0},
		"a count in two bytes":      {0x80, 0, 0},
		"a count beyond 64 bits":    bytes.Repeat([]byte{0xff}, 20),
		"more ranges than bytes":    ranges4([]byte{2, 0}, 1, 1),
		"a huge count":              append(binary.AppendUvarint(nil, 1<<63), 0),
		"a huge count of IPv6":      binary.AppendUvarint([]byte{0}, 1<<61),
		"an end before its start":   ranges4([]byte{1, 0}, 2, 1),
		"overlapping":               ranges4([]byte{2, 0}, 1, 5, 5, 9),
		"adjacent":                  ranges4([]byte{2, 0}, 1, 5, 6, 9),
		"descending":                ranges4([]byte{2, 0}, 10, 11, 1, 2),
		"equal":                     ranges4([]byte{2, 0}, 1, 1, 1, 1),
		"after the top":             ranges4([]byte{2, 0}, 1, 0xffffffff, 0, 0),
		"IPv6 end before its start": slices.Concat([]byte{0, 1}, bytes.Repeat([]byte{1}, 16), make([]byte, 16)),
	} {
		if p, _, err := Read(b); err == nil {
			t.Errorf("%s: accepted as %v", name, p)
		}
	}
}

// TestBinaryForm: histories and caches of hosts hold this form, so it never changes.
func TestBinaryForm(t *testing.T) {
	const form = "\x02\x01" + // ranges of IPv4, of IPv6
		"\x0a\x00\x00\x00\x0a\xff\xff\xff" +
		"\xc0\x00\x02\x07\xc0\x00\x02\x08" +
		"\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" +
		"\x20\x01\x0d\xb8\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"
	want := Must("10.0.0.0/8", "192.0.2.7/32", "192.0.2.8/32", "2001:db8::/32")
	if b, _ := want.AppendBinary(nil); string(b) != form {
		t.Errorf("written: %q", b)
	}
	if s, rest, err := Read([]byte(form)); err != nil || len(rest) > 0 || !s.Equal(want) {
		t.Errorf("read: %v, %d bytes left, %v", s, len(rest), err)
	}
}

// Whatever is accepted is written back byte for byte: a set has one binary form.
func FuzzRead(f *testing.F) {
	for _, cidrs := range [][]string{
		{},
		{"10.0.0.0/8"},
		{"0.0.0.0/0", "::/0"},
		{"10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32", "ff00::/8"},
	} {
		b, _ := Must(cidrs...).AppendBinary(nil)
		f.Add(b)
	}
	f.Add([]byte{0x80, 0})
	mapped, _ := Must("::/0").Minus(Must("::fffe:0:0/96")).AppendBinary(nil)
	f.Add(mapped)
	f.Fuzz(func(t *testing.T, b []byte) {
		p, rest, err := Read(b)
		if err != nil {
			return
		}
		again, err := p.AppendBinary(nil)
		if err != nil || !bytes.Equal(append(again, rest...), b) {
			t.Fatalf("% x is read as %v and written as % x (%v)", b, p, again, err)
		}
		var of Builder
		for x := range p.All() {
			// Nobody can ask for IPv4-mapped addresses, but they may be what is left of ::/0
			// without its neighbours.
			if a := x.Addr(); a.Is4In6() {
				of.AddV6(Range[V6]{V6Of(a), V6Of(netipx.PrefixLastIP(x))})
			} else if err := of.Add(x); err != nil {
				t.Fatal(err)
			}
		}
		if q := of.Set(); !q.Equal(p) || q.Len() != p.Len() {
			t.Fatalf("% x holds %v, whose prefixes make %v", b, p, q)
		}
	})
}
