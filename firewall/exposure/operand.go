package exposure

import (
	"fmt"
	"strings"
)

// Operand is a value that a rule reads:
//
//	(shift(field, Shift) &^ Clear) ^ Xor
//
// Positive shifts move up; bits moved beyond the field's width are lost. Every sequence of shifts
// and of and, or and xor with constants has such a form: And, Or, XorWith and ShiftBy find it. The
// zero values leave the field as it is, so Operand{Field: FieldDport} is the port. Const makes a
// constant.
//
// What doesn't fit this form (an and of two fields, jhash, …) is FieldUnknown.
type Operand struct {
	Field Field
	Shift int
	Clear Value
	Xor   Value

	Fib    Fib     // FieldFib only
	Raw    Raw     // FieldRaw only
	Lookup *Lookup // FieldMap only
	// Text is the rule's text, FieldUnknown only: "numgen random mod 2". Two operands with one text
	// are still different values.
	Text string
	// Max is the highest possible value, FieldUnknown only: numgen mod 2 is 0 or 1. Zero: any value
	// of 128 bits.
	Max Value
}

// Lookup reads a value from a map.
type Lookup struct {
	Key []Operand
	In  *Set // with Data
	// Column of the element's data, from 0.
	Column int
}

// Of is a field's unchanged value.
func Of(f Field) Operand { return Operand{Field: f} }

// Const is a constant.
func Const(v Value) Operand { return Operand{Xor: v} }

// Width is the number of bits that the operand's value can have: the field's, a constant's 128.
func (o Operand) Width() int {
	switch {
	case o.Field == FieldRaw:
		return o.Raw.Bits
	case o.Field == FieldFib && o.Fib.Want == FibOutName:
		return 128
	case o.Field < fieldCount:
		return fields[o.Field].width
	}
	return 128
}

// asIs reports whether the operand is its field's value, unchanged.
func (o Operand) asIs() bool { return o.Shift == 0 && o.Clear.IsZero() && o.Xor.IsZero() }

// And keeps the bits of a mask.
func (o Operand) And(mask Value) Operand {
	o.Clear = o.Clear.Or(o.fieldBits().AndNot(mask))
	o.Xor = o.Xor.And(mask)
	return o
}

// Or sets bits.
func (o Operand) Or(v Value) Operand {
	v = v.And(Ones(o.Width()))
	o.Clear = o.Clear.Or(v.And(o.fieldBits()))
	o.Xor = o.Xor.Or(v)
	return o
}

// XorWith flips bits.
func (o Operand) XorWith(v Value) Operand {
	o.Xor = o.Xor.Xor(v.And(Ones(o.Width())))
	return o
}

// ShiftBy moves the bits up (n > 0) or down. Bits that leave the width are lost.
func (o Operand) ShiftBy(n int) Operand {
	all := Ones(o.Width())
	// Bits that came from the field so far, at their place after the move.
	kept := o.fieldBits().AndNot(o.Clear).Shift(n).And(all)
	o.Shift += n
	o.Clear = o.fieldBits().AndNot(kept)
	o.Xor = o.Xor.Shift(n).And(all)
	return o
}

// fieldBits is the mask of the bits that the shift alone fills from the field.
func (o Operand) fieldBits() Value {
	all := Ones(o.Width())
	return all.Shift(o.Shift).And(all)
}

// Apply computes the operand from its field's value.
func (o Operand) Apply(field Value) Value {
	all := Ones(o.Width())
	return field.And(all).Shift(o.Shift).And(all).AndNot(o.Clear).Xor(o.Xor)
}

// ApplyBits computes what is known of the operand from what is known of its field.
func (o Operand) ApplyBits(field Bits) Bits {
	all := Ones(o.Width())
	fromField := o.fieldBits().AndNot(o.Clear)
	known := all.AndNot(fromField).Or(field.Known.Shift(o.Shift).And(fromField))
	return Bits{Value: o.Apply(field.Value).And(known), Known: known}
}

// IsConst returns the operand's value, and whether it depends on no field.
func (o Operand) IsConst() (Value, bool) {
	if o.Field == FieldNone {
		return o.Apply(Value{}), true
	}
	return Value{}, false
}

// maxPreimage bounds the ranges that Preimage returns. A prefix mask needs one range. A mask with
// holes can need 2^64; the match is then unknown.
const maxPreimage = 4096

