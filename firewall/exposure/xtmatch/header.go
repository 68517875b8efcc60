package xtmatch

import (
	"net/netip"

	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// test is a Match of one operand: in the ranges or, with not, in none of them.
func test(o exposure.Operand, not bool, ranges ...exposure.Range) exposure.Match {
	m := exposure.In(o, ranges...)
	m.Not = not
	return m
}

// masked matches the bits of a mask.
func masked(f exposure.Field, mask, value uint64, not bool) exposure.Match {
	o := exposure.Of(f)
	if whole := exposure.Ones(o.Width()); exposure.Number(mask).And(whole) != whole {
		o = o.And(exposure.Number(mask))
	}
	return test(o, not, exposure.One(exposure.Number(value)))
}

// Never is a match that never holds.
func Never() exposure.Match { return exposure.In(exposure.Const(exposure.Value{})) }

// Constant is a match that always or never holds. It returns no statement for always.
func Constant(holds bool) []exposure.Statement {
	if holds {
		return nil
	}
	return []exposure.Statement{Never()}
}

// Needs is the IPv6 extension header that a match needs in order to hold, with or without "!":
// ip6t_rt, ip6t_frag, ip6t_ah, ip6t_hbh in net/ipv6/netfilter. Senders may leave the header out.
// Its number is 0 for hop-by-hop. IPv4's ah comes with "-p ah", which no packet of TCP or UDP is.
func Needs(match string, f address.Family) (header uint8, optional bool) {
	if match == "ah" && f == address.IPv4 {
		return 0, false
	}
	switch match {
	case "hbh":
		return 0, true
	case "rt":
		return 43, true
	case "frag":
		return 44, true
	case "ah":
		return 51, true
	case "dst":
		return 60, true
	}
	return 0, false
}

// Side is the end of a packet's way that an option is about.
type Side uint8

const (
	Source Side = iota
	Destination
	Either
)

// Address is the field with the address of a side. Either counts as Destination.
func (s Side) Address(f address.Family) exposure.Field {
	switch {
	case s == Source && f == address.IPv4:
		return exposure.FieldSource4
	case s == Source:
		return exposure.FieldSource6
	case f == address.IPv4:
		return exposure.FieldDest4
	}
	return exposure.FieldDest6
}

// Port is the field with the port of a side. Either counts as Destination.
func (s Side) Port() exposure.Field {
	if s == Source {
		return exposure.FieldSport
	}
	return exposure.FieldDport
}

// Addresses matches an address range: iprange, -s, -d. Both ends have the same family.
func Addresses(s Side, from, to netip.Addr, not bool) exposure.Match {
	family := address.IPv6
	if from.Is4() {
		family = address.IPv4
	}
	return test(
		exposure.Of(s.Address(family)), not,
		exposure.Range{From: exposure.Address(from), To: exposure.Address(to)},
	)
}

// Ports matches ports: --sport, --dport, multiport's lists. Either is multiport's --ports: the
// source port or the destination port is in the list; with not, neither is.
func Ports(s Side, not bool, ranges ...exposure.Range) exposure.Match {
	if s != Either {
		return test(exposure.Of(s.Port()), not, ranges...)
	}
	any := exposure.Full(16)
	in := &exposure.Set{Width: 2}
	for _, r := range ranges {
		in.Keys = append(in.Keys, r, any, any, r)
	}
	return exposure.Match{
		Key: []exposure.Operand{exposure.Of(exposure.FieldSport), exposure.Of(exposure.FieldDport)},
		In:  in,
		Not: not,
	}
}

// TCPFlags matches --tcp-flags mask value; --syn is 0x17, 0x02. A value with bits outside the mask
// never holds or, with not, always.
func TCPFlags(mask, value uint8, not bool) exposure.Match {
	return masked(exposure.FieldTCPFlags, uint64(mask), uint64(value), not)
}

// ICMP matches a type and a range of codes: --icmp-type 3/4 is 3, 4, 4; without a code 0, 255. It
// is for ICMPv6 too.
func ICMP(kind, firstCode, lastCode uint8, not bool) exposure.Match {
	return exposure.Match{
		Key: []exposure.Operand{
			exposure.Of(exposure.FieldICMPType), exposure.Of(exposure.FieldICMPCode),
		},
		In: &exposure.Set{Width: 2, Keys: []exposure.Range{
			exposure.One(
				exposure.Number(uint64(kind)),
			), exposure.Numbers(uint64(firstCode), uint64(lastCode)),
		}},
		Not: not,
	}
}

// TTL matches IPv4's time to live or IPv6's hop limit: xt_ttl and xt_hl, net/netfilter/xt_hl.c. The
// sender chooses it.
func TTL(f address.Family, not bool, ranges ...exposure.Range) exposure.Match {
	at := 64
	if f == address.IPv6 {
		at = 56
	}
	return test(networkBits(at, 8), not, ranges...)
}

// Length matches a packet's length, IP header included: net/netfilter/xt_length.c. IPv6's header
// counts what follows it, 40 bytes less, in 16 bits that may overflow.
func Length(f address.Family, from, to uint16, not bool) exposure.Match {
	switch {
	case to < from:
		return test(networkBits(16, 16), not)
	case f == address.IPv4:
		return test(networkBits(16, 16), not, exposure.Numbers(uint64(from), uint64(to)))
	case from >= 40:
		return test(networkBits(32, 16), not, exposure.Numbers(uint64(from-40), uint64(to-40)))
	}
	ranges := []exposure.Range{exposure.Numbers(uint64(from-40), uint64(min(to, 39)-40))}
	if to >= 40 {
		ranges = append(ranges, exposure.Numbers(0, uint64(to-40)))
	}
	return test(networkBits(32, 16), not, ranges...)
}

// Headers matches the IPv6 extension headers that a packet has, as bits of FieldHeaders:
// ipv6header_mt6 in net/ipv6/netfilter/ip6t_ipv6header.c. With soft, others may be there too, and
// those in inverted have to be missing; without soft, any bit in inverted inverts the whole.
func Headers(headers, inverted uint8, soft bool) exposure.Match {
	o := exposure.Of(exposure.FieldHeaders)
	if !soft {
		return test(o, inverted != 0, exposure.One(exposure.Number(uint64(headers))))
	}
	if headers != 255 {
		o = o.And(exposure.Number(uint64(headers)))
	}
	return test(o, false, exposure.One(exposure.Number(uint64((headers^inverted)&headers))))
}

// networkBits is an operand for bits of the IP header.
func networkBits(at, n int) exposure.Operand {
	return exposure.Operand{
		Field: exposure.FieldRaw,
		Raw:   exposure.Raw{Base: exposure.RawNetwork, Offset: at, Bits: n},
	}
}

// MAC matches the sender's address on the last link (48 bits as a number).
func MAC(address uint64, not bool) exposure.Match {
	return test(exposure.Of(exposure.FieldSourceMAC), not, exposure.One(exposure.Number(address)))
}

// PacketType matches PACKET_HOST, … (include/uapi/linux/if_packet.h).
func PacketType(kind uint8, not bool) exposure.Match {
	return test(
		exposure.Of(exposure.FieldPacketType), not, exposure.One(exposure.Number(uint64(kind))),
	)
}
