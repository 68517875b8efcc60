package xtinfo

import (
	"fmt"
	"strings"

	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/xtmatch"
)

// matches are the matches that the model can express. Others become Unknown, some with a text
// (descriptions).
var matches map[key]layout

func init() { // the table and its decoders refer to each other
	matches = map[key]layout{
		{"tcp", 0}:       {12, tcp},
		{"udp", 0}:       {9, udp},
		{"udplite", 0}:   {9, udp},
		{"sctp", 0}:      {292, sctp},
		{"icmp", 0}:      {4, icmp},
		{"icmp6", 0}:     {4, icmp6},
		{"multiport", 0}: {32, multiport0},
		{"multiport", 1}: {48, multiport1},
		{"addrtype", 0}:  {12, addrtype0},
		{"addrtype", 1}:  {8, addrtype1},
		{"mark", 1}:      {9, mark(exposure.FieldMark)},
		{"connmark", 1}:  {9, mark(exposure.FieldCTMark)},
		{"connlabel", 0}: {4, connlabel},
		{"iprange", 1}:   {65, iprange},
		{"mac", 0}:       {12, mac},
		{"physdev", 0}:   {66, physdev},
		{"pkttype", 0}:   {8, pkttype},
		{"devgroup", 0}:  {20, devgroup},
		{"rpfilter", 0}:  {1, rpfilter},
		{"state", 0}:     {4, state},
		{"conntrack", 1}: {152, conntrack1},
		{"conntrack", 2}: {154, conntrack2},
		{"conntrack", 3}: {164, conntrack3},
		{"set", 1}:       {4, set},
		{"set", 2}:       {4, set},
		{"set", 3}:       {40, set3},
		{"set", 4}:       {44, set4},
		{"socket", 3}:    {1, socket3},
		{"ttl", 0}:       {2, ttl},
		{"hl", 0}:        {2, ttl},
		{"length", 0}:    {5, length},

		{"ipv6header", 0}: {3, ipv6header},
		{"nfacct", 0}:     {32, nfacct},
		{"nfacct", 1}:     {32, nfacct},
	}
}

// one wraps a statement.
func one(s exposure.Statement) []exposure.Statement { return []exposure.Statement{s} }

// none is a match without conditions, which always holds. It differs from nil, which stands for an
// unknown match.
func none() []exposure.Statement { return []exposure.Statement{} }

// portTest is a test of a port range. It is omitted for the full range.
func portTest(side xtmatch.Side, r exposure.Range, not bool) []exposure.Statement {
	switch {
	case r == exposure.Full(16) && !not:
		return nil
	case r.To.Compare(r.From) < 0: // nothing lies between
		return xtmatch.Constant(not)
	}
	return one(xtmatch.Ports(side, not, r))
}

// tcp: struct xt_tcp { u16 spts[2], dpts[2]; u8 option, flg_mask, flg_cmp, invflags }
// (xt_tcpudp.h).
func tcp(_ Context, b fields) []exposure.Statement {
	out := append(none(), portTest(xtmatch.Source, b.ports(0), b.bit(11, 0))...)
	out = append(out, portTest(xtmatch.Destination, b.ports(4), b.bit(11, 1))...)
	if b.u8(9) != 0 || b.u8(10) != 0 || b.bit(11, 2) {
		out = append(out, xtmatch.TCPFlags(b.u8(9), b.u8(10), b.bit(11, 2)))
	}
	if b.u8(8) != 0 {
		out = append(
			out,
			exposure.Unknown{Text: fmt.Sprintf("tcp option %d%s", b.u8(8), not(b.bit(11, 3)))},
		)
	}
	return out
}

func not(inverted bool) string {
	if inverted {
		return " missing"
	}
	return " exists"
}

// udp: struct xt_udp { u16 spts[2], dpts[2]; u8 invflags }.
func udp(_ Context, b fields) []exposure.Statement {
	out := append(none(), portTest(xtmatch.Source, b.ports(0), b.bit(8, 0))...)
	return append(out, portTest(xtmatch.Destination, b.ports(4), b.bit(8, 1))...)
}

