package xtables

import (
	"strings"

	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/xtmatch"
	"github.com/portgrave/portgrave/firewall/iana"
	"github.com/portgrave/portgrave/firewall/iptsave"
)

// ports translates --sport and --dport of tcp, udp, udplite, sctp and dccp
// (net/netfilter/xt_tcpudp.c, xt_sctp.c, xt_dccp.c). The kernel takes them only in a rule with
// their protocol, so that the field is there.
func ports(o iptsave.Option) exposure.Statement {
	r, ok := parsePorts(o.Value(), ":")
	if !ok {
		return unknown(o)
	}
	field := exposure.FieldSport
	if o.Name == "--dport" {
		field = exposure.FieldDport
	}
	return is(exposure.Of(field), o.Not, r)
}

// multiport translates lists of ports (net/netfilter/xt_multiport.c); --ports is either port.
func multiport(o iptsave.Option) exposure.Statement {
	list, ok := parsePortList(o.Value())
	if !ok {
		return unknown(o)
	}
	side := xtmatch.Either
	switch o.Name {
	case "--sports":
		side = xtmatch.Source
	case "--dports":
		side = xtmatch.Destination
	}
	return xtmatch.Ports(side, o.Not, list...)
}

// tcpFlags are the flags' bits in byte 13 of the TCP header; what ALL and NONE mean is libxt_tcp's.
var tcpFlags = map[string]uint64{
	"FIN":  1,
	"SYN":  2,
	"RST":  4,
	"PSH":  8,
	"ACK":  16,
	"URG":  32,
	"ALL":  0x3f,
	"NONE": 0,
}

func parseTCPFlags(s string) (uint64, bool) {
	var bits uint64
	for name := range strings.SplitSeq(s, ",") {
		b, ok := tcpFlags[strings.ToUpper(name)]
		if !ok {
			return 0, false
		}
		bits |= b
	}
	return bits, true
}

func tcpFlagsMatch(o iptsave.Option) exposure.Statement {
	mask, set := "FIN,SYN,RST,ACK", "SYN" // --syn
	if o.Name == "--tcp-flags" {
		mask, set = o.Values[0], o.Values[1]
	}
	m, ok1 := parseTCPFlags(mask)
	v, ok2 := parseTCPFlags(set)
	if !ok1 || !ok2 {
		return unknown(o)
	}
	return is(
		exposure.Of(exposure.FieldTCPFlags).And(exposure.Number(m)),
		o.Not,
		exposure.One(exposure.Number(v)),
	)
}

// icmp translates --icmp-type and --icmpv6-type: a name, "type" or "type/code". Type 255 is any for
// IPv4 only (icmp_type_code_match in net/ipv4/netfilter/ip_tables.c).
func icmp(o iptsave.Option, names map[string]iana.Message) exposure.Statement {
	s := o.Value()
	m, ok := names[s]
	if !ok {
		typ, code, both := strings.Cut(s, "/")
		var t, c uint64
		if t, ok = parseNumber(typ, 8); ok {
			m = iana.Message{Type: uint8(t), First: 0, Last: 255}
			if both {
				c, ok = parseNumber(code, 8)
				m.First, m.Last = uint8(c), uint8(c)
			}
		}
	}
	typ := exposure.One(exposure.Number(uint64(m.Type)))
	if o.Name == "--icmp-type" && (s == "any" || ok && m.Type == 255) {
		typ, m.First, m.Last, ok = exposure.Full(8), 0, 255, true
	}
	if !ok {
		return unknown(o)
	}
	return exposure.Match{
		Key: []exposure.Operand{
			exposure.Of(exposure.FieldICMPType),
			exposure.Of(exposure.FieldICMPCode),
		},
		In: &exposure.Set{
			Width: 2,
			Keys:  []exposure.Range{typ, exposure.Numbers(uint64(m.First), uint64(m.Last))},
		},
		Not: o.Not,
	}
}
