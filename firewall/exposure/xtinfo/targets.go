package xtinfo

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/xtmatch"
)

// harmless are the targets that don't change a packet's way, with their names in a rule's text.
var harmless = map[string]string{
	"LOG": "log", "NFLOG": "log", "ULOG": "log", "AUDIT": "audit", "TRACE": "trace", "LED": "led",
	"IDLETIMER": "idletimer", "RATEEST": "rateest",
	"TEE": "dup", "TCPMSS": "tcpmss", "TCPOPTSTRIP": "tcpoptstrip", "CHECKSUM": "checksum",
	"CLASSIFY": "classify",
	"TOS":      "tos", "DSCP": "dscp", "ECN": "ecn", "TTL": "ttl", "HL": "hl", "SECMARK": "secmark",
	"CONNSECMARK": "connsecmark",
}

var targets map[key]layout

func init() {
	targets = map[key]layout{
		{"MARK", 2}:       {8, setMark},
		{"CONNMARK", 1}:   {13, connmark1},
		{"CONNMARK", 2}:   {15, connmark2},
		{"REJECT", 0}:     {4, reject},
		{"DNAT", 0}:       {20, natCompat(exposure.NATDestination)},
		{"SNAT", 0}:       {20, natCompat(exposure.NATSource)},
		{"DNAT", 1}:       {40, natRange(exposure.NATDestination)},
		{"SNAT", 1}:       {40, natRange(exposure.NATSource)},
		{"DNAT", 2}:       {42, natRange(exposure.NATDestination)},
		{"REDIRECT", 0}:   {20, natByFamily(exposure.NATRedirect)},
		{"MASQUERADE", 0}: {20, natByFamily(exposure.NATMasquerade)},
		{"NETMAP", 0}:     {20, netmap},
		{"TPROXY", 0}:     {14, tproxy(4)},
		{"TPROXY", 1}:     {26, tproxy(16)},
		{"CT", 0}:         {28, ct},
		{"CT", 1}:         {60, ct},
		{"CT", 2}:         {60, ct},
		{"NOTRACK", 0}:    {0, notrack},
		{"SET", 1}:        {8, setTarget(1)},
		{"SET", 2}:        {8, setTarget(2)},
		{"SET", 3}:        {12, setTarget(3)},
		{"NFQUEUE", 0}:    {2, nfqueue(0)},
		{"NFQUEUE", 1}:    {4, nfqueue(1)},
		{"NFQUEUE", 2}:    {6, nfqueue(2)},
		{"NFQUEUE", 3}:    {6, nfqueue(3)},
		{"HMARK", 0}:      {0, hmark},
	}
}

// setMark: struct xt_mark_tginfo2 { u32 mark, mask }.
func setMark(_ Context, b fields) []exposure.Statement {
	return one(xtmatch.SetMark(exposure.FieldMark, b.u32(0), b.u32(4)))
}

// connmark1: struct xt_connmark_tginfo1 { u32 ctmark, ctmask, nfmask; u8 mode }.
func connmark1(_ Context, b fields) []exposure.Statement { return connmark(b, b.u8(12), 0) }

// connmark2: struct xt_connmark_tginfo2 { u32 ctmark, ctmask, nfmask; u8 shift_dir, shift_bits,
// mode }.
func connmark2(_ Context, b fields) []exposure.Statement {
	bits := int(b.u8(13))
	if bits > 31 {
		return nil
	}
	if b.u8(12) == 1 { // D_SHIFT_RIGHT
		bits = -bits
	}
	return connmark(b, b.u8(14), bits)
}

func connmark(b fields, mode uint8, bits int) []exposure.Statement {
	value, ctmask, nfmask := b.u32(0), b.u32(4), b.u32(8)
	switch mode { // XT_CONNMARK_SET, SAVE, RESTORE
	case 0:
		if bits == 0 {
			return one(xtmatch.SetMark(exposure.FieldCTMark, value, ctmask))
		}
		return one(xtmatch.ShiftMark(value, ctmask, bits))
	case 1:
		return one(xtmatch.SaveMark(nfmask, ctmask, bits))
	case 2:
		return one(xtmatch.RestoreMark(nfmask, ctmask, bits))
	}
	return nil
}