// sctp: struct xt_sctp_info { u16 dpts[2], spts[2]; u32 chunkmap[64], chunk_match_type; struct { u8
// type, flag, mask } [4]; int flag_count; u32 flags, invflags } (xt_sctp.h).
func sctp(_ Context, b fields) []exposure.Statement {
	flags, inverted := b.u32(284), b.u32(288)
	out := none()
	if flags&1 != 0 {
		out = append(out, portTest(xtmatch.Source, b.ports(4), inverted&1 != 0)...)
	}
	if flags&2 != 0 {
		out = append(out, portTest(xtmatch.Destination, b.ports(0), inverted&2 != 0)...)
	}
	if flags&4 != 0 {
		out = append(out, exposure.Unknown{Text: "sctp chunk types"})
	}
	return out
}

// icmp: struct ipt_icmp { u8 type, code[2], invflags } (netfilter_ipv4/ip_tables.h). Type 0xff is
// any type (icmp_type_code_match in net/netfilter/xt_tcpudp.c).
func icmp(_ Context, b fields) []exposure.Statement {
	if b.u8(0) == 0xff {
		return append(none(), xtmatch.Constant(!b.bit(3, 0))...)
	}
	return icmp6(Context{}, b)
}

// icmp6: struct ip6t_icmp has the same layout, but 0xff isn't special.
func icmp6(_ Context, b fields) []exposure.Statement {
	if b.u8(2) < b.u8(1) {
		return append(none(), xtmatch.Constant(b.bit(3, 0))...)
	}
	return one(xtmatch.ICMP(b.u8(0), b.u8(1), b.u8(2), b.bit(3, 0)))
}

// multiport0: struct xt_multiport { u8 flags, count; u16 ports[15] }.
func multiport0(_ Context, b fields) []exposure.Statement {
	return multiport(b, false, func(int) bool { return false })
}

// multiport1: struct xt_multiport_v1 adds { u8 pflags[15], invert }: a port with a flag begins a
// range that ends with the next port.
func multiport1(_ Context, b fields) []exposure.Statement {
	return multiport(b, b.u8(47) != 0, func(i int) bool { return b.u8(32+i) != 0 })
}

func multiport(b fields, not bool, begins func(int) bool) []exposure.Statement {
	count := int(b.u8(1))
	if count > 15 || b.u8(0) > 2 {
		return nil
	}
	var ranges []exposure.Range
	for i := 0; i < count; i++ {
		from := b.u16(2 + 2*i)
		to := from
		if begins(i) && i+1 < count {
			i++
			to = b.u16(2 + 2*i)
		}
		if from <= to {
			ranges = append(ranges, portRange(from, to))
		}
	}
	return one(xtmatch.Ports(xtmatch.Side(b.u8(0)), not, ranges...))
}

// addrtype0: struct xt_addrtype_info { u16 source, dest; u32 invert_source, invert_dest }; IPv4
// only.
func addrtype0(c Context, b fields) []exposure.Statement {
	return addrtype(c, b.u16(0), b.u16(2), false, false, b.u32(4) != 0, b.u32(8) != 0)
}

// addrtype1: struct xt_addrtype_info_v1 { u16 source, dest; u32 flags }.
func addrtype1(c Context, b fields) []exposure.Statement {
	flags := b.u32(4)
	return addrtype(c, b.u16(0), b.u16(2), flags&4 != 0, flags&8 != 0, flags&1 != 0, flags&2 != 0)
}

func addrtype(
	c Context,
	source, dest uint16,
	in, out, notSource, notDest bool,
) []exposure.Statement {
	s := none()
	if source != 0 {
		s = append(s, xtmatch.AddrType(xtmatch.Source, c.Family, source, in, out, notSource)...)
	}
	if dest != 0 {
		s = append(s, xtmatch.AddrType(xtmatch.Destination, c.Family, dest, in, out, notDest)...)
	}
	return s
}

// connlabel: struct xt_connlabel_mtinfo { u16 bit, options }; options: 1 inverts, 2 sets
// (xt_connlabel.h).
func connlabel(_ Context, b fields) []exposure.Statement {
	return xtmatch.Label(int(b.u16(0)), b.u16(2)&2 != 0, b.u16(2)&1 != 0)
}

