package xtables

import (
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/xtmatch"
	"github.com/portgrave/portgrave/firewall/iptsave"
)

// markChange reads the ways to write a mark that MARK and CONNMARK have in common (libxt_MARK.c,
// libxt_CONNMARK.c), as --set-xmark's value and mask.
func markChange(o iptsave.Option) (value, mask uint32, ok bool) {
	v, m, ok := parseMark(o.Value())
	value, mask = uint32(v), uint32(m)
	switch o.Name {
	case "--set-xmark":
		return value, mask, ok
	case "--set-mark":
		return value, mask | value, ok
	case "--and-mark":
		return 0, ^value, ok
	case "--or-mark":
		return value, value, ok
	case "--xor-mark":
		return value, 0, ok
	}
	return 0, 0, false
}

// mark is the target MARK: mark_tg in net/netfilter/xt_mark.c.
func mark(e iptsave.Extension) []exposure.Statement {
	if len(e.Options) != 1 {
		return effect(e)
	}
	value, mask, ok := markChange(e.Options[0])
	if !ok {
		return effect(e)
	}
	return one(xtmatch.SetMark(exposure.FieldMark, value, mask))
}

// connmark is the target CONNMARK: connmark_tg_shift in net/netfilter/xt_connmark.c.
func connmark(e iptsave.Extension) []exposure.Statement {
	nfmask, ctmask, shift := uint64(0xffffffff), uint64(0xffffffff), 0
	var what string
	var value, mask uint32
	for _, o := range e.Options {
		var n uint64
		ok := true
		switch o.Name {
		case "--save-mark", "--restore-mark":
			what = o.Name
		case "--nfmask":
			nfmask, ok = parseNumber(o.Value(), 32)
		case "--ctmask":
			ctmask, ok = parseNumber(o.Value(), 32)
		case "--mask":
			n, ok = parseNumber(o.Value(), 32)
			nfmask, ctmask = n, n
		case "--left-shift-mark":
			n, ok = parseNumber(o.Value(), 5)
			shift = int(n)
		case "--right-shift-mark":
			n, ok = parseNumber(o.Value(), 5)
			shift = -int(n)
		default:
			what = "set"
			value, mask, ok = markChange(o)
		}
		if !ok {
			return effect(e)
		}
	}
	switch what {
	case "set":
		return one(xtmatch.ShiftMark(value, mask, shift))
	case "--save-mark":
		return one(xtmatch.SaveMark(uint32(nfmask), uint32(ctmask), shift))
	case "--restore-mark":
		return one(xtmatch.RestoreMark(uint32(nfmask), uint32(ctmask), shift))
	}
	return effect(e)
}
