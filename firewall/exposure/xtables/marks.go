package xtables

import "github.com/portgrave/portgrave/firewall/exposure"

// change is what is done to a mark: (old &^ clear) ^ flip.
type change struct{ clear, flip uint64 }

// markChange reads the ways to write a mark that MARK and CONNMARK have in common (libxt_MARK.c, libxt_CONNMARK.c).
func markChange(o clause) (change, bool) {
	v, m, ok := parseMark(o.value())
	switch o.name {
	case "--set-xmark":
		return change{m, v}, ok
	case "--set-mark":
		return change{m | v, v}, ok
	case "--and-mark":
		return change{^v & 0xffffffff, 0}, ok
	case "--or-mark":
		return change{v, v}, ok
	case "--xor-mark":
		return change{0, v}, ok
	}
	return change{}, false
}

func (c change) of(f exposure.Field) exposure.Operand {
	return exposure.Of(f).And(exposure.Number(^c.clear & 0xffffffff)).XorWith(exposure.Number(c.flip))
}

// mark is the target MARK: mark_tg in net/netfilter/xt_mark.c.
func mark(e extension) []exposure.Statement {
	if len(e.options) != 1 {
		return effect(e)
	}
	c, ok := markChange(e.options[0])
	if !ok {
		return effect(e)
	}
	return []exposure.Statement{exposure.Assign{To: exposure.FieldMark, Value: []exposure.Operand{c.of(exposure.FieldMark)}}}
}

// connmark is the target CONNMARK: connmark_tg_shift in net/netfilter/xt_connmark.c.
func connmark(e extension) []exposure.Statement {
	nfmask, ctmask, shift := uint64(0xffffffff), uint64(0xffffffff), 0
	var what string
	var set change
	for _, o := range e.options {
		var n uint64
		ok := true
		switch o.name {
		case "--save-mark", "--restore-mark":
			what = o.name
		case "--nfmask":
			nfmask, ok = parseNumber(o.value(), 32)
		case "--ctmask":
			ctmask, ok = parseNumber(o.value(), 32)
		case "--mask":
			n, ok = parseNumber(o.value(), 32)
			nfmask, ctmask = n, n
		case "--left-shift-mark":
			n, ok = parseNumber(o.value(), 5)
			shift = int(n)
		case "--right-shift-mark":
			n, ok = parseNumber(o.value(), 5)
			shift = -int(n)
		default:
			what = "set"
			set, ok = markChange(o)
		}
		if !ok {
			return effect(e)
		}
	}
	from := func(f exposure.Field, mask uint64) exposure.Operand {
		return exposure.Of(f).And(exposure.Number(mask)).ShiftBy(shift)
	}
	kept := func(f exposure.Field, mask uint64) []exposure.Operand {
		if mask == 0xffffffff {
			return nil
		}
		return []exposure.Operand{exposure.Of(f).And(exposure.Number(^mask & 0xffffffff))}
	}
	switch what {
	case "set":
		return []exposure.Statement{exposure.Assign{To: exposure.FieldCTMark, Value: []exposure.Operand{set.of(exposure.FieldCTMark).ShiftBy(shift)}}}
	case "--save-mark":
		return []exposure.Statement{exposure.Assign{To: exposure.FieldCTMark, Value: append(kept(exposure.FieldCTMark, ctmask), from(exposure.FieldMark, nfmask))}}
	case "--restore-mark":
		return []exposure.Statement{exposure.Assign{To: exposure.FieldMark, Value: append(kept(exposure.FieldMark, nfmask), from(exposure.FieldCTMark, ctmask))}}
	}
	return effect(e)
}