// mark: struct xt_mark_mtinfo1, xt_connmark_mtinfo1 { u32 mark, mask; u8 invert }.
func mark(f exposure.Field) func(Context, fields) []exposure.Statement {
	return func(_ Context, b fields) []exposure.Statement {
		return one(xtmatch.Mark(f, b.u32(0), b.u32(4), b.u8(8) != 0))
	}
}

// iprange: struct xt_iprange_mtinfo { union nf_inet_addr src_min, src_max, dst_min, dst_max; u8
// flags }.
func iprange(c Context, b fields) []exposure.Statement {
	out := none()
	add := func(side xtmatch.Side, at int, not bool) {
		from, to := b.address(at, c.Family), b.address(at+16, c.Family)
		if to.Less(from) {
			out = append(out, xtmatch.Constant(not)...)
			return
		}
		out = append(out, xtmatch.Addresses(side, from, to, not))
	}
	if b.bit(64, 0) {
		add(xtmatch.Source, 0, b.bit(64, 4))
	}
	if b.bit(64, 1) {
		add(xtmatch.Destination, 32, b.bit(64, 5))
	}
	return out
}

// ttl: struct ipt_ttl_info and ip6t_hl_info { u8 mode, ttl }: equal 0, not equal 1, less 2, greater
// 3.
func ttl(c Context, b fields) []exposure.Statement {
	n := uint64(b.u8(1))
	var ranges []exposure.Range
	switch mode := b.u8(0); {
	case mode < 2:
		ranges = append(ranges, exposure.Numbers(n, n))
	case mode == 2 && n > 0:
		ranges = append(ranges, exposure.Numbers(0, n-1))
	case mode == 3 && n < 255:
		ranges = append(ranges, exposure.Numbers(n+1, 255))
	case mode > 3:
		return nil
	}
	return one(xtmatch.TTL(c.Family, b.u8(0) == 1, ranges...))
}

// length: struct xt_length_info { u16 min, max; u8 invert }.
func length(c Context, b fields) []exposure.Statement {
	return one(xtmatch.Length(c.Family, b.u16(0), b.u16(2), b.u8(4) != 0))
}

// ipv6header: struct ip6t_ipv6header_info { u8 matchflags, invflags, modeflag }.
func ipv6header(_ Context, b fields) []exposure.Statement {
	return one(xtmatch.Headers(b.u8(0), b.u8(1), b.u8(2) != 0))
}

// nfacct: struct xt_nfacct_match_info { char name[32]; … }.
func nfacct(_ Context, b fields) []exposure.Statement {
	name := b.text(0, 32)
	return one(exposure.Unknown{Text: "nfacct " + name, Account: name})
}

// mac: struct xt_mac_info { unsigned char srcaddr[6]; int invert }.
func mac(_ Context, b fields) []exposure.Statement {
	var address uint64
	for _, x := range b[:6] {
		address = address<<8 | uint64(x)
	}
	return one(xtmatch.MAC(address, b.u32(8) != 0))
}

// physdev: struct xt_physdev_info { char physindev[16], in_mask[16], physoutdev[16], out_mask[16];
// u8 invert, bitmask }.
func physdev(_ Context, b fields) []exposure.Statement {
	out := none()
	asked := func(n int) (asked, not bool) { return b.bit(65, n), b.bit(64, n) }
	if ok, not := asked(0); ok {
		out = append(out, masked(exposure.FieldPhysIn, b[0:16], b[16:32], not)...)
	}
	if ok, not := asked(1); ok {
		if not { // false for bridged packets that aren't forwarded (net/netfilter/xt_physdev.c)
			out = append(out, exposure.Unknown{Text: "physdev-out is not " + b.text(32, 16)})
		} else {
			out = append(out, masked(exposure.FieldPhysOut, b[32:48], b[48:64], not)...)
		}
	}
	if ok, not := asked(2); ok {
		out = append(out, xtmatch.PhysicalBridged(not))
	}
	if ok, not := asked(3); ok {
		out = append(out, xtmatch.PhysicalIs(exposure.FieldPhysIn, not))
	}
	if ok, not := asked(4); ok {
		out = append(out, xtmatch.PhysicalIs(exposure.FieldPhysOut, not))
	}
	return out
}

