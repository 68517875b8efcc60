package xtmatch

import (
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// Types of addresses: bits of struct xt_addrtype_info_v1's masks
// (include/uapi/linux/netfilter/xt_addrtype.h), 1 << RTN_*.
const (
	addrUnspec      = 1 << 0
	addrUnicast     = 1 << 1
	addrLocal       = 1 << 2
	addrAnycast     = 1 << 4
	addrMulticast   = 1 << 5
	addrUnreachable = 1 << 7
	addrTypes       = 1<<12 - 1
)

// AddrType is one of addrtype's --src-type, --dst-type. types is a mask of 1 << RTN_*. in and out
// are --limit-iface-in and --limit-iface-out.
func AddrType(
	s Side,
	family address.Family,
	types uint16,
	in, out, not bool,
) []exposure.Statement {
	of := exposure.FibSource
	if s != Source {
		of = exposure.FibDest
	}
	fib := exposure.Operand{
		Field: exposure.FieldFib,
		Fib:   exposure.Fib{Of: of, Want: exposure.FibType, ByIn: in, ByOut: out},
	}
	if family == address.IPv6 {
		return addrType6(s, types, fib, not)
	}
	if types == 0 || types&^addrTypes != 0 {
		return []exposure.Statement{exposure.Unknown{Text: "addrtype of unknown types"}}
	}
	return []exposure.Statement{test(fib, not, typeRanges(types)...)}
}

func typeRanges(types uint16) []exposure.Range {
	var out []exposure.Range
	for i := range uint64(16) {
		if types&(1<<i) != 0 {
			out = append(out, exposure.One(exposure.Number(i)))
		}
	}
	return exposure.NewRanges(out...).List()
}

// addrType6 follows match_type6 in net/netfilter/xt_addrtype.c, which differs from IPv4: all of
// multicast, unicast and unspec in the mask must hold, by the address alone; local, anycast and
// unreachable look up the route, and one of them is enough.
func addrType6(s Side, types uint16, fib exposure.Operand, not bool) []exposure.Statement {
	const routed = addrLocal | addrAnycast | addrUnreachable
	if types == 0 || types&^(routed|addrUnspec|addrUnicast|addrMulticast) != 0 {
		return []exposure.Statement{
			exposure.Unknown{Text: "addrtype of types that IPv6 doesn't have"},
		}
	}
	unspec := exposure.NewRanges(exposure.One(exposure.Value{}))
	multicast := exposure.NewRanges(
		exposure.Range{From: exposure.Number(0xff).Shift(120), To: exposure.Ones(128)},
	)
	// ::ffff:0:0/96: not unicast in ipv6_addr_type (net/ipv6/addrconf_core.c).
	mapped := exposure.NewRanges(
		exposure.Range{
			From: exposure.Number(0xffff_0000_0000),
			To:   exposure.Number(0xffff_ffff_ffff),
		},
	)
	addresses := exposure.NewRanges(exposure.Full(128))
	if types&addrMulticast != 0 {
		addresses = addresses.Intersect(multicast)
	}
	if types&addrUnicast != 0 {
		addresses = addresses.Minus(unspec).Minus(multicast).Minus(mapped)
	}
	if types&addrUnspec != 0 {
		addresses = addresses.Intersect(unspec)
	}
	address := exposure.Of(s.Address(address.IPv6))
	switch {
	case types&routed == 0:
		return []exposure.Statement{test(address, not, addresses.List()...)}
	case types&^routed == 0:
		return []exposure.Statement{test(fib, not, typeRanges(types)...)}
	}
	in := &exposure.Set{Width: 2}
	for _, a := range addresses.List() {
		for _, t := range typeRanges(types & routed) {
			in.Keys = append(in.Keys, a, t)
		}
	}
	return []exposure.Statement{
		exposure.Match{Key: []exposure.Operand{address, fib}, In: in, Not: not},
	}
}

// ReversePath is rpfilter.
func ReversePath(loose, validMark, acceptLocal, not bool) exposure.Match {
	fib := exposure.Fib{
		Of:          exposure.FibSource,
		Want:        exposure.FibReversePath,
		ByMark:      validMark,
		Loose:       loose,
		AcceptLocal: acceptLocal,
	}
	return test(
		exposure.Operand{Field: exposure.FieldFib, Fib: fib}, not, exposure.One(exposure.Number(1)),
	)
}
