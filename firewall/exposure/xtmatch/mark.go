package xtmatch

import "github.com/portgrave/portgrave/firewall/exposure"

// Mark matches FieldMark or FieldCTMark: (mark & mask) == value.
func Mark(f exposure.Field, value, mask uint32, not bool) exposure.Match {
	return masked(f, uint64(mask), uint64(value), not)
}

// changed is (field & clear) ^ xor, as a constant if no bit of the field remains.
func changed(f exposure.Field, keep, xor uint32) exposure.Operand {
	if keep == 0 {
		return exposure.Const(exposure.Number(uint64(xor)))
	}
	return exposure.Of(f).And(exposure.Number(uint64(keep))).XorWith(exposure.Number(uint64(xor)))
}

// SetMark is MARK --set-xmark value/mask: mark = (mark &^ mask) ^ value. With FieldCTMark it is
// CONNMARK's.
func SetMark(f exposure.Field, value, mask uint32) exposure.Assign {
	return exposure.Assign{To: f, Value: []exposure.Operand{changed(f, ^mask, value)}}
}

// ShiftMark is CONNMARK --set-xmark with a shift of the result, to the left if bits > 0.
func ShiftMark(value, mask uint32, bits int) exposure.Assign {
	o := changed(exposure.FieldCTMark, ^mask, value)
	if _, constant := o.IsConst(); constant {
		o = o.And(exposure.Ones(32))
		return exposure.Assign{
			To:    exposure.FieldCTMark,
			Value: []exposure.Operand{exposure.Const(o.Xor.Shift(bits).And(exposure.Ones(32)))},
		}
	}
	return exposure.Assign{To: exposure.FieldCTMark, Value: []exposure.Operand{o.ShiftBy(bits)}}
}

// SaveMark is CONNMARK --save-mark: ctmark = (ctmark &^ ctmask) ^ ((mark & nfmask) shifted), to the
// left if bits > 0.
func SaveMark(nfmask, ctmask uint32, bits int) exposure.Assign {
	return exposure.Assign{
		To:    exposure.FieldCTMark,
		Value: merged(exposure.FieldCTMark, ^ctmask, exposure.FieldMark, nfmask, bits),
	}
}

// RestoreMark is CONNMARK --restore-mark: mark = (mark &^ nfmask) ^ ((ctmark & ctmask) shifted).
func RestoreMark(nfmask, ctmask uint32, bits int) exposure.Assign {
	return exposure.Assign{
		To:    exposure.FieldMark,
		Value: merged(exposure.FieldMark, ^nfmask, exposure.FieldCTMark, ctmask, bits),
	}
}

// merged joins the bits kept of one mark with those from the other.
func merged(
	to exposure.Field,
	keep uint32,
	from exposure.Field,
	mask uint32,
	bits int,
) []exposure.Operand {
	o := exposure.Of(from)
	if mask != ^uint32(0) {
		o = o.And(exposure.Number(uint64(mask)))
	}
	if bits != 0 {
		o = o.ShiftBy(bits)
	}
	if keep == 0 {
		return []exposure.Operand{o}
	}
	return []exposure.Operand{exposure.Of(to).And(exposure.Number(uint64(keep))), o}
}

// Label is connlabel: it tests whether the connection's label has a bit. With set it sets the bit,
// and holds wherever there is a connection: connlabel_mt in net/netfilter/xt_connlabel.c.
func Label(bit int, set, not bool) []exposure.Statement {
	b := exposure.LabelBit(bit)
	if !set {
		return []exposure.Statement{
			exposure.Match{Key: []exposure.Operand{exposure.Of(exposure.FieldCTLabel).And(b)},
				In: exposure.SetOf(exposure.One(b)), Not: not},
		}
	}
	if not {
		return nil
	}
	tracked := exposure.In(exposure.Of(exposure.FieldCTProtocol), exposure.Full(8))
	return []exposure.Statement{tracked, exposure.SetLabel(b)}
}

// SetZone is CT --zone in prerouting.
func SetZone(zone uint16) exposure.Assign {
	return exposure.Assign{
		To:    exposure.FieldCTZone,
		Value: []exposure.Operand{exposure.Const(exposure.Number(uint64(zone)))},
	}
}
