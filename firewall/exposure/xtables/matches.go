package xtables

import (
	"net"
	"strings"

	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/xtmatch"
	"github.com/portgrave/portgrave/firewall/iana"
	"github.com/portgrave/portgrave/firewall/iptsave"
)

// match translates one -m with its options.
func (x *translator) match(e iptsave.Extension) []exposure.Statement {
	switch e.Name {
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
	case "ipv6header":
		return one(ipv6header(e))
	case "nfacct":
		return one(nfacct(e))
	}
	translate, ok := x.option(e.Name)
	if !ok {
		// Known to depend on what can't be known (limit, hashlimit, recent, quota, time, string,
		// owner, statistic, …), or never heard of: the same.
		header, optional := xtmatch.Needs(e.Name, x.version())
		return one(exposure.Unknown{
			Text: e.String(), Optional: optional, Header: header, Rate: rateOf(e),
		})
	}
	var out []exposure.Statement
	for _, o := range e.Options {
		s := exposure.Statement(nil)
		if iptsave.ImpliedMatch[e.Name] != "" && e.Name != "icmp" {
			s = x.once(o, translate) // ports and flags
		} else {
			s = translate(o)
		}
		if s != nil {
			out = append(out, x.checked(o, s))
		}
	}
	return out
}

// option is how a match whose options stand each for itself translates one of them.
func (x *translator) option(match string) (func(iptsave.Option) exposure.Statement, bool) {
	switch match {
	case "tcp", "udp", "udplite", "sctp", "dccp":
		return transport, true
	case "multiport":
		return known(match, multiport), true
	case "icmp":
		return known(
			match,
			func(o iptsave.Option) exposure.Statement { return icmp(o, iana.ICMP) },
		), true
	case "icmp6":
		return known(
			match,
			func(o iptsave.Option) exposure.Statement { return icmp(o, iana.ICMPv6) },
		), true
	case "mark":
		return known(
			match,
			func(o iptsave.Option) exposure.Statement { return markMatch(exposure.FieldMark, o) },
		), true
	case "connmark":
		return known(
			match,
			func(o iptsave.Option) exposure.Statement { return markMatch(exposure.FieldCTMark, o) },
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
	translate func(iptsave.Option) exposure.Statement,
) func(iptsave.Option) exposure.Statement {
	return func(o iptsave.Option) exposure.Statement {
		if iptsave.HasOption(match, o.Name) {
			return translate(o)
		}
		return unknown(o)
	}
}

func transport(o iptsave.Option) exposure.Statement {
	switch o.Name {
	case "--sport", "--dport":
		return ports(o)
	case "--tcp-flags", "--syn":
		return tcpFlagsMatch(o)
	}
	return unknown(o) // --tcp-option, --chunk-types, --dccp-types, --dccp-option
}

// unknown is a condition that may hold or not.
func unknown(o iptsave.Option) exposure.Statement { return exposure.Unknown{Text: o.Text} }

func (x *translator) remember(o iptsave.Option) exposure.Statement {
	if x.comment != "" {
		x.comment += "; "
	}
	x.comment += o.Value()
	return nil
}

// markMatch is (mark & mask) == value: mark_mt in net/netfilter/xt_mark.c, connmark_mt in
// xt_connmark.c.
func markMatch(field exposure.Field, o iptsave.Option) exposure.Statement {
	v, m, ok := parseMark(o.Value())
	if !ok {
		return unknown(o)
	}
	return is(exposure.Of(field).And(exposure.Number(m)), o.Not, exposure.One(exposure.Number(v)))
}

// connlabel asks for a bit of the connection's label by number, or sets it. Names need the host's
// connlabel.conf.
func connlabel(e iptsave.Extension) []exposure.Statement {
	bit, set, not, known := uint64(0), false, false, false
	for _, o := range e.Options {
		switch o.Name {
		case "--label":
			bit, known = parseNumber(o.Value(), 7)
			not = o.Not
		case "--set":
			set = true
		}
	}
	if out := xtmatch.Label(int(bit), set, not); known && out != nil {
		return out
	}
	return []exposure.Statement{exposure.Unknown{Text: e.String()}}
}

// iprange: net/netfilter/xt_iprange.c.
func (x *translator) iprange(o iptsave.Option) exposure.Statement {
	r, ok := parseRange(x.family, o.Value())
	if !ok {
		return unknown(o)
	}
	field := fieldsFor(x.family).source
	if o.Name == "--dst-range" {
		field = fieldsFor(x.family).dest
	}
	return is(exposure.Of(field), o.Not, r)
}

// ttl is -m ttl, for IPv4, and -m hl, for IPv6: net/netfilter/xt_hl.c.
func (x *translator) ttl(o iptsave.Option) exposure.Statement {
	n, ok := parseNumber(o.Value(), 8)
	if !ok {
		return unknown(o)
	}
	var ranges []exposure.Range
	switch {
	case strings.HasSuffix(o.Name, "-eq"):
		ranges = append(ranges, exposure.Numbers(n, n))
	case strings.HasSuffix(o.Name, "-lt") && n > 0:
		ranges = append(ranges, exposure.Numbers(0, n-1))
	case strings.HasSuffix(o.Name, "-gt") && n < 255:
		ranges = append(ranges, exposure.Numbers(n+1, 255))
	}
	return xtmatch.TTL(x.version(), o.Not, ranges...)
}

// length: net/netfilter/xt_length.c.
func (x *translator) length(o iptsave.Option) exposure.Statement {
	first, last, ranged := strings.Cut(o.Value(), ":")
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
	return xtmatch.Length(x.version(), uint16(from), uint16(to), o.Not)
}

// extensionHeaders are the names of libip6t_ipv6header, and the bits of FieldHeaders.
var extensionHeaders = map[string]uint8{
	"hop": 128, "hop-by-hop": 128, "0": 128, "dst": 64, "60": 64, "route": 32, "43": 32, "frag": 16,
	"44": 16, "auth": 8, "51": 8, "esp": 4, "50": 4, "none": 2, "59": 2, "prot": 1, "protocol": 1,
	"255": 1, "ipv6-opts": 64, "ipv6-route": 32, "ipv6-frag": 16, "ah": 8, "ipv6-nonxt": 2,
}

// ipv6header: net/ipv6/netfilter/ip6t_ipv6header.c.
func ipv6header(e iptsave.Extension) exposure.Statement {
	var headers, inverted uint8
	soft := false
	for _, o := range e.Options {
		switch o.Name {
		case "--header":
			for name := range strings.SplitSeq(o.Value(), ",") {
				bit, ok := extensionHeaders[strings.ToLower(name)]
				if !ok {
					return exposure.Unknown{Text: e.String()}
				}
				headers |= bit
			}
			if o.Not {
				inverted = 255
			}
		case "--soft":
			soft = true
		default:
			return exposure.Unknown{Text: e.String()}
		}
	}
	return xtmatch.Headers(headers, inverted, soft)
}

// nfacct: net/netfilter/xt_nfacct.c.
func nfacct(e iptsave.Extension) exposure.Statement {
	u := exposure.Unknown{Text: e.String()}
	if len(e.Options) == 1 && e.Options[0].Name == "--nfacct-name" && !e.Options[0].Not {
		u.Account = e.Options[0].Value()
	}
	return u
}

// mac never holds for packets without an Ethernet header, with "!" or not (net/netfilter/xt_mac.c),
// as for any absent field.
func mac(o iptsave.Option) exposure.Statement {
	v, ok := parseMAC(o.Value())
	if !ok {
		return unknown(o)
	}
	return is(exposure.Of(exposure.FieldSourceMAC), o.Not, exposure.One(v))
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
func physdev(o iptsave.Option) exposure.Statement {
	switch o.Name {
	case "--physdev-in", "--physdev-out":
		r, ok := nameRange(o.Value())
		if !ok {
			return unknown(o)
		}
		if r.From.IsZero() { // "+"
			r = someName
		}
		field := exposure.FieldPhysIn
		if o.Name == "--physdev-out" {
			field = exposure.FieldPhysOut
		}
		return is(exposure.Of(field), o.Not, r)
	case "--physdev-is-in":
		return is(exposure.Of(exposure.FieldPhysIn), o.Not, someName)
	case "--physdev-is-out":
		return is(exposure.Of(exposure.FieldPhysOut), o.Not, someName)
	}
	return is(exposure.Of(exposure.FieldPhysBridged), o.Not, exposure.One(exposure.Number(1)))
}

// pkttype: PACKET_* (include/uapi/linux/if_packet.h), the names of libxt_pkttype.
func pkttype(o iptsave.Option) exposure.Statement {
	names := map[string]uint64{
		"unicast":   0,
		"host":      0,
		"broadcast": 1,
		"multicast": 2,
		"otherhost": 3,
	}
	n, ok := names[strings.ToLower(o.Value())]
	if !ok {
		return unknown(o)
	}
	return is(exposure.Of(exposure.FieldPacketType), o.Not, exposure.One(exposure.Number(n)))
}

// devgroup: net/netfilter/xt_devgroup.c.
func devgroup(o iptsave.Option) exposure.Statement {
	v, m, ok := parseMark(o.Value())
	if !ok {
		return unknown(o) // a name of /etc/iproute2/group
	}
	field := exposure.FieldInGroup
	if o.Name == "--dst-group" {
		field = exposure.FieldOutGroup
	}
	return is(exposure.Of(field).And(exposure.Number(m)), o.Not, exposure.One(exposure.Number(v)))
}

// addressTypes are RTN_* (include/uapi/linux/rtnetlink.h), whose bits xt_addrtype's mask has.
var addressTypes = map[string]exposure.RouteType{
	"UNSPEC": exposure.RouteUnspec, "UNICAST": exposure.RouteUnicast,
	"LOCAL": exposure.RouteLocal, "BROADCAST": exposure.RouteBroadcast,
	"ANYCAST": exposure.RouteAnycast, "MULTICAST": exposure.RouteMulticast,
	"BLACKHOLE": exposure.RouteBlackhole, "UNREACHABLE": exposure.RouteUnreachable,
	"PROHIBIT": exposure.RouteProhibit, "THROW": exposure.RouteThrow, "NAT": exposure.RouteNAT,
}

// addrtype translates --src-type and --dst-type: net/netfilter/xt_addrtype.c.
func (x *translator) addrtype(e iptsave.Extension) []exposure.Statement {
	in, out := false, false
	for _, o := range e.Options {
		in = in || o.Name == "--limit-iface-in"
		out = out || o.Name == "--limit-iface-out"
	}
	var list []exposure.Statement
	for _, o := range e.Options {
		switch o.Name {
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

func (x *translator) addressType(
	o iptsave.Option,
	side xtmatch.Side,
	in, out bool,
) []exposure.Statement {
	var types uint16
	for name := range strings.SplitSeq(o.Value(), ",") {
		t, ok := addressTypes[strings.ToUpper(name)]
		if !ok {
			return one(unknown(o))
		}
		types |= 1 << t
	}
	list := xtmatch.AddrType(side, x.version(), types, in, out, o.Not)
	if _, ok := list[0].(exposure.Unknown); ok { // ip6tables refuses some
		return one(unknown(o))
	}
	return list
}

// rpfilter: net/ipv4/netfilter/ipt_rpfilter.c, net/ipv6/netfilter/ip6t_rpfilter.c.
func rpfilter(e iptsave.Extension) exposure.Statement {
	var loose, mark, local, invert bool
	for _, o := range e.Options {
		switch o.Name {
		case "--loose":
			loose = true
		case "--validmark":
			mark = true
		case "--accept-local":
			local = true
		case "--invert":
			invert = true
		default:
			return exposure.Unknown{Text: e.String()}
		}
	}
	return xtmatch.ReversePath(loose, mark, local, invert)
}

// socket holds if there is a socket for the packet, and may take its mark over
// (net/netfilter/xt_socket.c).
func socket(e iptsave.Extension) []exposure.Statement {
	out := []exposure.Statement{exposure.Unknown{Text: e.String()}}
	for _, o := range e.Options {
		if o.Name == "--restore-skmark" {
			out = append(out, assignUnknown(exposure.FieldMark, "the socket's mark"))
		}
	}
	return out
}

func assignUnknown(to exposure.Field, text string) exposure.Assign {
	return exposure.Assign{
		To: to,
		Value: []exposure.Operand{
			{Field: exposure.FieldUnknown, Text: text, Max: exposure.Ones(32)},
		},
	}
}

// set translates --match-set: net/netfilter/xt_set.c.
func (x *translator) set(e iptsave.Extension) []exposure.Statement {
	var out []exposure.Statement
	for _, o := range e.Options {
		switch o.Name {
		case "--match-set":
			m, ok := x.sets.Match(x.family, o.Values[0], o.Values[1])
			if !ok {
				return []exposure.Statement{exposure.Unknown{Text: e.String()}}
			}
			m.Not = o.Not
			out = append(out, m)
		case "--update-counters", "--update-subcounters": // how it is counted
		default: // --return-nomatch, and conditions on an element's counters
			return []exposure.Statement{exposure.Unknown{Text: e.String()}}
		}
	}
	if len(out) == 0 {
		return []exposure.Statement{exposure.Unknown{Text: e.String()}}
	}
	return out
}
