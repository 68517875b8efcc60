package nftables

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/portgrave/portgrave/firewall/exposure"
	"golang.org/x/sys/unix"
)

// Attributes that x/sys/unix lacks (include/uapi/linux/netfilter/nf_tables.h).
const (
	bitwiseOp   = 6 // NFTA_BITWISE_OP
	bitwiseData = 7 // NFTA_BITWISE_DATA
	bitwiseReg2 = 8 // NFTA_BITWISE_SREG2
)

// Expressions that no program at hand writes, encoded here as the kernel would dump them.

func native(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }

func loadMark(register uint32) []byte {
	return expression(
		"meta",
		u32(unix.NFTA_META_DREG, register),
		u32(unix.NFTA_META_KEY, unix.NFT_META_MARK),
	)
}

func loadCTMark(register uint32) []byte {
	return expression(
		"ct",
		u32(unix.NFTA_CT_DREG, register),
		u32(unix.NFTA_CT_KEY, unix.NFT_CT_MARK),
	)
}

func setMark(register uint32) []byte {
	return expression(
		"meta",
		u32(unix.NFTA_META_SREG, register),
		u32(unix.NFTA_META_KEY, unix.NFT_META_MARK),
	)
}

// bitwiseOf is bitwise's newer operations: with a second register, or with a constant.
func bitwiseOf(op, from, to uint32, second []byte) []byte {
	return expression(
		"bitwise",
		u32(unix.NFTA_BITWISE_SREG, from),
		u32(unix.NFTA_BITWISE_DREG, to),
		u32(unix.NFTA_BITWISE_LEN, 4),
		u32(bitwiseOp, op),
		second,
	)
}

func mask(from, to, and, xor uint32) []byte {
	return bitwiseOf(
		bitwiseMaskXor,
		from,
		to,
		append(
			data(unix.NFTA_BITWISE_MASK, native(and)...),
			data(unix.NFTA_BITWISE_XOR, native(xor)...)...),
	)
}

func equals(register uint32, b ...byte) []byte {
	return expression(
		"cmp",
		u32(unix.NFTA_CMP_SREG, register),
		u32(unix.NFTA_CMP_OP, unix.NFT_CMP_EQ),
		data(unix.NFTA_CMP_DATA, b...),
	)
}

func payloadOf(base, offset, n, register uint32) []byte {
	return expression(
		"payload",
		u32(unix.NFTA_PAYLOAD_DREG, register),
		u32(unix.NFTA_PAYLOAD_BASE, base),
		u32(unix.NFTA_PAYLOAD_OFFSET, offset),
		u32(unix.NFTA_PAYLOAD_LEN, n),
	)
}