// Answers of REJECT: enum ipt_reject_with (netfilter_ipv4/ipt_REJECT.h), ip6t_reject_with
// (netfilter_ipv6/ip6t_REJECT.h).
var (
	rejects4 = []string{
		"icmp net-unreachable", "icmp host-unreachable", "icmp proto-unreachable",
		"icmp port-unreachable", "icmp echo-reply", "icmp net-prohibited", "icmp host-prohibited",
		"tcp reset", "icmp admin-prohibited",
	}
	rejects6 = []string{
		"icmpv6 no-route", "icmpv6 admin-prohibited", "icmpv6 not-neighbour",
		"icmpv6 addr-unreachable", "icmpv6 port-unreachable", "icmpv6 echo-reply", "tcp reset",
		"icmpv6 policy-fail", "icmpv6 reject-route",
	}
)

// reject: struct ipt_reject_info, ip6t_reject_info { u32 with }.
func reject(c Context, b fields) []exposure.Statement {
	names, with := rejects4, fmt.Sprintf("answer %d", b.u32(0))
	if c.Family == address.IPv6 {
		names = rejects6
	}
	if n := b.u32(0); n < uint32(len(names)) {
		with = names[n]
	}
	return one(exposure.Verdict{Kind: exposure.VerdictReject, With: with})
}

// Flags of a NAT range: NF_NAT_RANGE_* (include/uapi/linux/netfilter/nf_nat.h).
const (
	natMapIPs = 1 << 0
	natPorts  = 1 << 1
	natOffset = 1 << 5
)

var natWords = []struct {
	bit  uint32
	word string
}{{1 << 2, "random"}, {1 << 3, "persistent"}, {1 << 4, "fully-random"}}

func natText(flags uint32) string {
	var words []string
	for _, w := range natWords {
		if flags&w.bit != 0 {
			words = append(words, w.word)
		}
	}
	return strings.Join(words, ",")
}

// natCompat: struct nf_nat_ipv4_multi_range_compat { unsigned rangesize; struct { unsigned flags;
// be32 min_ip, max_ip; be16 min, max } }. Ports are in network byte order.
func natCompat(kind exposure.NATKind) func(Context, fields) []exposure.Statement {
	return func(c Context, b fields) []exposure.Statement {
		return nat(
			kind, address.IPv4, b.u32(4), b.address(8, address.IPv4),
			b.address(12, address.IPv4), b.be16(16), b.be16(18), nil,
		)
	}
}

// natRange: struct nf_nat_range2 { unsigned flags; union nf_inet_addr min_addr, max_addr; be16
// min_proto, max_proto, base_proto }; struct nf_nat_range is the same without the last.
func natRange(kind exposure.NATKind) func(Context, fields) []exposure.Statement {
	return func(c Context, b fields) []exposure.Statement {
		var base *uint16
		if b.u32(0)&natOffset != 0 && len(b) >= 42 {
			p := b.be16(40)
			base = &p
		}
		return nat(
			kind, c.Family, b.u32(0), b.address(4, c.Family), b.address(20, c.Family), b.be16(36),
			b.be16(38), base,
		)
	}
}

// natByFamily is for targets whose only revision has a struct for each family.
func natByFamily(kind exposure.NATKind) func(Context, fields) []exposure.Statement {
	return func(c Context, b fields) []exposure.Statement {
		switch {
		case c.Family == address.IPv4:
			return natCompat(kind)(c, b)
		case len(b) < 40:
			return nil
		}
		return natRange(kind)(c, b)
	}
}

func nat(
	kind exposure.NATKind,
	family address.Family,
	flags uint32,
	from, to netip.Addr,
	first, last uint16,
	base *uint16,
) []exposure.Statement {
	t := xtmatch.Translation{Base: base, Text: natText(flags)}
	if flags&natMapIPs != 0 && (kind == exposure.NATDestination || kind == exposure.NATSource) {
		if to.Less(from) {
			return nil
		}
		t.Addr, t.AddrMax = from, to
	}
	if flags&natPorts != 0 {
		if last < first {
			return nil
		}
		r := portRange(first, last)
		t.Ports = &r
	}
	return one(xtmatch.NAT(kind, family, t))
}

