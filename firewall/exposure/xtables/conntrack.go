package xtables

import (
	"strings"

	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/xtmatch"
	"github.com/portgrave/portgrave/firewall/iptsave"
)

// ctStates are what --ctstate takes.
var ctStates = map[string]uint64{
	"INVALID":     xtmatch.StateInvalid,
	"ESTABLISHED": xtmatch.StateEstablished,
	"RELATED":     xtmatch.StateRelated,
	"NEW":         xtmatch.StateNew,
	"UNTRACKED":   xtmatch.StateUntracked,
	"SNAT":        xtmatch.StateSNAT,
	"DNAT":        xtmatch.StateDNAT,
}

// ctStatuses are enum ip_conntrack_status (include/uapi/linux/netfilter/nf_conntrack_common.h).
// NONE is no bit at all, so that it never holds.
var ctStatuses = map[string]uint64{
	"NONE":       0,
	"EXPECTED":   1,
	"SEEN_REPLY": 2,
	"ASSURED":    4,
	"CONFIRMED":  8,
	"SNAT":       16,
	"DNAT":       32,
}

func parseBits(s string, names map[string]uint64) (uint64, bool) {
	var bits uint64
	for name := range strings.SplitSeq(s, ",") {
		b, ok := names[strings.ToUpper(name)]
		if !ok {
			return 0, false
		}
		bits |= b
	}
	return bits, true
}

// conntrack translates conntrack, and state, which is its --ctstate: how the options go together is
// xtmatch.Conntrack's.
func (x *translator) conntrack(e iptsave.Extension) []exposure.Statement {
	ct := xtmatch.Conntrack{OptionsText: e.String()}
	for _, o := range e.Options {
		if o.Name != "--ctstate" && o.Name != "--state" {
			ct.Options = append(ct.Options, x.ctOption(o))
			continue
		}
		bits, ok := parseBits(o.Value(), ctStates)
		switch {
		case ok && ct.State == nil:
			ct.State = &xtmatch.State{Bits: uint16(bits), Not: o.Not}
		case len(e.Options) == 1:
			return one(unknown(o))
		default: // for what has no connection the others may count or not
			return one(exposure.Unknown{Text: e.String()})
		}
	}
	return ct.Statements()
}

func (x *translator) ctOption(o iptsave.Option) exposure.Statement {
	f := fieldsFor(x.family)
	switch o.Name {
	case "--ctproto":
		h := x.header(iptsave.Option{Name: "-p", Not: o.Not, Values: o.Values, Text: o.Text})
		if m, ok := h.(exposure.Match); ok {
			m.Key[0].Field = exposure.FieldCTProtocol
			return m
		}
	case "--ctorigsrc":
		return x.ctAddress(f.origSource, o)
	case "--ctorigdst":
		return x.ctAddress(f.origDest, o)
	case "--ctreplsrc":
		return x.ctAddress(f.replySource, o)
	case "--ctrepldst":
		return x.ctAddress(f.replyDest, o)
	case "--ctorigsrcport":
		return ctPort(exposure.FieldCTOrigSport, o)
	case "--ctorigdstport":
		return ctPort(exposure.FieldCTOrigDport, o)
	case "--ctreplsrcport":
		return ctPort(exposure.FieldCTReplySport, o)
	case "--ctrepldstport":
		return ctPort(exposure.FieldCTReplyDport, o)
	case "--ctdir":
		for direction, name := range []string{"ORIGINAL", "REPLY"} {
			if strings.EqualFold(o.Value(), name) {
				return is(
					exposure.Of(exposure.FieldCTDirection),
					o.Not,
					exposure.One(exposure.Number(uint64(direction))),
				)
			}
		}
	case "--ctstatus":
		if bits, ok := parseBits(o.Value(), ctStatuses); ok {
			m := exposure.AnyBit(exposure.FieldCTStatus, bits)
			m.Not = m.Not != o.Not
			return m
		}
	}
	return unknown(o) // --ctexpire: how long the connection's timer still runs
}

// ctAddress compares an address of the connection; unlike in the header, 0.0.0.0/0 asks for there
// to be a connection.
func (x *translator) ctAddress(field exposure.Field, o iptsave.Option) exposure.Statement {
	m, ok := parseMasked(x.family, o.Value())
	if !ok {
		return unknown(o)
	}
	return matchMasked(field, m, o.Not)
}

func ctPort(field exposure.Field, o iptsave.Option) exposure.Statement {
	r, ok := parsePorts(o.Value(), ":")
	if !ok {
		return unknown(o)
	}
	return is(exposure.Of(field), o.Not, r)
}
