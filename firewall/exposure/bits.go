package exposure

// Tri is an answer that may be unknown.
type Tri uint8

const (
	No Tri = iota
	Maybe
	Yes
)

func (t Tri) String() string { return [...]string{"no", "maybe", "yes"}[t] }

// Not swaps Yes and No.
func (t Tri) Not() Tri { return Yes - t }

// And is Yes only if both are, and No if one is.
func (t Tri) And(o Tri) Tri { return min(t, o) }

// Or is Yes if one is, and No only if both are.
func (t Tri) Or(o Tri) Tri { return max(t, o) }

// Bits is a value whose bits may be known or unknown. It follows marks through rules that set, save
// and restore parts of them, though some of the rules may not have run.
type Bits struct {
	Value Value // 0 where the bit is unknown
	Known Value // 1 where the bit is known
}

// Known is a value with all bits of its width known.
func Known(v Value, width int) Bits { return Bits{v.And(Ones(width)), Ones(width)} }

// Xor combines two values bit by bit; a bit is known if it is in both.
func (b Bits) Xor(o Bits) Bits {
	known := b.Known.And(o.Known)
	return Bits{b.Value.Xor(o.Value).And(known), known}
}

// Join keeps the bits in which both agree, for a value that is one of the two.
func (b Bits) Join(o Bits) Bits {
	known := b.Known.And(o.Known).AndNot(b.Value.Xor(o.Value))
	return Bits{b.Value.And(known), known}
}

// In reports whether a value of a width lies in r: Yes or No if every choice of the unknown bits
// says so. It is exact.
func (b Bits) In(r Range, width int) Tri {
	all := Full(width)
	if !all.Contains(r.From) {
		return No
	}
	r.To = earlier(r.To, all.To)
	low, high := b.Value, b.Value.Or(all.To.AndNot(b.Known))
	switch {
	case r.Contains(low) && r.Contains(high):
		return Yes // all others lie between
	case b.reaches(r, width-1, true, true):
		return Maybe
	}
	return No
}

// reaches reports whether some choice of the bits up to this one lies in r. lowTied and highTied
// are as in Operand.Preimage.
func (b Bits) reaches(r Range, bit int, lowTied, highTied bool) bool {
	for ; bit >= 0 && (lowTied || highTied); bit-- {
		low, high := r.From.bit(bit), r.To.bit(bit)
		v := b.Value.bit(bit)
		if b.Known.bit(bit) == 0 {
			if lowTied && highTied &&
				low < high { // the range splits here: try both halves, each tied at one end
				return b.reaches(r, bit-1, true, false) || b.reaches(r, bit-1, false, true)
			}
			switch { // choose the bit that leaves more room
			case lowTied && highTied:
				v = low // equal to high
			case lowTied:
				v = 1
			case highTied:
				v = 0
			}
		}
		if lowTied && v < low || highTied && v > high {
			return false
		}
		lowTied = lowTied && v == low
		highTied = highTied && v == high
	}
	return true
}
