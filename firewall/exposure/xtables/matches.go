package xtables

import (
	"net"
	"strings"

	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/xtmatch"
	"github.com/portgrave/portgrave/firewall/iana"
)

// match translates one -m with its options.
func (x *translator) match(e extension) []exposure.Statement {
	switch e.name {
	case "conntrack", "state":
		return x.conntrack(e)
	case "addrtype":
		return x.addrtype(e)
	case "rpfilter":
		return []exposure.Statement{rpfilter(e)}
	case "set":
		return x.set(e)
	case "socket":
		return socket(e)
	case "connlabel":
		return connlabel(e)
	}
	translate, ok := x.option(e.name)
	if !ok {
		// Known to depend on what can't be known (limit, hashlimit, recent, quota, time, string, owner,
		// statistic, …), or never heard of: the same.
		return []exposure.Statement{
			exposure.Unknown{Text: e.describe(), Optional: xtmatch.Optional(e.name), Rate: rateOf(e)},
		}
	}
	var out []exposure.Statement
	for _, o := range e.options {
		s := exposure.Statement(nil)
		if impliedMatch[e.name] != "" && e.name != "icmp" {
			s = x.once(o, translate) // ports and flags
		} else {
			s = translate(o)
		}
		if s != nil {
			out = append(out, s)
		}
	}
	return out
}

// option is how a match whose options stand each for itself translates one of them.
func (x *translator) option(match string) (func(clause) exposure.Statement, bool) {
	switch match {
	case "tcp", "udp", "udplite", "sctp", "dccp":
		return transport, true
	case "multiport":
		return known(match, multiport), true
	case "icmp":
		return known(match, func(o clause) exposure.Statement { return icmp(o, iana.ICMP) }), true
	case "icmp6":
		return known(match, func(o clause) exposure.Statement { return icmp(o, iana.ICMPv6) }), true
	case "mark":
		return known(
			match,
			func(o clause) exposure.Statement { return markMatch(exposure.FieldMark, o) },
		), true
	case "connmark":
		return known(
			match,
			func(o clause) exposure.Statement { return markMatch(exposure.FieldCTMark, o) },
		), true
	case "iprange":
		return known(match, x.iprange), true
	case "mac":
		return known(match, mac), true
	case "physdev":
		return known(match, physdev), true
	case "pkttype":
		return known(match, pkttype), true
	case "devgroup":
		return known(match, devgroup), true
	case "ttl", "hl":
		return known(match, x.ttl), true
	case "length":
		return known(match, x.length), true
	case "comment":
		return known(match, x.remember), true
	}
	return nil, false
}

// known keeps a translator from options that it isn't for.
func known(
	match string,
	translate func(clause) exposure.Statement,
) func(clause) exposure.Statement {
	return func(o clause) exposure.Statement {
		for _, name := range optionsOf[match] {
			if name == o.name {
				return translate(o)
			}
		}
		return unknown(o)
	}
}

func transport(o clause) exposure.Statement {
	switch o.name {
	case "--sport", "--dport":
		return ports(o)
	case "--tcp-flags", "--syn":
		return tcpFlagsMatch(o)
	}
	return unknown(o) // --tcp-option, --chunk-types, --dccp-types, --dccp-option
}

// unknown is a condition that may hold or not.
func unknown(o clause) exposure.Statement { return exposure.Unknown{Text: o.text} }

func (x *translator) remember(o clause) exposure.Statement {
	if x.comment != "" {
		x.comment += "; "
	}
	x.comment += o.value()
	return nil
}

// markMatch is (mark & mask) == value: mark_mt in net/netfilter/xt_mark.c, connmark_mt in
// xt_connmark.c.
func markMatch(field exposure.Field, o clause) exposure.Statement {
	v, m, ok := parseMark(o.value())
	if !ok {
		return unknown(o)
	}
	return is(exposure.Of(field).And(exposure.Number(m)), o.not, exposure.One(exposure.Number(v)))
}

// connlabel asks for a bit of the connection's label by number, or sets it. Names need the host's
// connlabel.conf.
func connlabel(e extension) []exposure.Statement {
	bit, set, not, known := uint64(0), false, false, false
	for _, o := range e.options {
		switch o.name {
		case "--label":
			bit, known = parseNumber(o.value(), 7)
			not = o.not
		case "--set":
			set = true
		}
	}
	if out := xtmatch.Label(int(bit), set, not); known && out != nil {
		return out
	}
	return []exposure.Statement{exposure.Unknown{Text: e.describe()}}
}

