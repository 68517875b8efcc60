package xtinfo

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"reflect"
	"testing"

	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// Package nftables tests the revisions that current iptables writes against the kernel. These are
// structs that only older versions wrote.

var context4 = Context{Family: address.IPv4, Hook: exposure.HookPrerouting, HasHook: true}

func u16s(n ...uint16) []byte {
	var b []byte
	for _, x := range n {
		b = binary.NativeEndian.AppendUint16(b, x)
	}
	return b
}

func u32s(n ...uint32) []byte {
	var b []byte
	for _, x := range n {
		b = binary.NativeEndian.AppendUint32(b, x)
	}
	return b
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func TestOlderRevisions(t *testing.T) {
	in := func(f exposure.Field, ranges ...exposure.Range) []exposure.Statement {
		return []exposure.Statement{exposure.In(exposure.Of(f), ranges...)}
	}
	one := func(n uint64) exposure.Range { return exposure.One(exposure.Number(n)) }
	addr := exposure.Const(exposure.Address(netip.MustParseAddr("10.0.0.1")))
	port := exposure.Const(exposure.Number(8080))
	// conntrack 1 and 2: only --ctorigdstport 80, with its port in network byte order, and
	// --ctstatus ASSURED.
	ct := make([]byte, 128)
	ct = join(ct, u32s(0, 0), u16s(0), []byte{0, 0, 0, 80, 0, 0, 0, 0}, u16s(1<<9|1<<6, 0))
	assured := exposure.AnyBit(exposure.FieldCTStatus, 4)
	for _, c := range []struct {
		target bool
		info   Info
		want   []exposure.Statement
	}{
		{false, Info{"multiport", 0, join([]byte{1, 2}, u16s(22, 80), make([]byte, 26))}, in(exposure.FieldDport, one(22), one(80))},
		{false, Info{"addrtype", 0, join(u16s(0, 1<<2), u32s(0, 0))}, []exposure.Statement{exposure.In(exposure.Operand{Field: exposure.FieldFib, Fib: exposure.Fib{Of: exposure.FibDest}}, one(2))}},
		{false, Info{"state", 0, u32s(8)}, []exposure.Statement{exposure.AnyBit(exposure.FieldCTState, 8)}},
		{false, Info{"state", 0, u32s(1 << 6)}, []exposure.Statement{exposure.AnyBit(exposure.FieldCTState, 64)}},
		{false, Info{"conntrack", 1, join(ct, []byte{0, 4})}, append(in(exposure.FieldCTOrigDport, one(80)), assured)},
		{false, Info{"conntrack", 2, join(ct, u16s(0, 4), make([]byte, 2))}, append(in(exposure.FieldCTOrigDport, one(80)), assured)},
		{false, Info{"set", 1, join(u16s(3), []byte{1, 2})}, []exposure.Statement{exposure.Unknown{Text: "ipset number 3 src"}}},
		{false, Info{"set", 2, join(u16s(3), []byte{1, 1 | 128})}, []exposure.Statement{exposure.Unknown{Text: "not in ipset number 3 dst --return-nomatch"}}},
		{false, Info{"tcp", 0, join(u16s(0, 65535, 9, 5), make([]byte, 4))}, []exposure.Statement{exposure.In(exposure.Const(exposure.Value{}))}},
		{false, Info{"tcp", 7, make([]byte, 16)}, []exposure.Statement{exposure.Unknown{Text: `xt match "tcp" revision 7`}}},
		{false, Info{"rt", 0, join(u32s(0, 0, 0, 0), []byte{1, 0}, make([]byte, 262))}, []exposure.Statement{exposure.Unknown{Text: "routing header of type 0", Optional: true, Header: 43}}},
		{false, Info{"rt", 0, join(u32s(2, 0, 0, 0), []byte{1, 1})}, []exposure.Statement{exposure.Unknown{Text: "routing header not of type 2", Optional: true, Header: 43}}},
		{false, Info{"frag", 0, make([]byte, 16)}, []exposure.Statement{exposure.Unknown{Text: `xt match "frag" revision 0`, Optional: true, Header: 44}}},
		{true, Info{"CONNMARK", 1, join(u32s(5, 0xffffffff, 0), []byte{0})}, []exposure.Statement{exposure.Assign{To: exposure.FieldCTMark, Value: []exposure.Operand{exposure.Const(exposure.Number(5))}}}},
		{true, Info{"NFQUEUE", 0, u16s(4)}, []exposure.Statement{exposure.Verdict{Kind: exposure.VerdictQueue, With: "4"}}},
		{true, Info{"NFQUEUE", 1, u16s(4, 2)}, []exposure.Statement{exposure.Verdict{Kind: exposure.VerdictQueue, With: "4-5"}}},
		{true, Info{"NOTRACK", 0, nil}, []exposure.Statement{exposure.NoTrack{}}},
		{true, Info{"DNAT", 0, join(u32s(1, natMapIPs|natPorts), []byte{10, 0, 0, 1, 10, 0, 0, 1, 0x1f, 0x90, 0x1f, 0x90})},
			[]exposure.Statement{exposure.NAT{Family: exposure.FamilyIPv4, Addr: &addr, Port: &port}}},
		{true, Info{"TPROXY", 0, join(u32s(0, 0), []byte{10, 0, 0, 1, 0x1f, 0x90, 0, 0})},
			[]exposure.Statement{exposure.TProxy{Family: exposure.FamilyIPv4, Addr: &addr, Port: &port, OrDrop: true}, exposure.Verdict{Kind: exposure.VerdictAccept}}},
		{true, Info{"XYZZY", 0, nil}, []exposure.Statement{exposure.Unknown{Text: `xt target "XYZZY" revision 0`, Effect: true}}},
	} {
		got, _ := Match(context4, c.info)
		if c.target {
			got = Target(context4, c.info)
		}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s %d: %+v, want %+v", c.info.Name, c.info.Revision, got, c.want)
		}
	}
}

// A struct that is too short is unknown. One of only zeros or ones decodes without a panic.
func TestSizes(t *testing.T) {
	for _, family := range []address.Family{address.IPv4, address.IPv6} {
		c := Context{Family: family}
		for k, l := range matches {
			if got, _ := Match(c, Info{k.name, k.revision, make([]byte, l.size-1)}); len(
				got,
			) != 1 ||
				reflect.TypeOf(got[0]) != reflect.TypeFor[exposure.Unknown]() {
				t.Errorf("%v cut short: %+v", k, got)
			}
			Match(c, Info{k.name, k.revision, make([]byte, l.size)})
			Match(c, Info{k.name, k.revision, bytes.Repeat([]byte{0xff}, l.size)})
		}
		for k, l := range targets {
			if l.size > 0 {
				if got := Target(c, Info{k.name, k.revision, make([]byte, l.size-1)}); len(
					got,
				) != 1 ||
					got[0] != (exposure.Statement)(exposure.Unknown{Text: unknownText("target", Info{k.name, k.revision, nil}), Effect: true}) {
					t.Errorf("%v cut short: %+v", k, got)
				}
			}
			Target(c, Info{k.name, k.revision, make([]byte, l.size)})
			Target(c, Info{k.name, k.revision, bytes.Repeat([]byte{0xff}, l.size)})
		}
	}
}