// masked matches an interface name under a mask: ones up to the end of the name or, for a prefix,
// of the prefix.
func masked(f exposure.Field, name, mask []byte, not bool) []exposure.Statement {
	n := 0
	for n < len(mask) && mask[n] == 0xff {
		n++
	}
	for _, x := range mask[n:] {
		if x != 0 {
			return one(exposure.Unknown{Text: "interface name under a mask"})
		}
	}
	text := cString(name[:n])
	if len(text) == n && n < 16 { // the mask doesn't reach the zero byte that ends the name
		text += "+"
	} else if strings.HasSuffix(text, "+") { // a name that ends in "+" itself
		m := exposure.In(exposure.Of(f), exposure.One(exposure.Name(text)))
		m.Not = not
		return one(m)
	}
	return one(xtmatch.Interface(f, text, not))
}

// pkttype: struct xt_pkttype_info { int pkttype, invert }.
func pkttype(_ Context, b fields) []exposure.Statement {
	if b.u32(0) > 255 {
		return nil
	}
	return one(xtmatch.PacketType(uint8(b.u32(0)), b.u32(4) != 0))
}

// devgroup: struct xt_devgroup_info { u32 flags, src_group, src_mask, dst_group, dst_mask }.
func devgroup(_ Context, b fields) []exposure.Statement {
	out := none()
	flags := b.u32(0)
	if flags&1 != 0 {
		out = append(
			out, xtmatch.DeviceGroup(exposure.FieldInGroup, b.u32(4), b.u32(8), flags&2 != 0),
		)
	}
	if flags&4 != 0 {
		out = append(
			out, xtmatch.DeviceGroup(exposure.FieldOutGroup, b.u32(12), b.u32(16), flags&8 != 0),
		)
	}
	return out
}

// rpfilter: struct xt_rpfilter_info { u8 flags }.
func rpfilter(_ Context, b fields) []exposure.Statement {
	return one(xtmatch.ReversePath(b.bit(0, 0), b.bit(0, 1), b.bit(0, 2), b.bit(0, 3)))
}

// socket3: struct xt_socket_mtinfo3 { u8 flags }: with XT_SOCKET_RESTORESKMARK (4) the packet's
// mark becomes the socket's.
func socket3(_ Context, b fields) []exposure.Statement {
	out := one(exposure.Unknown{Text: "socket"})
	if b.u8(0)&4 != 0 {
		mark := exposure.Operand{
			Field: exposure.FieldUnknown,
			Text:  "the socket's mark",
			Max:   exposure.Ones(32),
		}
		out = append(out, exposure.Assign{To: exposure.FieldMark, Value: []exposure.Operand{mark}})
	}
	return out
}

// ctFields are the four tuples of --ctorigsrc, --ctorigdst, --ctreplsrc, --ctrepldst, in the order
// of conntrack's flags.
var ctFields = [4]struct {
	name            string
	four, six, port exposure.Field
}{
	{
		"ctorigsrc",
		exposure.FieldCTOrigSource4,
		exposure.FieldCTOrigSource6,
		exposure.FieldCTOrigSport,
	},
	{"ctorigdst", exposure.FieldCTOrigDest4, exposure.FieldCTOrigDest6, exposure.FieldCTOrigDport},
	{
		"ctreplsrc",
		exposure.FieldCTReplySource4,
		exposure.FieldCTReplySource6,
		exposure.FieldCTReplySport,
	},
	{
		"ctrepldst",
		exposure.FieldCTReplyDest4,
		exposure.FieldCTReplyDest6,
		exposure.FieldCTReplyDport,
	},
}

// ctAddress picks the tuple's address field.
func ctAddress(i int, f address.Family) exposure.Field {
	if f == address.IPv6 {
		return ctFields[i].six
	}
	return ctFields[i].four
}