// iprange: net/netfilter/xt_iprange.c.
func (x *translator) iprange(o clause) exposure.Statement {
	r, ok := parseRange(x.family, o.value())
	if !ok {
		return unknown(o)
	}
	field := fieldsFor(x.family).source
	if o.name == "--dst-range" {
		field = fieldsFor(x.family).dest
	}
	return is(exposure.Of(field), o.not, r)
}

// ttl is -m ttl, for IPv4, and -m hl, for IPv6: net/netfilter/xt_hl.c.
func (x *translator) ttl(o clause) exposure.Statement {
	n, ok := parseNumber(o.value(), 8)
	if !ok {
		return unknown(o)
	}
	var ranges []exposure.Range
	switch {
	case strings.HasSuffix(o.name, "-eq"):
		ranges = append(ranges, exposure.Numbers(n, n))
	case strings.HasSuffix(o.name, "-lt") && n > 0:
		ranges = append(ranges, exposure.Numbers(0, n-1))
	case strings.HasSuffix(o.name, "-gt") && n < 255:
		ranges = append(ranges, exposure.Numbers(n+1, 255))
	}
	return xtmatch.TTL(x.version(), o.not, ranges...)
}

// length: net/netfilter/xt_length.c.
func (x *translator) length(o clause) exposure.Statement {
	first, last, ranged := strings.Cut(o.value(), ":")
	from, to, ok1, ok2 := uint64(0), uint64(65535), true, true
	if first != "" {
		from, ok1 = parseNumber(first, 16)
	}
	switch {
	case !ranged:
		to = from
	case last != "":
		to, ok2 = parseNumber(last, 16)
	}
	if !ok1 || !ok2 {
		return unknown(o)
	}
	return xtmatch.Length(x.version(), uint16(from), uint16(to), o.not)
}

// mac never holds for packets without an Ethernet header, with "!" or not (net/netfilter/xt_mac.c),
// as for any absent field.
func mac(o clause) exposure.Statement {
	v, ok := parseMAC(o.value())
	if !ok {
		return unknown(o)
	}
	return is(exposure.Of(exposure.FieldSourceMAC), o.not, exposure.One(v))
}

func parseMAC(s string) (exposure.Value, bool) {
	hw, err := net.ParseMAC(s)
	if err != nil || len(hw) != 6 {
		return exposure.Value{}, false
	}
	return exposure.Bytes(hw)
}

// someName is every interface name but that of no interface.
var someName = exposure.Range{From: exposure.Number(1), To: exposure.Ones(128)}

// physdev: net/netfilter/xt_physdev.c. For a packet that isn't bridged every option fails, and
// holds with "!": its bridge ports are "", which is in no list of names here.
func physdev(o clause) exposure.Statement {
	switch o.name {
	case "--physdev-in", "--physdev-out":
		r, ok := nameRange(o.value())
		if !ok {
			return unknown(o)
		}
		if r.From.IsZero() { // "+"
			r = someName
		}
		field := exposure.FieldPhysIn
		if o.name == "--physdev-out" {
			field = exposure.FieldPhysOut
		}
		return is(exposure.Of(field), o.not, r)
	case "--physdev-is-in":
		return is(exposure.Of(exposure.FieldPhysIn), o.not, someName)
	case "--physdev-is-out":
		return is(exposure.Of(exposure.FieldPhysOut), o.not, someName)
	}
	return is(exposure.Of(exposure.FieldPhysBridged), o.not, exposure.One(exposure.Number(1)))
}

// pkttype: PACKET_* (include/uapi/linux/if_packet.h), the names of libxt_pkttype.
func pkttype(o clause) exposure.Statement {
	names := map[string]uint64{"unicast": 0, "host": 0, "broadcast": 1, "multicast": 2, "otherhost": 3}
	n, ok := names[strings.ToLower(o.value())]
	if !ok {
		return unknown(o)
	}
	return is(exposure.Of(exposure.FieldPacketType), o.not, exposure.One(exposure.Number(n)))
}

