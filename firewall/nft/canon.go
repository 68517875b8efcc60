package nft

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
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
	var names []string
	for _, e := range exprs {
		raw, err := expr.Marshal(unix.NFPROTO_INET, e)
		if err != nil {
			// Only data that does not fit an attribute gets here, and ours always fits; an
			// impossible form differs from everything, so the read-back would report it.
			return "unencodable: " + err.Error()
		}
		names = append(names, canonExpr(raw))
	}
	return strings.Join(names, "; ")
}

// canonRule is the normal form of NFTA_RULE_EXPRESSIONS as the kernel dumps it.
func canonRule(raw []byte) (string, error) {
	attrs, err := netlink.UnmarshalAttributes(raw)
	if err != nil {
		return "", err
	}
	var names []string
	for _, a := range attrs {
		if a.Type&attrTypeMask == unix.NFTA_LIST_ELEM {
			names = append(names, canonExpr(a.Data))
		}
	}
	return strings.Join(names, "; "), nil
}

// canonExpr is the normal form of one NFTA_EXPR_NAME, NFTA_EXPR_DATA pair.
func canonExpr(raw []byte) string {
	attrs, err := netlink.UnmarshalAttributes(raw)
	if err != nil {
		return "undecodable " + hex.EncodeToString(raw)
	}
	var name string
	var data []byte
	for _, a := range attrs {
		switch a.Type & attrTypeMask {
		case unix.NFTA_EXPR_NAME:
			name = cString(a.Data)
		case unix.NFTA_EXPR_DATA:
			data = a.Data
		}
	}
	return name + canonAttrs(name, data)
}

func canonAttrs(name string, raw []byte) string {
	attrs, err := netlink.UnmarshalAttributes(raw)
	if err != nil {
		return "(" + hex.EncodeToString(raw) + ")"
	}
	slices.SortStableFunc(attrs, func(a, b netlink.Attribute) int {
		return int(a.Type&attrTypeMask) - int(b.Type&attrTypeMask)
	})
	var parts []string
	for _, a := range attrs {
		kind := a.Type & attrTypeMask
		switch {
		case meaningless[name][kind]:
		case name == "dynset" && kind == unix.NFTA_DYNSET_EXPR:
			parts = append(parts, fmt.Sprintf("%d=%s", kind, canonExpr(a.Data)))
		case nested[name][kind]:
			parts = append(parts, fmt.Sprintf("%d=%s", kind, canonAttrs("data", a.Data)))
		case name != "data" && len(bytes.Trim(a.Data, "\x00")) == 0:
			// A missing number means zero, and the kernel reports some zeros that nobody sent.
		default:
			parts = append(parts, fmt.Sprintf("%d=%s", kind, canonValue(name, kind, a.Data)))
		}
	}
	return "(" + strings.Join(parts, ",") + ")"
}

// canonValue prints bytes in hex, and names as names, so that differences read well.
func canonValue(expression string, kind uint16, b []byte) string {
	if s := cString(b); len(s) > 1 && isName(expression, kind) {
		return s
	}
	return hex.EncodeToString(b)
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
func cString(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

// looksUp reports whether the rule looks up a set, by the normal form of a lookup expression.
func (r rule) looksUp(set string) bool {
	return strings.Contains(r.canon, fmt.Sprintf("lookup(%d=%s,", unix.NFTA_LOOKUP_SET, set))
}
