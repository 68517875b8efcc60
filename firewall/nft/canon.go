package nft

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// The normal form of a rule: its expressions by name, their attributes in order of type, without
// what carries no meaning. It is made from netlink attributes, both for what we send and for what
// the kernel reports, so an expression that we have never heard of still counts and still differs.

// attrTypeMask removes NLA_F_NESTED and NLA_F_NET_BYTEORDER (include/uapi/linux/netlink.h), which
// the kernel and senders set as they like.
const attrTypeMask = 0x3fff

// nested lists the attributes that hold attributes, by expression name
// (include/uapi/linux/netfilter/nf_tables.h). Unlisted ones are compared as bytes.
var nested = map[string]map[uint16]bool{
	"cmp":       {unix.NFTA_CMP_DATA: true},
	"immediate": {unix.NFTA_IMMEDIATE_DATA: true},
	"bitwise":   {unix.NFTA_BITWISE_MASK: true, unix.NFTA_BITWISE_XOR: true, bitwiseData: true},
	"range":     {unix.NFTA_RANGE_FROM_DATA: true, unix.NFTA_RANGE_TO_DATA: true},
	"data":      {unix.NFTA_DATA_VERDICT: true},
}

// bitwiseData is NFTA_BITWISE_DATA, which x/sys/unix lacks.
const bitwiseData = 7

// meaningless lists attributes that say nothing about what an expression does.
var meaningless = map[string]map[uint16]bool{
	"lookup":  {unix.NFTA_LOOKUP_SET_ID: true}, // only names a set made in the same transaction
	"dynset":  {unix.NFTA_DYNSET_SET_ID: true},
	"counter": {unix.NFTA_COUNTER_BYTES: true, unix.NFTA_COUNTER_PACKETS: true},
}

// canonOf is the normal form of expressions that we are about to send.
func canonOf(exprs []expr.Any) string {
	out := make([]byte, 0, 512) // on the stack: few rules have more
	for i, e := range exprs {
		raw, err := marshalExpr(e)
		if err != nil {
			// Only data that does not fit an attribute gets here, and ours always fits; an
			// impossible form differs from everything, so the read-back would report it.
			return "unencodable: " + err.Error()
		}
		if i > 0 {
			out = append(out, "; "...)
		}
		out = appendExpr(out, raw)
	}
	return string(out)
}

// canonRule is the normal form of NFTA_RULE_EXPRESSIONS as the kernel dumps it.
func canonRule(raw []byte) (string, error) {
	out := make([]byte, 0, 512) // on the stack: few rules have more
	err := eachAttr(raw, func(kind uint16, data []byte) error {
		if kind == unix.NFTA_LIST_ELEM {
			if len(out) > 0 {
				out = append(out, "; "...)
			}
			out = appendExpr(out, data)
		}
		return nil
	})
	return string(out), err
}

// appendExpr appends the normal form of one NFTA_EXPR_NAME, NFTA_EXPR_DATA pair.
func appendExpr(out, raw []byte) []byte {
	var name string
	var data []byte
	if eachAttr(raw, func(kind uint16, value []byte) error {
		switch kind {
		case unix.NFTA_EXPR_NAME:
			name = cString(value)
		case unix.NFTA_EXPR_DATA:
			data = value
		}
		return nil
	}) != nil {
		return hex.AppendEncode(append(out, "undecodable "...), raw)
	}
	return appendAttrs(append(out, name...), name, data)
}

// attribute is one as it came.
type attribute struct {
	kind uint16
	data []byte
}

func appendAttrs(out []byte, name string, raw []byte) []byte {
	attrs := make([]attribute, 0, 16) // on the stack: no expression of ours has more
	if eachAttr(raw, func(kind uint16, data []byte) error {
		attrs = append(attrs, attribute{kind, data})
		return nil
	}) != nil {
		return append(hex.AppendEncode(append(out, '('), raw), ')')
	}
	slices.SortStableFunc(attrs, func(a, b attribute) int { return int(a.kind) - int(b.kind) })
	out = append(out, '(')
	first := true
	for _, a := range attrs {
		inner, exprs := nested[name][a.kind], name == "dynset" && a.kind == unix.NFTA_DYNSET_EXPR
		switch {
		case meaningless[name][a.kind]:
			continue
		case !inner && !exprs && name != "data" && len(bytes.Trim(a.data, "\x00")) == 0:
			continue // a missing number means zero, and the kernel reports some zeros that nobody sent
		}
		if !first {
			out = append(out, ',')
		}
		first = false
		out = append(strconv.AppendUint(out, uint64(a.kind), 10), '=')
		switch {
		case exprs:
			out = appendExpr(out, a.data)
		case inner:
			out = appendAttrs(out, "data", a.data)
		default:
			out = appendValue(out, name, a.kind, a.data)
		}
	}
	return append(out, ')')
}

// appendValue appends bytes in hex, and names as names, so that differences read well.
func appendValue(out []byte, expression string, kind uint16, b []byte) []byte {
	if s := cBytes(b); len(s) > 1 && isName(expression, kind) {
		return append(out, s...)
	}
	return hex.AppendEncode(out, b)
}

func isName(expression string, kind uint16) bool {
	switch expression {
	case "lookup":
		return kind == unix.NFTA_LOOKUP_SET
	case "dynset":
		return kind == unix.NFTA_DYNSET_SET_NAME
	case "objref":
		return kind == unix.NFTA_OBJREF_IMM_NAME
	case "log":
		return kind == unix.NFTA_LOG_PREFIX
	}
	return false
}

// cString is a NUL-terminated attribute as a string.
func cString(b []byte) string { return string(cBytes(b)) }

func cBytes(b []byte) []byte {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return b
}

// same reports whether two rules do the same, by their normal forms.
func (r rule) same(o rule) bool { return r.canon == o.canon }

// looksUp reports whether the rule looks up a set, by the normal form of a lookup expression.
func (r rule) looksUp(set string) bool {
	return strings.Contains(r.canon, fmt.Sprintf("lookup(%d=%s,", unix.NFTA_LOOKUP_SET, set))
}