func TestBytes(t *testing.T) {
	mark, ct := exposure.Of(exposure.FieldMark), exposure.Of(exposure.FieldCTMark)
	for _, c := range []struct {
		name string
		rule [][]byte
		want stmts
	}{
		{"and with a constant", [][]byte{loadMark(1), bitwiseOf(bitwiseAnd, 1, 1, data(bitwiseData, native(0xff)...)), setMark(1)}, stmts{set(exposure.FieldMark, mark.And(num(0xff)))}},
		{"or with a constant", [][]byte{loadMark(1), bitwiseOf(bitwiseOr, 1, 1, data(bitwiseData, native(0x10)...)), setMark(1)}, stmts{set(exposure.FieldMark, mark.Or(num(0x10)))}},
		{"xor of two registers", [][]byte{loadMark(1), loadCTMark(9), bitwiseOf(bitwiseXor, 1, 1, u32(bitwiseReg2, 9)), setMark(1)}, stmts{set(exposure.FieldMark, mark, ct)}},
		{"or of two registers with no bit in common", [][]byte{loadMark(1), mask(1, 1, 0xff00, 0), loadCTMark(9), mask(9, 9, 0xff, 0), bitwiseOf(bitwiseOr, 1, 1, u32(bitwiseReg2, 9)), setMark(1)},
			stmts{set(exposure.FieldMark, mark.And(num(0xff00)), ct.And(num(0xff)))}},
		{"or of two registers", [][]byte{loadMark(1), loadCTMark(9), bitwiseOf(bitwiseOr, 1, 1, u32(bitwiseReg2, 9)), setMark(1)}, stmts{set(exposure.FieldMark, unknownOp("bitwise or", num(0xffffffff)))}},
		{"and of two registers", [][]byte{loadMark(1), loadCTMark(9), bitwiseOf(bitwiseAnd, 1, 1, u32(bitwiseReg2, 9)), setMark(1)}, stmts{set(exposure.FieldMark, unknownOp("bitwise and", num(0xffffffff)))}},
		{"a mask of nothing is a constant", [][]byte{loadMark(1), mask(1, 1, 0, 7), setMark(1)}, stmts{set(exposure.FieldMark, exposure.Const(num(7)))}},
		{"both numberings of the registers are one", [][]byte{loadMark(10), equals(10, native(5)...), loadMark(2), equals(12, native(6)...)}, stmts{is(exposure.FieldMark, 5), is(exposure.FieldMark, 6)}},
		{"a part of a register overwritten", [][]byte{payloadOf(1, 12, 8, 1), loadMark(9), equals(1, 10, 0, 0, 1), equals(9, native(1)...)},
			stmts{exposure.In(exposure.Of(exposure.FieldSource4), exposure.One(addr("10.0.0.1"))), is(exposure.FieldMark, 1)}},
		{"fields of one load compared with one constant", [][]byte{payloadOf(1, 9, 11, 1), equals(1, 6, 0xab, 0xcd, 10, 0, 0, 1, 10, 0, 0, 2)},
			stmts{tcp, exposure.In(raw(exposure.RawNetwork, 80, 16, 0), one(0xabcd)), is(exposure.FieldSource4, 0x0a000001), is(exposure.FieldDest4, 0x0a000002)}},
		{"a constant compared", [][]byte{expression("immediate", u32(unix.NFTA_IMMEDIATE_DREG, 1), data(unix.NFTA_IMMEDIATE_DATA, 1, 2, 3, 4)), equals(1, 1, 2), equals(1, 1, 3)}, stmts{never}},
		{"an expression of kernels to come", [][]byte{expression("teleport"), equals(1, 1)}, stmts{exposure.Unknown{Text: `expression "teleport"`, Effect: true},
			exposure.In(unknownOp(`left by expression "teleport"`, exposure.Value{}).ShiftBy(-8*63), one(1))}},
		{"a register that nobody wrote", [][]byte{equals(3, 1)}, stmts{maybe("a comparison with an unset register")}},
		{"a set that isn't there", [][]byte{loadMark(1), expression("lookup", str(unix.NFTA_LOOKUP_SET, "gone"), u32(unix.NFTA_LOOKUP_SREG, 1))}, stmts{maybe("unknown key @gone")}},
		{"a verdict to break", [][]byte{expression("immediate", u32(unix.NFTA_IMMEDIATE_DREG, 0), attr(unix.NFTA_IMMEDIATE_DATA, attr(unix.NFTA_DATA_VERDICT, u32(unix.NFTA_VERDICT_CODE, 0xfffffffe))))}, stmts{never}},
		{"a queue as a verdict", [][]byte{expression("immediate", u32(unix.NFTA_IMMEDIATE_DREG, 0), attr(unix.NFTA_IMMEDIATE_DATA, attr(unix.NFTA_DATA_VERDICT, u32(unix.NFTA_VERDICT_CODE, 7<<16|0x8000|3))))},
			stmts{exposure.Verdict{Kind: exposure.VerdictQueue, With: "7 bypass"}}},
		{"nat with a network in constants", [][]byte{
			expression("immediate", u32(unix.NFTA_IMMEDIATE_DREG, 1), data(unix.NFTA_IMMEDIATE_DATA, 10, 1, 0, 0)), expression("immediate", u32(unix.NFTA_IMMEDIATE_DREG, 2), data(unix.NFTA_IMMEDIATE_DATA, 10, 1, 0, 255)),
			expression("nat", u32(unix.NFTA_NAT_TYPE, 1), u32(unix.NFTA_NAT_FAMILY, 2), u32(unix.NFTA_NAT_REG_ADDR_MIN, 1), u32(unix.NFTA_NAT_REG_ADDR_MAX, 2), u32(unix.NFTA_NAT_FLAGS, natNetmap|1))},
			stmts{exposure.NAT{Family: exposure.FamilyIPv4, Addr: netmapOf(exposure.FieldDest4, 0xff, addr("10.1.0.0"))}}},
		{"an IPv6 address swapped", [][]byte{payloadOf(1, 12, 4, 1), expression("byteorder", u32(unix.NFTA_BYTEORDER_SREG, 1), u32(unix.NFTA_BYTEORDER_DREG, 1), u32(unix.NFTA_BYTEORDER_OP, 0), u32(unix.NFTA_BYTEORDER_LEN, 4), u32(unix.NFTA_BYTEORDER_SIZE, 4)),
			setMark(1)}, stmts{set(exposure.FieldMark, exposure.Of(exposure.FieldSource4))}},
		{"an address as a mark", [][]byte{payloadOf(1, 12, 4, 1), setMark(1)}, stmts{set(exposure.FieldMark, unknownOp("ip saddr with its bytes swapped", num(0xffffffff)))}},
		{"a port as a mark", [][]byte{payloadOf(2, 2, 2, 1), expression("byteorder", u32(unix.NFTA_BYTEORDER_SREG, 1), u32(unix.NFTA_BYTEORDER_DREG, 1), u32(unix.NFTA_BYTEORDER_OP, 0), u32(unix.NFTA_BYTEORDER_LEN, 2), u32(unix.NFTA_BYTEORDER_SIZE, 2)),
			setMark(1)}, stmts{set(exposure.FieldMark, exposure.Of(exposure.FieldDport))}},
	} {
		tables, err := Decode(
			dumpOf(nil, nil, slices.Concat(c.rule...), exposure.FamilyIPv4),
			Options{},
		)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		compare(t, c.name, tables[0].Chains[0].Rules[0].Statements, c.want)
	}
}

