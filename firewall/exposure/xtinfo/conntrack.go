package xtinfo

import (
	"fmt"
	"strings"

	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/xtmatch"
)

// Offsets in struct xt_conntrack_mtinfo1, 2 and 3 (xt_conntrack.h), which begin in the same way:
// eight union nf_inet_addr (four addresses, each with its mask), u32 expires_min, expires_max, u16
// l4proto, four ports, u16 match_flags, invert_flags; then
//
//	1: u8  state_mask, status_mask; ports in network byte order
//	2: u16 state_mask, status_mask; ports in network byte order
//	3: u16 state_mask, status_mask, four last ports; ports in host byte order
const (
	ctExpires = 128
	ctProto   = 136
	ctPorts   = 138
	ctFlags   = 146
	ctInvert  = 148
	ctState   = 150
	ctHigh    = 154
)

// state: struct xt_state_info { unsigned int statemask }; untracked is 1 << 6 (xt_state.h), and
// iptables applies "!" to the mask.
func state(_ Context, b fields) []exposure.Statement {
	mask := b.u32(0)
	if mask&^0x4f != 0 {
		return nil
	}
	bits := uint16(mask & 0xf)
	if mask&(1<<6) != 0 {
		bits |= xtmatch.StateUntracked
	}
	return xtmatch.Conntrack{State: &xtmatch.State{Bits: bits}}.Statements()
}

func conntrack3(c Context, b fields) []exposure.Statement {
	return conntrackOf(c, b, b.u16(ctState), b.u16(ctState+2), func(i int) (uint16, uint16) {
		return b.u16(ctPorts + 2*i), b.u16(ctHigh + 2*i)
	})
}

func conntrack1(c Context, b fields) []exposure.Statement {
	return conntrackOf(c, b, uint16(b.u8(ctState)), uint16(b.u8(ctState+1)), b.onePort)
}

func conntrack2(c Context, b fields) []exposure.Statement {
	return conntrackOf(c, b, b.u16(ctState), b.u16(ctState+2), b.onePort)
}

// onePort is a port of revisions 1 and 2, as a range.
func (b fields) onePort(i int) (from, to uint16) {
	p := b.be16(ctPorts + 2*i)
	return p, p
}

// conntrackOf reads the fields of all revisions. The bits of match_flags and invert_flags are
// XT_CONNTRACK_*: 0 state, 1 protocol, 2 to 5 the addresses, 6 status, 7 expiry, 8 to 11 the ports,
// 12 the direction.
func conntrackOf(
	c Context,
	b fields,
	states, status uint16,
	port func(int) (uint16, uint16),
) []exposure.Statement {
	flags, inverted := b.u16(ctFlags), b.u16(ctInvert)
	has := func(bit int) (has, not bool) { return flags>>bit&1 != 0, inverted>>bit&1 != 0 }
	var ct xtmatch.Conntrack
	var text []string
	option := func(name string, not bool, s ...exposure.Statement) {
		if not {
			name = "! " + name
		}
		text = append(text, name)
		ct.Options = append(ct.Options, s...)
	}
	if ok, not := has(0); ok {
		ct.State = &xtmatch.State{Bits: states, Not: not}
	}
	if ok, not := has(12); ok {
		option("--ctdir", not, xtmatch.ConntrackDirection(not))
	}
	for i, f := range ctFields {
		if ok, not := has(2 + i); ok {
			value, mask := b.value(32*i, c.Family), b.value(32*i+16, c.Family)
			option(
				"--"+f.name, not,
				xtmatch.ConntrackAddress(ctAddress(i, c.Family), value, mask, not),
			)
		}
	}
	if ok, not := has(1); ok {
		option(
			fmt.Sprintf("--ctproto %d", b.u16(ctProto)), not,
			xtmatch.ConntrackProtocol(b.u16(ctProto), not),
		)
	}
	for i, f := range ctFields {
		if ok, not := has(8 + i); ok {
			from, to := port(i)
			name := fmt.Sprintf("--%sport %d:%d", f.name, from, to)
			if from > to {
				option(name, not, xtmatch.Constant(not)...)
				continue
			}
			option(name, not, xtmatch.ConntrackPort(f.port, portRange(from, to), not))
		}
	}
	if ok, not := has(6); ok {
		option(fmt.Sprintf("--ctstatus %#x", status), not, xtmatch.ConntrackStatus(status, not))
	}
	if ok, not := has(7); ok {
		expires := fmt.Sprintf("--ctexpire %d:%d", b.u32(ctExpires), b.u32(ctExpires+4))
		option(expires, not, exposure.Unknown{Text: expires})
	}
	ct.OptionsText = strings.Join(text, " ")
	if out := ct.Statements(); out != nil {
		return out
	}
	if ct.State == nil &&
		len(text) == 0 { // without options, conntrack_mt holds if there is a connection
		return one(exposure.In(exposure.Of(exposure.FieldCTProtocol), exposure.Full(8)))
	}
	return none()
}
