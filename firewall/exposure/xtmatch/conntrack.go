package xtmatch

import (
	"github.com/portgrave/portgrave/firewall/exposure"
)

// State bits of --ctstate: xt_conntrack.h's XT_CONNTRACK_STATE_*. INVALID, ESTABLISHED, RELATED and
// NEW have the numbers that nf_tables and FieldCTState use; the others don't.
const (
	StateInvalid     = 1 << 0
	StateEstablished = 1 << 1
	StateRelated     = 1 << 2
	StateNew         = 1 << 3
	StateSNAT        = 1 << 6 // 1 << (IP_CT_NUMBER + 1)
	StateDNAT        = 1 << 7
	StateUntracked   = 1 << 8
)

// Bits of FieldCTState and FieldCTStatus.
const (
	// NF_CT_STATE_UNTRACKED_BIT (include/uapi/linux/netfilter/nf_conntrack_common.h)
	ctUntracked = 64
	statusSNAT  = 1 << 4
	statusDNAT  = 1 << 5
)

// State is --ctstate of conntrack and state: any of the bits or, with Not, none of them.
type State struct {
	Bits uint16
	Not  bool
}

// Conntrack holds all options of one "-m conntrack". Nil and empty fields are options that weren't
// given.
type Conntrack struct {
	State *State
	// Options are the other options as matches: they read fields that are absent without a
	// connection.
	Options []exposure.Statement
	// OptionsText is the text of the options, for an Unknown.
	OptionsText string
}

// Statements follows conntrack_mt in net/netfilter/xt_conntrack.c. For a packet without a
// connection, the kernel tests only the state: if that holds, the whole match does, whatever the
// other options; without a state test, the match never holds. So where such a packet can pass the
// state test, the other options may or may not apply.
func (c Conntrack) Statements() []exposure.Statement {
	if c.State == nil {
		return c.Options
	}
	out := c.State.statements()
	switch {
	case len(c.Options) == 0:
		return out
	case c.State.withoutConnection():
		return append(out, exposure.Unknown{Text: c.OptionsText})
	}
	return append(out, c.Options...)
}

// withoutConnection reports whether a packet without a connection may pass.
func (s State) withoutConnection() bool {
	if s.Not {
		return s.Bits&(StateInvalid|StateUntracked) != StateInvalid|StateUntracked
	}
	return s.Bits&(StateInvalid|StateUntracked) != 0
}

func (s State) statements() []exposure.Statement {
	state, status := s.split()
	of := func(f exposure.Field, bits uint64) exposure.Operand { return exposure.Of(f).And(exposure.Number(bits)) }
	zero := exposure.One(exposure.Value{})
	switch {
	case status == 0:
		return []exposure.Statement{test(of(exposure.FieldCTState, state), !s.Not, zero)}
	case s.withoutConnection() && s.Not:
		// For a packet without a connection the kernel tests only the state. In the model its
		// status is absent, so a test of it never holds.
		unknown := exposure.Unknown{
			Text:      "ct status no " + statusWords(status) + ", or no connection",
			NotStatus: status,
		}
		if state == 0 {
			return []exposure.Statement{unknown}
		}
		return []exposure.Statement{test(of(exposure.FieldCTState, state), false, zero), unknown}
	case s.withoutConnection():
		return []exposure.Statement{
			exposure.Unknown{Text: "ct state or status, of packets with and without a connection"},
		}
	case state == 0:
		return []exposure.Statement{test(of(exposure.FieldCTStatus, status), !s.Not, zero)}
	}
	return []exposure.Statement{exposure.Match{
		Key: []exposure.Operand{
			of(exposure.FieldCTState, state), of(exposure.FieldCTStatus, status),
		},
		In:  &exposure.Set{Width: 2, Keys: []exposure.Range{zero, zero}},
		Not: !s.Not,
	}}
}

func statusWords(status uint64) string {
	switch status {
	case statusSNAT:
		return "snat"
	case statusDNAT:
		return "dnat"
	}
	return "snat,dnat"
}

// split converts the option's bits to those of FieldCTState and FieldCTStatus.
func (s State) split() (state, status uint64) {
	state = uint64(s.Bits & (StateInvalid | StateEstablished | StateRelated | StateNew))
	if s.Bits&StateUntracked != 0 {
		state |= ctUntracked
	}
	if s.Bits&StateSNAT != 0 {
		status |= statusSNAT
	}
	if s.Bits&StateDNAT != 0 {
		status |= statusDNAT
	}
	return state, status
}

// ConntrackProtocol is --ctproto. The kernel compares with all 16 bits of the option; a number
// beyond 255 never holds.
func ConntrackProtocol(protocol uint16, not bool) exposure.Statement {
	return test(
		exposure.Of(exposure.FieldCTProtocol), not, exposure.One(exposure.Number(uint64(protocol))),
	)
}

// ConntrackStatus is --ctstatus: any of the bits of enum ip_conntrack_status; NONE is 0, which
// never holds.
func ConntrackStatus(bits uint16, not bool) exposure.Statement {
	return test(
		exposure.Of(exposure.FieldCTStatus).And(exposure.Number(uint64(bits))), !not,
		exposure.One(exposure.Value{}),
	)
}

// ConntrackDirection is --ctdir: 0 original, 1 reply.
func ConntrackDirection(reply bool) exposure.Statement {
	return test(exposure.Of(exposure.FieldCTDirection), reply, exposure.One(exposure.Value{}))
}

// ConntrackAddress is --ctorigsrc, --ctorigdst, --ctreplsrc or --ctrepldst: (address & mask) ==
// value, for one of FieldCTOrigSource4, ….
func ConntrackAddress(f exposure.Field, value, mask exposure.Value, not bool) exposure.Statement {
	if r, ok := prefixRange(value, mask, exposure.Of(f).Width()); ok {
		return test(exposure.Of(f), not, r)
	}
	return test(exposure.Of(f).And(mask), not, exposure.One(value))
}

// prefixRange is the range of values that agree with value in a mask that is a prefix.
func prefixRange(value, mask exposure.Value, width int) (exposure.Range, bool) {
	host := exposure.Ones(width).AndNot(mask)
	for n := 0; n <= width; n++ {
		if host == exposure.Ones(n) {
			return exposure.Range{From: value, To: value.Or(host)}, value.And(host).IsZero()
		}
	}
	return exposure.Range{}, false
}

// ConntrackPort is --ctorigsrcport or one of its relatives, for one of FieldCTOrigSport, ….
func ConntrackPort(f exposure.Field, r exposure.Range, not bool) exposure.Statement {
	return test(exposure.Of(f), not, r)
}
