package exposure

import (
	"testing"

	"pgregory.net/rapid"
)

// byteOperand draws operations on an 8-bit field, as an Operand and as a function.
func byteOperand(t *rapid.T) (Operand, func(uint64) uint64) {
	o, f := Of(FieldICMPType), func(v uint64) uint64 { return v }
	for range rapid.IntRange(0, 4).Draw(t, "operations") {
		g, c := f, rapid.Uint64Range(0, 255).Draw(t, "constant")
		n := int(c % 9)
		switch rapid.SampledFrom([]string{"and", "or", "xor", "<<", ">>"}).Draw(t, "operation") {
		case "and":
			o, f = o.And(Number(c)), func(v uint64) uint64 { return g(v) & c }
		case "or":
			o, f = o.Or(Number(c)), func(v uint64) uint64 { return g(v) | c }
		case "xor":
			o, f = o.XorWith(Number(c)), func(v uint64) uint64 { return g(v) ^ c }
		case "<<":
			o, f = o.ShiftBy(n), func(v uint64) uint64 { return g(v) << n & 255 }
		case ">>":
			o, f = o.ShiftBy(-n), func(v uint64) uint64 { return g(v) >> n }
		}
	}
	return o, f
}

func TestOperandHasOneFormForAllOperations(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o, f := byteOperand(t)
		from := rapid.Uint64Range(0, 300).Draw(t, "from")
		r := Numbers(from, rapid.Uint64Range(from, 300).Draw(t, "to"))
		pre, ok := o.Preimage(r)
		if !ok {
			t.Fatal("too many ranges of 256 values")
		}
		for v := range uint64(256) {
			if got := o.Apply(Number(v)); got != Number(f(v)) {
				t.Fatalf("%v of %#x is %v, want %#x", o, v, got, f(v))
			}
			if got := pre.Contains(Number(v)); got != r.Contains(Number(f(v))) {
				t.Fatalf("%v in %v: %#x is %v; preimage %v", o, r, v, got, pre.List())
			}
		}
	})
}

func TestPreimageOfMasks(t *testing.T) {
	for name, c := range map[string]struct {
		o     Operand
		r     Range
		count int
		ok    bool
	}{
		"a prefix":         {Of(FieldSource6).And(Ones(128).AndNot(Ones(64))), One(Value{0x20010db800000000, 0}), 1, true},
		"the first byte":   {Of(FieldSource4).ShiftBy(-24), One(Number(10)), 1, true},
		"a hole":           {Of(FieldSource4).And(Number(0xffff00ff)), One(Number(0x0a000001)), 256, true},
		"too many holes":   {Of(FieldSource4).And(Number(1)), One(Number(1)), 0, false},
		"never":            {Of(FieldSource4).And(Number(0xff00)), One(Number(1)), 0, true},
		"beyond the width": {Of(FieldDport), Numbers(70000, 80000), 0, true},
	} {
		pre, ok := c.o.Preimage(c.r)
		if ok != c.ok || len(pre.List()) != c.count {
			t.Errorf("%s: %d ranges, %v", name, len(pre.List()), ok)
		}
	}
}

// The preimage of a whole set under a prefix mask equals the union of its elements' preimages.
func TestPreimageOfSets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		field := rapid.SampledFrom([]Field{FieldSource4, FieldSource6, FieldDport}).Draw(t, "field")
		width := Of(field).Width()
		cleared := rapid.IntRange(0, width).Draw(t, "cleared")
		o := Of(field).And(Ones(128).AndNot(Ones(cleared)))
		if cleared < 128 && !o.isPrefixMask() {
			t.Fatalf("%+v is not taken for a prefix mask", o)
		}
		var list []Range
		for range rapid.IntRange(0, 8).Draw(t, "ranges") {
			// Near the borders of blocks, and of the width, where mistakes are likely.
			near := Number(
				rapid.SampledFrom([]uint64{0, 1, 2, 3, 250}).Draw(t, "block"),
			).Shift(cleared)
			from, _ := near.prev() // for 0 it is the highest value
			for range rapid.IntRange(0, 2).Draw(t, "after") {
				from, _ = from.next()
			}
			to := earlier(from.Or(Ones(rapid.IntRange(0, width+1).Draw(t, "size"))), Ones(128))
			list = append(list, Range{from, to})
		}
		s := NewRanges(list...)
		var want []Range
		for _, r := range s.List() {
			pre, ok := o.Preimage(r)
			if !ok {
				t.Fatalf("%v under %v takes too many ranges", r, o)
			}
			want = append(want, pre.List()...)
		}
		got, ok := preimageOf(o, s, &deriving{limit: 1 << 30})
		if !ok || !got.Equal(NewRanges(want...)) {
			t.Fatalf("%v under %v: %v, want %v", s.List(), o, got.List(), NewRanges(want...).List())
		}
	})
	for name, o := range map[string]Operand{
		"a hole":  Of(FieldSource4).And(Number(0xffff00ff)),
		"shifted": Of(FieldSource4).ShiftBy(-8),
		"flipped": Of(FieldSource4).And(Number(0xffffff00)).XorWith(Number(1 << 31)),
	} {
		if o.isPrefixMask() {
			t.Errorf("%s is taken for a prefix mask", name)
		}
	}
}

func TestBitsAreExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		known := rapid.Uint64Range(0, 255).Draw(t, "known")
		value := rapid.Uint64Range(0, 255).Draw(t, "value") & known
		from := rapid.Uint64Range(0, 300).Draw(t, "from")
		r := Numbers(from, rapid.Uint64Range(from, 300).Draw(t, "to"))
		o, f := byteOperand(t)
		b := o.ApplyBits(Bits{Number(value), Number(known)})
		in, out, direct := false, false, [2]bool{}
		for v := range uint64(256) {
			if v&known != value {
				continue
			}
			if Number(f(v)).And(b.Known) != b.Value {
				t.Fatalf("%v of %#x/%#x is %v, but %#x is possible", o, value, known, b, f(v))
			}
			in, out = in || r.Contains(Number(f(v))), out || !r.Contains(Number(f(v)))
			direct[0], direct[1] = direct[0] ||
				r.Contains(Number(v)), direct[1] ||
				!r.Contains(Number(v))
		}
		if got := b.In(r, 8); got != tri(in, out) {
			t.Fatalf("%v, of what is known %v, in %v: %v", o, b, r, got)
		}
		if got := (Bits{Number(value), Number(known)}).In(r, 8); got != tri(direct[0], direct[1]) {
			t.Fatalf("%#x/%#x in %v: %v", value, known, r, got)
		}
	})
}

func tri(in, out bool) Tri {
	switch {
	case in && out:
		return Maybe
	case in:
		return Yes
	}
	return No
}

// The marks of xtables and nft, as readers write them.
func TestMarkArithmetic(t *testing.T) {
	mark, ct := Known(Number(0x00ff1234), 32), Bits{Number(0x0000abcd), Number(0x0000ffff)}
	for name, c := range map[string]struct{ got, want Bits }{
		"-j MARK --set-xmark 0x100/0xff00": {Of(FieldMark).And(Number(0xffff00ff)).XorWith(Number(0x100)).ApplyBits(mark), Known(Number(0x00ff0134), 32)},
		"-j CONNMARK --restore-mark --mask 0xff": {
			Of(FieldMark).And(Number(0xffffff00)).ApplyBits(mark).Xor(Of(FieldCTMark).And(Number(0xff)).ApplyBits(ct)), Known(Number(0x00ff12cd), 32)},
		"meta mark set ct mark << 8": {Of(FieldCTMark).ShiftBy(8).ApplyBits(ct), Bits{Number(0x00abcd00), Number(0x00ffffff)}},
		"either of two":              {mark.Join(Known(Number(0x00ff1235), 32)), Bits{Number(0x00ff1234), Number(0xfffffffe)}},
	} {
		if c.got != c.want {
			t.Errorf("%s: %v, want %v", name, c.got, c.want)
		}
	}
}

// The preimage under a mask with holes is made at once: a million elements have one each.
func TestPreimageAllocates(t *testing.T) {
	o := Of(FieldSource4).And(Number(0xffff_f000 | 0b0101_0101_0100))
	var got Ranges
	allocs := testing.AllocsPerRun(100, func() { got, _ = o.Preimage(One(Number(0x7000))) })
	if got.Len() != 32 {
		t.Fatalf("%d ranges", got.Len())
	}
	if allocs > 6 {
		t.Errorf("%v allocations", allocs)
	}
}

// A preimage of too many ranges isn't made, and costs what the largest one does. Nothing of it stays
// in the account.
func TestFailedPreimagesArePaidFor(t *testing.T) {
	holes := Of(FieldSource4).And(Number(0x5555_5555))
	allocs := testing.AllocsPerRun(100, func() {
		if _, ok := holes.Preimage(One(Number(0))); ok {
			t.Error("it fits")
		}
	})
	if allocs > 6 {
		t.Errorf("%v allocations", allocs)
	}
	e := NewEvaluator(build().rs, nil)
	w := e.newWalk(tcp80)
	set := e.prepareSet(SetOf(One(Number(0))))
	if _, ok := w.preimage(set, holes); ok || w.work < maxPreimage || e.derivedRanges != costOverhead {
		t.Errorf("work %d, %d ranges kept", w.work, e.derivedRanges)
	}
}
