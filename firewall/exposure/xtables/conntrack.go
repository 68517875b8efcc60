package xtables

import (
	"strings"

	"github.com/portgrave/portgrave/firewall/exposure"
)

// ctStates are the bits of FieldCTState. SNAT and DNAT, which --ctstate takes too, are the connection's status.
var ctStates = map[string]uint64{"INVALID": 1, "ESTABLISHED": 2, "RELATED": 4, "NEW": 8, "UNTRACKED": 64}

// withoutConnection are the states in which a packet has no connection.
const withoutConnection = 1 | 64

// ctStatuses are enum ip_conntrack_status (include/uapi/linux/netfilter/nf_conntrack_common.h). NONE is no bit at all, so that it never holds.
var ctStatuses = map[string]uint64{"NONE": 0, "EXPECTED": 1, "SEEN_REPLY": 2, "ASSURED": 4, "CONFIRMED": 8, "SNAT": 16, "DNAT": 32}

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

// conntrack translates conntrack_mt of net/netfilter/xt_conntrack.c, and state, which is its --ctstate.
//
// Each option has to hold, with one exception: where the packet has no connection, and the state asked for holds for it, nothing
// else is looked at. So "--ctstate UNTRACKED --ctdir REPLY" holds for every untracked packet. Options beside such a state are one Unknown.
func (x *translator) conntrack(e extension) []exposure.Statement {
	var out []exposure.Statement
	for _, o := range e.options {
		if o.name != "--ctstate" && o.name != "--state" {
			out = append(out, x.ctOption(o))
			continue
		}
		s, vacant := ctState(o)
		if vacant && len(e.options) > 1 {
			return []exposure.Statement{exposure.Unknown{Text: e.describe()}}
		}
		out = append(out, s)
	}
	return out
}

// ctState translates a list of states, and reports whether it can hold for a packet without a connection.
func ctState(o clause) (s exposure.Statement, vacant bool) {
	var states, nat uint64
	for name := range strings.SplitSeq(o.value(), ",") {
		name = strings.ToUpper(name)
		if name == "SNAT" || name == "DNAT" {
			nat |= ctStatuses[name]
		} else if b, ok := ctStates[name]; ok {
			states |= b
		} else {
			return unknown(o), true
		}
	}
	vacant = states&withoutConnection != 0
	if o.not {
		vacant = states&withoutConnection != withoutConnection
	}
	state := exposure.Of(exposure.FieldCTState).And(exposure.Number(states))
	if nat == 0 {
		return is(state, !o.not, exposure.One(exposure.Value{})), vacant
	}
	if vacant {
		// The status of no connection is absent, and the match would fail; the kernel's holds.
		return unknown(o), vacant
	}
	status := exposure.Of(exposure.FieldCTStatus).And(exposure.Number(nat))
	none := &exposure.Set{Width: 2, Keys: []exposure.Range{exposure.One(exposure.Value{}), exposure.One(exposure.Value{})}}
	return exposure.Match{Key: []exposure.Operand{state, status}, In: none, Not: !o.not}, vacant
}

func (x *translator) ctOption(o clause) exposure.Statement {
	f := fieldsFor(x.family)
	switch o.name {
	case "--ctproto":
		h := x.header(clause{name: "-p", not: o.not, values: o.values, text: o.text})
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
			if strings.EqualFold(o.value(), name) {
				return is(exposure.Of(exposure.FieldCTDirection), o.not, exposure.One(exposure.Number(uint64(direction))))
			}
		}
	case "--ctstatus":
		if bits, ok := parseBits(o.value(), ctStatuses); ok {
			m := exposure.AnyBit(exposure.FieldCTStatus, bits)
			m.Not = m.Not != o.not
			return m
		}
	}
	return unknown(o) // --ctexpire: how long the connection's timer still runs
}

// ctAddress compares an address of the connection; unlike in the header, 0.0.0.0/0 asks for there to be a connection.
func (x *translator) ctAddress(field exposure.Field, o clause) exposure.Statement {
	m, ok := parseMasked(x.family, o.value())
	if !ok {
		return unknown(o)
	}
	return matchMasked(field, m, o.not)
}

func ctPort(field exposure.Field, o clause) exposure.Statement {
	r, ok := parsePorts(o.value(), ":")
	if !ok {
		return unknown(o)
	}
	return is(exposure.Of(field), o.not, r)
}