// elementOf encodes a key as the kernel does; an end has a flag.
func elementOf(end bool, key ...byte) []byte {
	e := data(unix.NFTA_SET_ELEM_KEY, key...)
	if end {
		e = append(e, u32(unix.NFTA_SET_ELEM_FLAGS, unix.NFT_SET_ELEM_INTERVAL_END)...)
	}
	return attr(unix.NFTA_LIST_ELEM, e)
}

func TestIntervals(t *testing.T) {
	lookup := slices.Concat(
		payloadOf(1, 12, 4, 1),
		expression("lookup", str(unix.NFTA_LOOKUP_SET, "s"), u32(unix.NFTA_LOOKUP_SREG, 1)),
	)
	declared := slices.Concat(
		u32(unix.NFTA_SET_FLAGS, unix.NFT_SET_INTERVAL),
		u32(unix.NFTA_SET_KEY_LEN, 4),
	)
	for _, c := range []struct {
		name     string
		elements [][]byte
		want     []exposure.Range
		unknown  bool
	}{
		{"highest first", [][]byte{elementOf(true, 10, 0, 0, 9), elementOf(false, 10, 0, 0, 1)}, []exposure.Range{between(0x0a000001, 0x0a000008)}, false},
		{"adjacent", [][]byte{elementOf(true, 0, 0, 0, 9), elementOf(false, 0, 0, 0, 5), elementOf(true, 0, 0, 0, 5), elementOf(false, 0, 0, 0, 1)}, []exposure.Range{between(1, 4), between(5, 8)}, false},
		{"to the top", [][]byte{elementOf(false, 255, 0, 0, 0)}, []exposure.Range{between(0xff000000, 0xffffffff)}, false},
		{"everything", [][]byte{elementOf(false, 0, 0, 0, 0)}, []exposure.Range{exposure.Full(32)}, false},
		{"an end at zero", [][]byte{elementOf(true, 0, 0, 0, 3), elementOf(false, 0, 0, 0, 2), elementOf(true, 0, 0, 0, 0)}, []exposure.Range{one(2)}, false},
		{"starts that have no end", [][]byte{elementOf(false, 0, 0, 0, 2), elementOf(false, 0, 0, 0, 7), elementOf(true, 0, 0, 0, 9)}, []exposure.Range{between(2, 6), between(7, 8)}, false},
		{"only an end", [][]byte{elementOf(true, 0, 0, 0, 2)}, nil, false},
		{"a key of another length", [][]byte{elementOf(false, 1, 2)}, nil, true},
	} {
		tables, err := Decode(
			dumpOf(declared, slices.Concat(c.elements...), lookup, exposure.FamilyIPv4),
			Options{},
		)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if s := tables[0].Sets[0]; !slices.Equal(s.Keys, c.want) || (s.Unknown != "") != c.unknown {
			t.Errorf("%s: %v, %q", c.name, s.Keys, s.Unknown)
		}
	}
}

func TestMalformed(t *testing.T) {
	good := dumpOf(nil, nil, loadMark(1), exposure.FamilyIPv4)
	for name, spoil := range map[string]func(d *Dump){
		"a rule cut short":        func(d *Dump) { d.Rules[0].Attributes = d.Rules[0].Attributes[:9] },
		"a table twice":           func(d *Dump) { d.Tables = append(d.Tables, d.Tables[0]) },
		"a chain twice":           func(d *Dump) { d.Chains = append(d.Chains, d.Chains[0]) },
		"a chain of no table":     func(d *Dump) { d.Tables = nil },
		"a rule of no chain":      func(d *Dump) { d.Chains = nil },
		"a set of another family": func(d *Dump) { d.Sets[0].Family = exposure.FamilyIPv6 },
	} {
		d := *good
		d.Rules, d.Sets = slices.Clone(good.Rules), slices.Clone(good.Sets)
		spoil(&d)
		if tables, err := Decode(&d, Options{}); err == nil {
			t.Errorf("%s: %+v", name, tables)
		}
	}
}