// Preimage returns every value of the field for which the operand lies in r: the addresses that "ip
// saddr & 255.255.0.255 == …" matches. It is false if they take more than maxPreimage ranges.
func (o Operand) Preimage(r Range) (Ranges, bool) {
	width := o.Width()
	all := Full(width)
	if !all.Contains(r.From) {
		return Ranges{}, true
	}
	r.To = earlier(r.To, all.To)
	if o.asIs() {
		return NewRanges(r), true
	}
	var out []Range
	// Walk the operand's bits from the top. lowTied and highTied: all bits so far equal those of
	// r.From or r.To, so the next one is bounded. Once neither holds, every value below lies
	// inside.
	var walk func(bit int, prefix Value, lowTied, highTied bool) bool
	walk = func(bit int, prefix Value, lowTied, highTied bool) bool {
		if bit < 0 || !lowTied && !highTied {
			mask := o.undeterminedBits(bit)
			if len(out)+freeCount(mask, width) > maxPreimage {
				return false
			}
			if more := free(prefix, mask, width); out == nil {
				out = more
			} else {
				out = append(out, more...)
			}
			return true
		}
		low, high := r.From.bit(bit), r.To.bit(bit)
		source := bit - o.Shift
		fed := source >= 0 && source < width && o.Clear.bit(bit) == 0
		for in := uint64(0); in <= 1; in++ {
			if !fed && in == 1 {
				break
			}
			v := in ^ o.Xor.bit(bit)
			if lowTied && v < low || highTied && v > high {
				continue
			}
			next := prefix
			if fed {
				next = prefix.Or(Number(in).Shift(source))
			}
			if !walk(bit-1, next, lowTied && v == low, highTied && v == high) {
				return false
			}
		}
		return true
	}
	if !walk(width-1, Value{}, true, true) {
		return Ranges{}, false
	}
	return NewRanges(out...), true
}

// isPrefixMask reports whether the operand is its field with the lowest bits cleared, and nothing
// else.
func (o Operand) isPrefixMask() bool {
	above, ok := o.Clear.next()
	return o.Shift == 0 && o.Xor.IsZero() && ok && above.And(o.Clear).IsZero()
}

// prefixPreimage is the preimage of a whole set under a prefix mask: for each range, the blocks
// that begin in it.
func prefixPreimage(o Operand, s Ranges) Ranges {
	all := Full(o.Width())
	var out rangesBuilder
	for r := range s.All() {
		if !all.Contains(r.From) {
			break // another width, as are those that follow
		}
		last := earlier(r.To, all.To).AndNot(o.Clear)
		first := r.From.AndNot(o.Clear)
		if first != r.From {
			next, ok := first.Or(o.Clear).next()
			if !ok {
				break
			}
			first = next
		}
		if first.Compare(last) <= 0 {
			out.add(Range{first, last.Or(o.Clear)})
		}
	}
	return out.ranges()
}

// undeterminedBits is the mask of field bits that the operand's bits above the given one don't
// determine.
func (o Operand) undeterminedBits(bit int) Value {
	all := Ones(o.Width())
	decided := all.AndNot(o.Clear).AndNot(Ones(bit + 1)).Shift(-o.Shift).And(all)
	return all.AndNot(decided)
}

// freeCount counts what free lists. It stops above maxPreimage.
func freeCount(mask Value, width int) int {
	count := 1
	for i := lowestFixed(mask, width); i < width && count <= maxPreimage; i++ {
		count <<= mask.bit(i)
	}
	return count
}

// lowestFixed is the lowest bit that isn't free.
func lowestFixed(mask Value, width int) int {
	low := 0
	for low < width && mask.bit(low) == 1 {
		low++
	}
	return low
}

// free lists the values that agree with prefix outside the mask of free bits: a range for each
// choice of the free bits above the lowest determined one.
func free(prefix, mask Value, width int) []Range {
	low := lowestFixed(mask, width)
	out := append(make([]Range, 0, freeCount(mask, width)), Range{prefix, prefix.Or(Ones(low))})
	for i := low; i < width; i++ {
		if mask.bit(i) == 0 {
			continue
		}
		for _, r := range out {
			b := Number(1).Shift(i)
			out = append(out, Range{r.From.Or(b), r.To.Or(b)})
		}
	}
	return out
}

// String is for debugging. Rules are shown by their Text.
func (o Operand) String() string {
	if v, ok := o.IsConst(); ok {
		return v.String()
	}
	text := o.Field.String()
	switch {
	case o.Field == FieldUnknown:
		text += fmt.Sprintf(" (%s)", o.Text)
	case o.Field == FieldMap && o.Lookup != nil && o.Lookup.In != nil:
		text += fmt.Sprintf(" %v @%s", o.Lookup.Key, o.Lookup.In.Name)
	}
	return text + o.changes()
}

// words is the operand for people, who know unknown values and maps by their text.
func (o Operand) words() string {
	switch _, constant := o.IsConst(); {
	case constant:
	case o.Field == FieldUnknown && o.Text != "":
		return o.Text + o.changes()
	case o.Field == FieldSport:
		return "the source port" + o.changes()
	case o.Field == FieldMap && o.Lookup != nil && o.Lookup.In != nil:
		var keys []string
		for _, k := range o.Lookup.Key {
			keys = append(keys, k.words())
		}
		text := strings.Join(keys, " . ") + " map"
		if o.Lookup.In.Name != "" {
			text += " @" + o.Lookup.In.Name
		}
		return text + o.changes()
	}
	return o.String()
}

// changes is what is done to the operand's field.
func (o Operand) changes() string {
	var b strings.Builder
	if o.Shift > 0 {
		fmt.Fprintf(&b, " << %d", o.Shift)
	} else if o.Shift < 0 {
		fmt.Fprintf(&b, " >> %d", -o.Shift)
	}
	if !o.Clear.IsZero() {
		fmt.Fprintf(&b, " & ^%v", o.Clear)
	}
	if !o.Xor.IsZero() {
		fmt.Fprintf(&b, " ^ %v", o.Xor)
	}
	return b.String()
}
