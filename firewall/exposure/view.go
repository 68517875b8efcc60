package exposure

import (
	"math/bits"
	"slices"
)

// view is what is known of a value that a rule reads: some of its bits, and a range that it lies
// in. Both hold.
type view struct {
	width  int
	bits   Bits
	within Range
	// among are the only possible values; nil: only bits and within bound it.
	among []Value
	// absent is whether the field is absent: see Field.
	absent Tri
	// except is a value in the range that it doesn't have, if excepts is set.
	except  Value
	excepts bool
}

// differingFrom is the same value, known to differ from another one.
func (v view) differingFrom(except Value) view {
	v.except, v.excepts = except, true
	return v
}

// exactly is a known value.
func exactly(v Value, width int) view {
	v = v.And(Ones(width))
	return view{width: width, bits: Known(v, width), within: One(v)}
}

// between is a value known to lie in a range, with the bits that the whole range shares.
func between(r Range, width int) view {
	v := view{width: width, within: r}
	for bit := width - 1; bit >= 0 && r.From.bit(bit) == r.To.bit(bit); bit-- {
		v.bits.Known = v.bits.Known.Or(Number(1).Shift(bit))
	}
	v.bits.Value = r.From.And(v.bits.Known)
	return v
}

// fromBits is a value with some known bits.
func fromBits(b Bits, width int) view {
	unknown := Ones(width).AndNot(b.Known)
	return view{width: width, bits: b, within: Range{b.Value, b.Value.Or(unknown)}}
}

// amongValues is one of a few values.
func amongValues(width int, values ...Value) view {
	v := between(
		Range{slices.MinFunc(values, Value.Compare), slices.MaxFunc(values, Value.Compare)}, width,
	)
	v.among = values
	return v
}

func anyValue(width int) view { return view{width: width, within: Full(width)} }

func absentValue(width int) view {
	v := anyValue(width)
	v.absent = Yes
	return v
}

// maybeAbsent is the same value, which may also be absent.
func (v view) maybeAbsent() view {
	v.absent = v.absent.Or(Maybe)
	return v
}

// single returns the value if only one is possible.
func (v view) single() (Value, bool) {
	return v.within.From, v.within.From == v.within.To
}

// through applies an operand to its field's value.
func (v view) through(o Operand) view {
	if o.asIs() {
		return v
	}
	out := fromBits(o.ApplyBits(v.bits), v.width)
	if v.among != nil {
		values := make([]Value, len(v.among))
		for i, x := range v.among {
			values[i] = o.Apply(x)
		}
		out = amongValues(v.width, values...)
	}
	out.absent = v.absent
	return out
}

// xor combines two values bit by bit.
func (v view) xor(o view) view {
	out := fromBits(v.bits.Xor(o.bits), v.width)
	out.absent = v.absent.Or(o.absent)
	return out
}

// in reports whether the value lies in a range, if it isn't absent.
func (v view) in(r Range) Tri {
	if v.among != nil {
		return v.tryAmong(r.Contains)
	}
	if r.From.Compare(v.within.To) > 0 || v.within.From.Compare(r.To) > 0 ||
		v.excepts && r == One(v.except) {
		return No
	}
	if r.Contains(v.within.From) && r.Contains(v.within.To) {
		return Yes
	}
	return v.bits.In(r, v.width)
}

// maxTried bounds the values, and the ranges, that are tried one by one for a partly unknown value.
const maxTried = 256

// inAny reports whether the value lies in a set, if it isn't absent. It is exact for a value with
// few unknown bits or a known range.
func (v view) inAny(s Ranges) Tri {
	if v.among != nil {
		return v.tryAmong(s.Contains)
	}
	if v.excepts {
		s = s.Minus(NewRanges(One(v.except)))
		v.excepts = false
	}
	if one, ok := v.single(); ok {
		if s.Contains(one) {
			return Yes
		}
		return No
	}
	from := s.reaching(v.within.From)
	if from == s.Len() || v.within.To.Compare(s.At(from).From) < 0 {
		return No
	}
	if r := s.At(from); r.Contains(v.within.From) && r.Contains(v.within.To) {
		return Yes
	}
	unknown := Ones(v.width).AndNot(v.bits.Known)
	if n := bits.OnesCount64(unknown.hi) + bits.OnesCount64(unknown.lo); n <= 8 {
		return v.tryAll(s, unknown)
	}
	for i := from; i < s.Len(); i++ {
		r := s.At(i)
		if r.From.Compare(v.within.To) > 0 {
			return No
		}
		if i-from >= maxTried || v.in(r) != No {
			return Maybe
		}
	}
	return No
}

// tryAmong tries every possible value.
func (v view) tryAmong(contains func(Value) bool) Tri {
	in, out := false, false
	for _, x := range v.among {
		if contains(x) {
			in = true
		} else {
			out = true
		}
	}
	return triFromTried(in, out)
}

// triFromTried combines the results of several values: some were in, some were out.
func triFromTried(in, out bool) Tri {
	switch {
	case in && out:
		return Maybe
	case in:
		return Yes
	}
	return No
}

// tryAll tries every choice of the unknown bits that lies in the range.
func (v view) tryAll(s Ranges, unknown Value) Tri {
	in, out := false, false
	for choice := (Value{}); ; {
		if x := v.bits.Value.Or(choice); v.within.Contains(x) {
			if s.Contains(x) {
				in = true
			} else {
				out = true
			}
		}
		// The next subset of the unknown bits: subtract the mask, and the borrow stays inside it.
		lo, borrow := bits.Sub64(choice.lo, unknown.lo, 0)
		hi, _ := bits.Sub64(choice.hi, unknown.hi, borrow)
		choice = Value{hi, lo}.And(unknown)
		if choice.IsZero() {
			break
		}
	}
	return triFromTried(in, out)
}