// devgroup: net/netfilter/xt_devgroup.c.
func devgroup(o clause) exposure.Statement {
	v, m, ok := parseMark(o.value())
	if !ok {
		return unknown(o) // a name of /etc/iproute2/group
	}
	field := exposure.FieldInGroup
	if o.name == "--dst-group" {
		field = exposure.FieldOutGroup
	}
	return is(exposure.Of(field).And(exposure.Number(m)), o.not, exposure.One(exposure.Number(v)))
}

// addressTypes are RTN_* (include/uapi/linux/rtnetlink.h), whose bits xt_addrtype's mask has.
var addressTypes = map[string]exposure.RouteType{
	"UNSPEC": exposure.RouteUnspec, "UNICAST": exposure.RouteUnicast, "LOCAL": exposure.RouteLocal, "BROADCAST": exposure.RouteBroadcast,
	"ANYCAST": exposure.RouteAnycast, "MULTICAST": exposure.RouteMulticast, "BLACKHOLE": exposure.RouteBlackhole,
	"UNREACHABLE": exposure.RouteUnreachable, "PROHIBIT": exposure.RouteProhibit, "THROW": exposure.RouteThrow, "NAT": exposure.RouteNAT,
}

// addrtype translates --src-type and --dst-type: net/netfilter/xt_addrtype.c.
func (x *translator) addrtype(e extension) []exposure.Statement {
	in, out := false, false
	for _, o := range e.options {
		in = in || o.name == "--limit-iface-in"
		out = out || o.name == "--limit-iface-out"
	}
	var list []exposure.Statement
	for _, o := range e.options {
		switch o.name {
		case "--src-type":
			list = append(list, x.addressType(o, xtmatch.Source, in, out)...)
		case "--dst-type":
			list = append(list, x.addressType(o, xtmatch.Destination, in, out)...)
		case "--limit-iface-in", "--limit-iface-out":
		default:
			list = append(list, unknown(o))
		}
	}
	return list
}

func (x *translator) addressType(o clause, side xtmatch.Side, in, out bool) []exposure.Statement {
	var types uint16
	for name := range strings.SplitSeq(o.value(), ",") {
		t, ok := addressTypes[strings.ToUpper(name)]
		if !ok {
			return one(unknown(o))
		}
		types |= 1 << t
	}
	list := xtmatch.AddrType(side, x.version(), types, in, out, o.not)
	if _, ok := list[0].(exposure.Unknown); ok { // ip6tables refuses some
		return one(unknown(o))
	}
	return list
}

// rpfilter: net/ipv4/netfilter/ipt_rpfilter.c, net/ipv6/netfilter/ip6t_rpfilter.c.
func rpfilter(e extension) exposure.Statement {
	var loose, mark, local, invert bool
	for _, o := range e.options {
		switch o.name {
		case "--loose":
			loose = true
		case "--validmark":
			mark = true
		case "--accept-local":
			local = true
		case "--invert":
			invert = true
		default:
			return exposure.Unknown{Text: e.describe()}
		}
	}
	return xtmatch.ReversePath(loose, mark, local, invert)
}

// socket holds if there is a socket for the packet, and may take its mark over
// (net/netfilter/xt_socket.c).
func socket(e extension) []exposure.Statement {
	out := []exposure.Statement{exposure.Unknown{Text: e.describe()}}
	for _, o := range e.options {
		if o.name == "--restore-skmark" {
			out = append(out, assignUnknown(exposure.FieldMark, "the socket's mark"))
		}
	}
	return out
}

func assignUnknown(to exposure.Field, text string) exposure.Assign {
	return exposure.Assign{
		To:    to,
		Value: []exposure.Operand{{Field: exposure.FieldUnknown, Text: text, Max: exposure.Ones(32)}},
	}
}

// set translates --match-set: net/netfilter/xt_set.c.
func (x *translator) set(e extension) []exposure.Statement {
	var out []exposure.Statement
	for _, o := range e.options {
		switch o.name {
		case "--match-set":
			m, ok := x.sets.Match(x.family, o.values[0], o.values[1])
			if !ok {
				return []exposure.Statement{exposure.Unknown{Text: e.describe()}}
			}
			m.Not = o.not
			out = append(out, m)
		case "--update-counters", "--update-subcounters": // how it is counted
		default: // --return-nomatch, and conditions on an element's counters
			return []exposure.Statement{exposure.Unknown{Text: e.describe()}}
		}
	}
	if len(out) == 0 {
		return []exposure.Statement{exposure.Unknown{Text: e.describe()}}
	}
	return out
}