// netmap has the structs of natByFamily: the range is the whole network. Which address it maps
// depends on the hook, so it is unknown in a user chain.
func netmap(c Context, b fields) []exposure.Statement {
	var from, to netip.Addr
	switch {
	case !c.HasHook:
		return nil
	case c.Family == address.IPv4:
		from, to = b.address(8, c.Family), b.address(12, c.Family)
	case len(b) < 40:
		return nil
	default:
		from, to = b.address(4, c.Family), b.address(20, c.Family)
	}
	prefix, ok := prefixOf(from, to)
	if !ok {
		return nil
	}
	kind := exposure.NATSource
	if c.Hook == exposure.HookPrerouting || c.Hook == exposure.HookOutput {
		kind = exposure.NATDestination
	}
	return one(xtmatch.NetMap(kind, c.Family, prefix))
}

// prefixOf is the prefix with exactly the addresses from … to. It is false if there is none.
func prefixOf(from, to netip.Addr) (netip.Prefix, bool) {
	want := exposure.Range{From: exposure.Address(from), To: exposure.Address(to)}
	for bits := range from.BitLen() + 1 {
		if p := netip.PrefixFrom(from, bits); exposure.Prefix(p) == want {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

// tproxy: struct xt_tproxy_target_info { u32 mark_mask, mark_value; be32 laddr; be16 lport }; _v1
// has a union nf_inet_addr.
func tproxy(addressSize int) func(Context, fields) []exposure.Statement {
	return func(c Context, b fields) []exposure.Statement {
		if addressSize == 4 && c.Family == address.IPv6 {
			return nil
		}
		return xtmatch.TProxy(
			c.Family, b.address(8, c.Family), b.be16(8+addressSize), b.u32(4), b.u32(0),
		)
	}
}

// Flags of CT: XT_CT_* (xt_CT.h).
const (
	ctNoTrack  = 1<<0 | 1<<1
	ctZoneMark = 1 << 4
)

// ct: struct xt_ct_target_info { u16 flags, zone; u32 ct_events, exp_events; char helper[16]; … };
// _v1 adds char timeout[32].
func ct(_ Context, b fields) []exposure.Statement {
	flags, zone := b.u16(0), b.u16(2)
	if flags&ctNoTrack != 0 {
		return one(exposure.NoTrack{})
	}
	out := none()
	if helper := b.text(12, 16); helper != "" {
		out = append(out, exposure.NoEffect{Text: "ct helper " + helper})
	}
	// In any case it attaches a template with a zone, 0 by default, so no later rule makes the
	// packet untracked.
	if flags&ctZoneMark != 0 {
		return append(
			out,
			exposure.Assign{
				To:    exposure.FieldCTZone,
				Value: []exposure.Operand{exposure.Of(exposure.FieldMark)},
			},
		)
	}
	return append(out, xtmatch.SetZone(zone))
}

func notrack(Context, fields) []exposure.Statement { return one(exposure.NoTrack{}) }

// nfqueue: struct xt_NFQ_info_v3 { u16 queuenum, queues_total, flags }; earlier revisions have
// less, and in 2 the last is "bypass".
func nfqueue(revision int) func(Context, fields) []exposure.Statement {
	return func(_ Context, b fields) []exposure.Statement {
		with := fmt.Sprint(b.u16(0))
		if revision >= 1 && b.u16(2) > 1 {
			with += fmt.Sprintf("-%d", uint32(b.u16(0))+uint32(b.u16(2))-1)
		}
		if revision >= 2 && b.u16(4)&1 != 0 {
			with += " bypass"
		}
		return one(exposure.Verdict{Kind: exposure.VerdictQueue, With: with})
	}
}

// hmark sets the mark to a hash of the packet.
func hmark(Context, fields) []exposure.Statement {
	hash := exposure.Operand{Field: exposure.FieldUnknown, Text: "hmark", Max: exposure.Ones(32)}
	return one(exposure.Assign{To: exposure.FieldMark, Value: []exposure.Operand{hash}})
}
