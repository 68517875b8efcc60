package xtmatch

import (
	"slices"

	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// IPSetKey is the tuple to look up in an ipset: an operand for each of its columns. sides has one
// entry for each dimension, as in "src,dst". Set.Columns has nft's words: ipv4_addr, ipv6_addr,
// inet_proto (which belongs to the port after it and has no side of its own), inet_service, ifname,
// ether_addr, mark.
//
// other: the set is of the other family, so the look-up finds nothing (ip_set_test in
// net/netfilter/ipset/ip_set_core.c). ok is false if the columns aren't of these types or there are
// fewer sides than dimensions.
func IPSetKey(
	set *exposure.Set,
	family address.Family,
	sides []Side,
) (key []exposure.Operand, other, ok bool) {
	next := 0
	side := func() Side {
		next++
		if next > len(sides) {
			ok = false
			return Source
		}
		return sides[next-1]
	}
	ok = len(set.Columns) == set.Width && set.Width > 0
	for _, c := range set.Columns {
		var f exposure.Field
		switch c {
		case "ipv4_addr":
			other = other || family != address.IPv4
			f = side().Address(address.IPv4)
		case "ipv6_addr":
			other = other || family != address.IPv6
			f = side().Address(address.IPv6)
		case "inet_proto":
			f = exposure.FieldProtocol
		case "inet_service":
			f = side().Port()
		case "mark":
			side()
			f = exposure.FieldMark
		case "ether_addr":
			f = exposure.FieldDestMAC
			if side() == Source {
				f = exposure.FieldSourceMAC
			}
		case "ifname":
			f = exposure.FieldOutName
			if side() == Source {
				f = exposure.FieldInName
			}
		default:
			return nil, false, false
		}
		key = append(key, exposure.Of(f))
	}
	return key, other, ok
}

// IPSet is "-m set --match-set". A nil set couldn't be read. text is the match's text in the rule.
func IPSet(
	set *exposure.Set,
	family address.Family,
	sides []Side,
	not bool,
	text string,
) []exposure.Statement {
	unknown := []exposure.Statement{exposure.Unknown{Text: text}}
	if set == nil {
		return unknown
	}
	key, other, ok := IPSetKey(set, family, sides)
	switch {
	case !ok:
		return unknown
	case other:
		return Constant(not)
	}
	return []exposure.Statement{exposure.Match{Key: key, In: set, Not: not}}
}

// UpdateIPSet is SET's --add-set and --del-set. An unknown set doesn't matter to this packet, and
// every look-up in it is unknown anyway.
func UpdateIPSet(
	set *exposure.Set,
	op exposure.SetOp,
	family address.Family,
	sides []Side,
	text string,
) []exposure.Statement {
	if set != nil {
		if key, other, ok := IPSetKey(set, family, sides); ok && !other {
			return []exposure.Statement{exposure.SetUpdate{Set: set, Op: op, Key: slices.Clip(key)}}
		}
	}
	return []exposure.Statement{exposure.NoEffect{Text: text}}
}
