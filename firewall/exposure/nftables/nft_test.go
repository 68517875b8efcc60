package nftables

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/portgrave/portgrave/firewall/backendtest"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// Short forms for expectations.

type stmts = []exposure.Statement

func num(n uint64) exposure.Value { return exposure.Number(n) }
func is(f exposure.Field, n uint64) exposure.Match {
	return exposure.In(exposure.Of(f), exposure.One(num(n)))
}
func isnt(f exposure.Field, n uint64) exposure.Match {
	return exposure.NotIn(exposure.Of(f), exposure.One(num(n)))
}
func within(f exposure.Field, from, to uint64) exposure.Match {
	return exposure.In(exposure.Of(f), exposure.Numbers(from, to))
}
func addr(s string) exposure.Value { return exposure.Address(netip.MustParseAddr(s)) }
func inNet(f exposure.Field, s string) exposure.Match {
	return exposure.In(exposure.Of(f), exposure.Prefix(netip.MustParsePrefix(s)))
}
func constOf(v exposure.Value) *exposure.Operand { o := exposure.Const(v); return &o }
func tuple(not bool, key []exposure.Operand, boxes ...exposure.Range) exposure.Match {
	return exposure.Match{Key: key, In: &exposure.Set{Width: len(key), Keys: boxes}, Not: not}
}
func of(fields ...exposure.Field) []exposure.Operand {
	var out []exposure.Operand
	for _, f := range fields {
		out = append(out, exposure.Of(f))
	}
	return out
}
func one(n uint64) exposure.Range        { return exposure.One(num(n)) }
func between(a, b uint64) exposure.Range { return exposure.Numbers(a, b) }
func raw(base exposure.RawBase, offset, bits int, header uint8) exposure.Operand {
	return exposure.Operand{
		Field: exposure.FieldRaw,
		Raw:   exposure.Raw{Base: base, Offset: offset, Bits: bits, Header: header},
	}
}

// present asks whether a header or an option is there.
func present(base exposure.RawBase, header uint8) exposure.Operand {
	o := raw(base, 0, 8, header)
	o.Raw.Present = true
	return o
}

// bitsIn is a match of some bits of the IP header.
func bitsIn(not bool, offset, bits int, r ...exposure.Range) exposure.Match {
	return tuple(not, []exposure.Operand{raw(exposure.RawNetwork, offset, bits, 0)}, r...)
}

func fib(
	f exposure.Fib,
) exposure.Operand {
	return exposure.Operand{Field: exposure.FieldFib, Fib: f}
}
func maybe(text string) exposure.Unknown { return exposure.Unknown{Text: text} }
func rated(text string, r exposure.Rate) exposure.Unknown {
	return exposure.Unknown{Text: text, Rate: r}
}

// onList is a rate that several rules count in.
func onList(name string, r exposure.Rate) exposure.Rate {
	r.List = name
	return r
}

// perSecond is nft's rate: it counts all sources together.
func perSecond(count, burst uint64) exposure.Rate {
	return exposure.Rate{Count: count, Per: time.Second, Burst: burst, Shared: true}
}
func unknownOp(text string, max exposure.Value) exposure.Operand {
	return exposure.Operand{Field: exposure.FieldUnknown, Text: text, Max: max}
}
func set(f exposure.Field, values ...exposure.Operand) exposure.Assign {
	return exposure.Assign{To: f, Value: values}
}
func verdict(k exposure.VerdictKind) exposure.Verdict { return exposure.Verdict{Kind: k} }

var (
	tcp   = is(exposure.FieldProtocol, 6)
	udp   = is(exposure.FieldProtocol, 17)
	ipv4  = is(exposure.FieldNFProto, 2)
	ipv6  = is(exposure.FieldNFProto, 10)
	never = exposure.In(exposure.Const(exposure.Value{}))
)

// Comparing statements: sets by what they mean, that is in the order of their elements, which the
// kernel is free to choose.
var compareStatements = cmp.Options{
	cmp.Comparer(func(a, b exposure.Value) bool { return a == b }),
	cmp.Transformer("elements", func(s *exposure.Set) map[string]string {
		if s == nil {
			return nil
		}
		out := map[string]string{
			"": fmt.Sprint(s.Name, s.Width, s.DataWidth, s.Default, s.Grows, s.Shrinks, s.Unknown),
		}
		for i, box := range s.All() {
			out[fmt.Sprint(box)] = elementText(s, i, nil) + s.Notes[i].Condition
		}
		if s.Default {
			out["*"] = elementText(s, s.Len(), nil)
		}
		return out
	}),
}

func compare(t *testing.T, what string, got, want []exposure.Statement) {
	t.Helper()
	if d := cmp.Diff(want, got, compareStatements); d != "" {
		t.Errorf("%s: (−want +got)\n%s", what, d)
	}
}

// One construct of nft's language a row.
var nftRows = []struct {
	rule string
	want stmts
	in   string // "table family; chain declaration; other declarations", with defaults
}{
	// Headers.
	{"ip saddr 10.0.0.0/8", stmts{ipv4, inNet(exposure.FieldSource4, "10.0.0.0/8")}, ""},
	{"ip saddr 10.1.2.0/23", stmts{ipv4, inNet(exposure.FieldSource4, "10.1.2.0/23")}, ""},
	{"ip saddr 10.1.2.3", stmts{inNet(exposure.FieldSource4, "10.1.2.3/32")}, "ip"},
	{
		"ip saddr != 10.1.2.3",
		stmts{exposure.NotIn(exposure.Of(exposure.FieldSource4), exposure.One(addr("10.1.2.3")))},
		"ip",
	},
	{
		"ip daddr 10.0.0.1-10.0.0.9",
		stmts{
			exposure.In(
				exposure.Of(exposure.FieldDest4),
				exposure.Range{From: addr("10.0.0.1"), To: addr("10.0.0.9")},
			),
		},
		"ip",
	},
	{
		"ip saddr & 255.255.0.255 == 1.2.0.1",
		stmts{
			exposure.In(
				exposure.Of(exposure.FieldSource4).And(num(0xffff00ff)),
				exposure.One(addr("1.2.0.1")),
			),
		},
		"ip",
	},
	{"ip6 saddr fe80::/10", stmts{ipv6, inNet(exposure.FieldSource6, "fe80::/10")}, ""},
	{"ip6 daddr 2001:db8::/32", stmts{inNet(exposure.FieldDest6, "2001:db8::/32")}, "ip6"},
	{"ip protocol tcp", stmts{ipv4, tcp}, ""},
	{
		"ip6 nexthdr icmpv6",
		stmts{ipv6, exposure.In(raw(exposure.RawNetwork, 48, 8, 0), one(58))},
		"",
	},
	{
		"ip6 nexthdr icmpv6 icmpv6 type echo-request",
		stmts{
			exposure.In(raw(exposure.RawNetwork, 48, 8, 0), one(58)),
			is(exposure.FieldICMPType, 128),
		},
		"ip6",
	},
	{
		"meta l4proto { tcp, udp }",
		stmts{exposure.In(exposure.Of(exposure.FieldProtocol), one(6), one(17))},
		"",
	},
	{
		"ip version 4",
		stmts{exposure.In(raw(exposure.RawNetwork, 0, 8, 0), between(0x40, 0x4f))},
		"ip",
	},
	{"ip frag-off & 0x1fff != 0", stmts{is(exposure.FieldFragment, 1)}, "ip"},
	{"ip ttl 64", stmts{exposure.In(raw(exposure.RawNetwork, 64, 8, 0), one(64))}, "ip"},
	{"tcp dport 22", stmts{tcp, is(exposure.FieldDport, 22)}, ""},
	{"udp sport != 53", stmts{udp, isnt(exposure.FieldSport, 53)}, ""},
	{"tcp dport 1024-65535", stmts{tcp, within(exposure.FieldDport, 1024, 65535)}, ""},
	{
		"tcp dport != 5-10",
		stmts{tcp, exposure.NotIn(exposure.Of(exposure.FieldDport), between(5, 10))},
		"",
	},
	{"tcp dport > 1023", stmts{tcp, within(exposure.FieldDport, 1024, 65535)}, ""},
	{"tcp dport < 1024", stmts{tcp, within(exposure.FieldDport, 0, 1023)}, ""},
	{
		"tcp dport >= 5 tcp dport <= 10",
		stmts{tcp, within(exposure.FieldDport, 5, 65535), within(exposure.FieldDport, 0, 10)},
		"",
	},
	{
		"tcp dport { 22, 80, 443-500 }",
		stmts{
			tcp,
			exposure.In(exposure.Of(exposure.FieldDport), one(22), one(80), between(443, 500)),
		},
		"",
	},
	{
		"tcp dport != { 22, 80 }",
		stmts{tcp, exposure.NotIn(exposure.Of(exposure.FieldDport), one(22), one(80))},
		"",
	},
	{
		"tcp sport 5 tcp dport 6",
		stmts{tcp, is(exposure.FieldSport, 5), is(exposure.FieldDport, 6)},
		"",
	},
	{
		"@th,0,32 != 0x00050006",
		stmts{tuple(true, of(exposure.FieldSport, exposure.FieldDport), one(5), one(6))},
		"",
	},
	{
		"tcp flags & (syn|ack) == syn",
		stmts{tcp, exposure.In(exposure.Of(exposure.FieldTCPFlags).And(num(0x12)), one(2))},
		"",
	},
	{"tcp flags syn", stmts{tcp, exposure.AnyBit(exposure.FieldTCPFlags, 2)}, ""},
	{
		"tcp flags & (fin|syn|rst|ack) != syn",
		stmts{tcp, exposure.NotIn(exposure.Of(exposure.FieldTCPFlags).And(num(0x17)), one(2))},
		"",
	},
	{
		"icmp type echo-request",
		stmts{ipv4, is(exposure.FieldProtocol, 1), is(exposure.FieldICMPType, 8)},
		"",
	},
	{
		"icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert }",
		stmts{
			is(exposure.FieldProtocol, 58),
			exposure.In(exposure.Of(exposure.FieldICMPType), one(135), one(136)),
		},
		"ip6",
	},
	{
		"icmp type . icmp code { 3 . 4 }",
		stmts{
			is(exposure.FieldProtocol, 1),
			tuple(false, of(exposure.FieldICMPType, exposure.FieldICMPCode), one(3), one(4)),
		},
		"ip",
	},
	{"th dport 53", stmts{is(exposure.FieldDport, 53)}, ""},
	{"@th,16,16 53", stmts{is(exposure.FieldDport, 53)}, ""},
	{"@th,0,8 5", stmts{within(exposure.FieldSport, 0x500, 0x5ff)}, ""},
	{
		"@nh,96,32 0x0a000001",
		stmts{exposure.In(raw(exposure.RawNetwork, 96, 32, 0), one(0x0a000001))},
		"",
	},
	{"@th,104,8 2", stmts{exposure.In(raw(exposure.RawTransport, 104, 8, 0), one(2))}, ""},
	{
		"ether saddr 00:11:22:33:44:55",
		stmts{
			exposure.In(exposure.Of(exposure.FieldSourceMAC), exposure.Full(48)),
			is(exposure.FieldSourceMAC, 0x001122334455),
		},
		"",
	},
	{
		"tcp option maxseg size 500",
		stmts{exposure.In(raw(exposure.RawTCPOption, 16, 16, 2), one(500))},
		"",
	},
	{
		"exthdr frag exists",
		stmts{exposure.In(present(exposure.RawExtension, 44), one(1))},
		"ip6",
	},
	{
		"frag more-fragments 1",
		stmts{exposure.In(raw(exposure.RawExtension, 24, 8, 44).And(num(1)), one(1))},
		"ip6",
	},

	// Where it came from, what it is.
	{
		"iifname eth0",
		stmts{exposure.In(exposure.Of(exposure.FieldInName), exposure.One(exposure.Name("eth0")))},
		"",
	},
	{
		`iifname "eth*"`,
		stmts{exposure.In(exposure.Of(exposure.FieldInName), exposure.NamePrefix("eth"))},
		"",
	},
	{
		`oifname != "docker0"`,
		stmts{
			exposure.NotIn(
				exposure.Of(exposure.FieldOutName),
				exposure.One(exposure.Name("docker0")),
			),
		},
		"inet; type filter hook forward priority 0",
	},
	{
		"iifname { lo, eth0 }",
		stmts{
			exposure.In(
				exposure.Of(exposure.FieldInName),
				exposure.One(exposure.Name("lo")),
				exposure.One(exposure.Name("eth0")),
			),
		},
		"",
	},
	{
		`iifname { "veth*", lo }`,
		stmts{
			exposure.In(
				exposure.Of(exposure.FieldInName),
				exposure.NamePrefix("veth"),
				exposure.One(exposure.Name("lo")),
			),
		},
		"",
	},
	{"iif lo", stmts{is(exposure.FieldInIndex, 1)}, ""},
	{"iifgroup 7", stmts{is(exposure.FieldInGroup, 7)}, ""},
	{
		"meta iiftype loopback",
		stmts{exposure.In(unknownOp("meta iiftype", num(0xffff)), one(772))},
		"",
	},
	{"meta mark 1", stmts{is(exposure.FieldMark, 1)}, ""},
	{
		"meta mark & 0xff == 1",
		stmts{exposure.In(exposure.Of(exposure.FieldMark).And(num(0xff)), one(1))},
		"",
	},
	{
		"meta mark & 0xff00 != 0x100",
		stmts{exposure.NotIn(exposure.Of(exposure.FieldMark).And(num(0xff00)), one(0x100))},
		"",
	},
	{"meta mark 5-10", stmts{within(exposure.FieldMark, 5, 10)}, ""},
	{"meta mark > 5", stmts{within(exposure.FieldMark, 6, 0xffffffff)}, ""},
	{
		"meta mark { 1, 5-10 }",
		stmts{exposure.In(exposure.Of(exposure.FieldMark), one(1), between(5, 10))},
		"",
	},
	{
		"meta mark . ct mark { 1 . 2, 5 . 6 }",
		stmts{
			tuple(
				false,
				of(exposure.FieldMark, exposure.FieldCTMark),
				one(1),
				one(2),
				one(5),
				one(6),
			),
		},
		"",
	},
	{"meta pkttype broadcast", stmts{is(exposure.FieldPacketType, 1)}, ""},
	{"meta protocol ip", stmts{is(exposure.FieldEtherType, 0x800)}, "netdev"},
	{
		"ip saddr 1.2.3.4 tcp dport 5",
		stmts{
			is(exposure.FieldEtherType, 0x800),
			inNet(exposure.FieldSource4, "1.2.3.4/32"),
			tcp,
			is(exposure.FieldDport, 5),
		},
		"netdev",
	},
	{
		"meta nfproto ipv6 tcp dport 5",
		stmts{ipv6, tcp, is(exposure.FieldDport, 5)},
		"inet; type filter hook ingress device lo priority 0",
	},
	{"meta skuid 0", stmts{maybe("meta skuid 0")}, "inet; type filter hook output priority 0"},
	{
		"meta length > 100",
		stmts{exposure.In(exposure.Of(exposure.FieldLength), between(101, 0xffffffff))},
		"",
	},
	{"meta ipsec exists", stmts{exposure.In(unknownOp("meta ipsec", num(0xff)), one(1))}, ""},

	// Connections.
	{"ct state new,untracked", stmts{exposure.AnyBit(exposure.FieldCTState, 8|64)}, ""},
	{
		"ct state != established",
		stmts{exposure.NotIn(exposure.Of(exposure.FieldCTState), one(2))},
		"",
	},
	{
		"ct state { new, related }",
		stmts{exposure.In(exposure.Of(exposure.FieldCTState), one(8), one(4))},
		"",
	},
	{
		"ct state vmap { established : accept, related : accept, invalid : drop }",
		stmts{exposure.VerdictMap{Key: of(exposure.FieldCTState), In: &exposure.Set{
			Width: 1, Keys: []exposure.Range{one(2), one(4), one(1)},
			Verdicts: []exposure.Verdict{
				verdict(exposure.VerdictAccept),
				verdict(exposure.VerdictAccept),
				verdict(exposure.VerdictDrop),
			}}}},
		"",
	},
	{"ct status dnat", stmts{exposure.AnyBit(exposure.FieldCTStatus, 32)}, ""},
	{
		"ct status & dnat == 0",
		stmts{exposure.In(exposure.Of(exposure.FieldCTStatus).And(num(32)), one(0))},
		"",
	},
	{"ct direction reply", stmts{is(exposure.FieldCTDirection, 1)}, ""},
	{
		"ct mark & 0xf0 == 0x10",
		stmts{exposure.In(exposure.Of(exposure.FieldCTMark).And(num(0xf0)), one(0x10))},
		"",
	},
	{"ct original ip daddr 10.0.0.0/8", stmts{inNet(exposure.FieldCTOrigDest4, "10.0.0.0/8")}, ""},
	{
		"ct original ip6 saddr 2001:db8::1",
		stmts{inNet(exposure.FieldCTOrigSource6, "2001:db8::1/128")},
		"",
	},
	{"ct reply ip saddr 10.0.0.1", stmts{inNet(exposure.FieldCTReplySource4, "10.0.0.1/32")}, ""},
	{
		"tcp dport 1 ct original proto-dst 80",
		stmts{tcp, is(exposure.FieldDport, 1), is(exposure.FieldCTOrigDport, 80)},
		"",
	},
	{"ct original protocol tcp", stmts{is(exposure.FieldCTProtocol, 6)}, ""},
	{
		"ct l3proto ipv4",
		stmts{exposure.In(exposure.Of(exposure.FieldCTProtocol), exposure.Full(8)), ipv4},
		"",
	},
	{"ct zone 5", stmts{is(exposure.FieldCTZone, 5)}, ""},
	{"ct expiration < 5s", stmts{maybe("ct expiration 0-4999")}, ""},
	{"ct count over 5", stmts{maybe("ct count over 5")}, ""},
	{`ct helper "ftp"`, stmts{maybe(fmt.Sprintf("ct helper %v", exposure.Name("ftp")))}, ""},

	// Routes.
	{
		"fib daddr type local",
		stmts{exposure.In(fib(exposure.Fib{Of: exposure.FibDest}), one(2))},
		"",
	},
	{
		"fib daddr . iif type { local, broadcast }",
		stmts{exposure.In(fib(exposure.Fib{Of: exposure.FibDest, ByIn: true}), one(2), one(3))},
		"",
	},
	{
		"fib daddr . mark . iif type != local",
		stmts{
			exposure.NotIn(
				fib(exposure.Fib{Of: exposure.FibDest, ByIn: true, ByMark: true}),
				one(2),
			),
		},
		"",
	},
	{
		"fib saddr . iif oif missing",
		stmts{exposure.In(fib(exposure.Fib{Want: exposure.FibExists, ByIn: true}), one(0))},
		"inet; type filter hook prerouting priority 0",
	},
	{
		"fib saddr oif 1",
		stmts{exposure.In(fib(exposure.Fib{Want: exposure.FibOutIndex}), one(1))},
		"inet; type filter hook prerouting priority 0",
	},
	{
		`fib saddr oifname "lo"`,
		stmts{
			exposure.In(
				fib(exposure.Fib{Want: exposure.FibOutName}),
				exposure.One(exposure.Name("lo")),
			),
		},
		"inet; type filter hook prerouting priority 0",
	},

	// Verdicts.
	{"accept", stmts{verdict(exposure.VerdictAccept)}, ""},
	{"drop", stmts{verdict(exposure.VerdictDrop)}, ""},
	{"return", stmts{verdict(exposure.VerdictReturn)}, ""},
	{"continue", stmts{verdict(exposure.VerdictContinue)}, ""},
	{
		"jump u",
		stmts{exposure.Verdict{Kind: exposure.VerdictJump, Chain: "u"}},
		"inet;; chain u { }",
	},
	{
		"goto u",
		stmts{exposure.Verdict{Kind: exposure.VerdictGoto, Chain: "u"}},
		"inet;; chain u { }",
	},
	{
		"reject",
		stmts{exposure.Verdict{Kind: exposure.VerdictReject, With: "icmpx port-unreachable"}},
		"",
	},
	{
		"reject with icmp host-prohibited",
		stmts{exposure.Verdict{Kind: exposure.VerdictReject, With: "icmp host-prohibited"}},
		"ip",
	},
	{
		"reject with icmpv6 admin-prohibited",
		stmts{exposure.Verdict{Kind: exposure.VerdictReject, With: "icmpv6 admin-prohibited"}},
		"ip6",
	},
	{
		"reject with tcp reset",
		stmts{tcp, exposure.Verdict{Kind: exposure.VerdictReject, With: "tcp reset"}},
		"",
	},
	{
		`fwd to lo`,
		stmts{exposure.Verdict{Kind: exposure.VerdictStolen, With: "fwd to device 1"}},
		"netdev",
	},
	{`dup to lo`, stmts{exposure.NoEffect{Text: "dup to device 1"}}, "netdev"},

	// Marks and headers that change.
	{"meta mark set 1", stmts{set(exposure.FieldMark, exposure.Const(num(1)))}, ""},
	{
		"meta mark set meta mark & 0xff | 0x100",
		stmts{
			set(
				exposure.FieldMark,
				exposure.Of(exposure.FieldMark).And(num(0xff)).XorWith(num(0x100)),
			),
		},
		"",
	},
	{
		"meta mark set meta mark or 0x10",
		stmts{set(exposure.FieldMark, exposure.Of(exposure.FieldMark).Or(num(0x10)))},
		"",
	},
	{
		"meta mark set ct mark",
		stmts{set(exposure.FieldMark, exposure.Of(exposure.FieldCTMark))},
		"",
	},
	{
		"meta mark set ct mark << 8",
		stmts{set(exposure.FieldMark, exposure.Of(exposure.FieldCTMark).ShiftBy(8))},
		"",
	},
	{
		"ct mark set meta mark >> 4",
		stmts{set(exposure.FieldCTMark, exposure.Of(exposure.FieldMark).ShiftBy(-4))},
		"",
	},
	{"ct mark set 7", stmts{set(exposure.FieldCTMark, exposure.Const(num(7)))}, ""},
	{
		"ct reply zone set 5",
		stmts{set(exposure.FieldCTZone, exposure.Const(num(5)))},
		"inet; type filter hook prerouting priority -300",
	},
	{
		"ct zone set 5",
		stmts{set(exposure.FieldCTZone, exposure.Const(num(5)))},
		"inet; type filter hook prerouting priority -300",
	},
	{"notrack", stmts{exposure.NoTrack{}}, "inet; type filter hook prerouting priority -300"},
	{
		"ip daddr set 1.2.3.4",
		stmts{set(exposure.FieldDest4, exposure.Const(addr("1.2.3.4")))},
		"ip",
	},
	{"tcp dport set 50", stmts{tcp, set(exposure.FieldDport, exposure.Const(num(50)))}, ""},
	{
		"ip saddr set 1.2.3.4",
		stmts{
			exposure.Assign{
				To:    exposure.FieldRaw,
				Raw:   exposure.Raw{Base: exposure.RawNetwork, Offset: 96, Bits: 32},
				Value: []exposure.Operand{exposure.Const(addr("1.2.3.4"))},
			},
		},
		"ip",
	},
	{"ip dscp set 4", stmts{exposure.NoEffect{Text: "payload set @nh,0,16", Header: true}}, "ip"},
	{"ip ttl set 3", stmts{exposure.NoEffect{Text: "payload set @nh,64,8", Header: true}}, "ip"},
	{
		"ip6 hoplimit set 3",
		stmts{exposure.NoEffect{Text: "payload set @nh,56,8", Header: true}},
		"ip6",
	},
	{"ip6 dscp set 3", stmts{exposure.NoEffect{Text: "payload set @nh,0,16", Header: true}}, "ip6"},
	{
		"tcp option maxseg size set 1400",
		stmts{tcp, exposure.NoEffect{Text: "tcp option 2 set"}},
		"",
	},
	{"meta priority set 1:1", stmts{exposure.NoEffect{Text: "meta priority set"}}, ""},
	{"meta nftrace set 1", stmts{exposure.NoEffect{Text: "meta nftrace set 1"}}, ""},

	// What can't be known.
	{
		"limit rate 5/second burst 3 packets",
		stmts{rated("limit rate 5/second burst 3", perSecond(5, 3))},
		"",
	},
	{"limit rate over 10 mbytes/minute", stmts{maybe("limit rate over 10485760 bytes/minute")}, ""},
	{"quota over 10 mbytes", stmts{maybe("quota over 10485760 bytes")}, ""},
	{"socket transparent 1", stmts{maybe("socket transparent 1")}, ""},
	{"rt classid 1", stmts{maybe("rt classid 1")}, ""},
	// nft takes it for a number in network order
	{
		"meta random & 1 == 0",
		stmts{exposure.In(unknownOp("meta random", num(0xffffffff)).And(num(1<<24)), one(0))},
		"",
	},
	{"jhash ip saddr mod 2 1", stmts{exposure.In(unknownOp("jhash mod 2", num(1)), one(1))}, "ip"},
	{
		"numgen inc mod 3 offset 5 6",
		stmts{exposure.In(unknownOp("numgen inc mod 3 offset 5", num(7)), one(6))},
		"",
	},
	{"synproxy mss 1460 wscale 7", stmts{exposure.Unknown{Text: "synproxy", Effect: true}}, ""},
	{
		`log prefix "x" group 3 counter`,
		stmts{
			exposure.NoEffect{Text: `log prefix "x" group 3`},
			exposure.NoEffect{Text: "counter"},
		},
		"",
	},

	// Sets, maps.
	{
		"ip saddr @s",
		stmts{
			exposure.Match{
				Key: of(exposure.FieldSource4),
				In: &exposure.Set{Name: "s", Width: 1, Keys: []exposure.Range{
					exposure.Prefix(
						netip.MustParsePrefix("10.0.0.0/8"),
					), exposure.Range{From: addr("192.0.2.250"), To: addr("255.255.255.255")}}},
			},
		},
		"ip;; set s { type ipv4_addr; flags interval; elements = { 10.0.0.0/8, 192.0.2.250-255.255.255.255 } }",
	},
	{
		"ip saddr . tcp dport @s",
		stmts{
			tcp,
			exposure.Match{
				Key: of(exposure.FieldSource4, exposure.FieldDport),
				In: &exposure.Set{Name: "s", Width: 2, Keys: []exposure.Range{
					exposure.Prefix(
						netip.MustParsePrefix("10.0.0.0/8"),
					), between(22, 80), exposure.One(addr("1.2.3.4")), one(443)}},
			},
		},
		"ip;; set s { type ipv4_addr . inet_service; flags interval; elements = { 10.0.0.0/8 . 22-80, 1.2.3.4 . 443 } }",
	},
	{
		"ip saddr . meta l4proto . tcp dport @s",
		stmts{
			tcp,
			exposure.Match{
				Key: of(exposure.FieldSource4, exposure.FieldProtocol, exposure.FieldDport),
				In: &exposure.Set{Name: "s", Width: 3, Keys: []exposure.Range{
					exposure.One(addr("1.2.3.4")), one(6), one(443)}},
			},
		},
		"ip;; set s { type ipv4_addr . inet_proto . inet_service; elements = { 1.2.3.4 . tcp . 443 } }",
	},
	{
		"ip saddr @s",
		stmts{
			exposure.Match{
				Key: of(exposure.FieldSource4),
				In: &exposure.Set{Name: "s", Width: 1, Keys: []exposure.Range{
					exposure.Prefix(netip.MustParsePrefix("10.0.0.0/8")), exposure.Full(32)}},
			},
		},
		"ip;; set s { type ipv4_addr; flags interval; elements = { 10.0.0.0/8, * } }",
	},
	{
		"ip saddr vmap @v",
		stmts{
			exposure.VerdictMap{
				Key: of(exposure.FieldSource4),
				In: &exposure.Set{Name: "v", Width: 1, Default: true,
					Keys: []exposure.Range{exposure.Prefix(netip.MustParsePrefix("10.0.0.0/8"))},
					Verdicts: []exposure.Verdict{
						{Kind: exposure.VerdictJump, Chain: "u"},
						verdict(exposure.VerdictDrop),
					}},
			},
		},
		"ip;; chain u { }\nmap v { type ipv4_addr : verdict; flags interval; elements = { 10.0.0.0/8 : jump u, * : drop } }",
	},
	{
		"meta mark set ip saddr map @m",
		stmts{
			set(
				exposure.FieldMark,
				exposure.Operand{
					Field: exposure.FieldMap,
					Lookup: &exposure.Lookup{Key: of(exposure.FieldSource4),
						In: &exposure.Set{
							Name:      "m",
							Width:     1,
							Keys:      []exposure.Range{exposure.One(addr("1.2.3.4"))},
							DataWidth: 1,
							Data:      []exposure.Value{num(5)},
						}},
				},
			),
		},
		"ip;; map m { type ipv4_addr : mark; elements = { 1.2.3.4 : 5 } }",
	},
	{
		"add @s { ip saddr }",
		stmts{
			exposure.SetUpdate{
				Set:          &exposure.Set{Name: "s", Width: 1, Grows: true},
				Key:          of(exposure.FieldSource4),
				EndsWhenFull: true,
			},
		},
		"ip;; set s { type ipv4_addr; flags dynamic; size 100; }",
	},
	{
		"update @s { ip saddr limit rate 5/second }",
		stmts{
			exposure.SetUpdate{
				Set:          &exposure.Set{Name: "s", Width: 1, Grows: true},
				Key:          of(exposure.FieldSource4),
				EndsWhenFull: true,
				Condition:    "limit rate 5/second burst 5",
				Rate:         perSecond(5, 5),
			},
		},
		"ip;; set s { type ipv4_addr; flags dynamic,timeout; timeout 1h; size 100; }",
	},
	{
		"add @s { ip saddr }",
		stmts{
			exposure.SetUpdate{
				Set:          &exposure.Set{Name: "s", Width: 1, Grows: true},
				Key:          of(exposure.FieldSource4),
				EndsWhenFull: true,
				Condition:    "limit rate 7/second burst 5",
				Rate:         perSecond(7, 5),
			},
		},
		"ip;; set s { type ipv4_addr; flags dynamic; size 100; limit rate 7/second; }",
	},
	{
		"delete @s { ip saddr }",
		stmts{
			exposure.SetUpdate{
				Op: exposure.SetDelete,
				Set: &exposure.Set{
					Name:    "s",
					Width:   1,
					Grows:   true,
					Shrinks: true,
					Keys:    []exposure.Range{exposure.One(addr("1.2.3.4"))},
				},
				Key: of(exposure.FieldSource4),
			},
		},
		"ip;; set s { type ipv4_addr; size 100; elements = { 1.2.3.4 } }",
	},
	{"counter name c", stmts{exposure.NoEffect{Text: "counter c"}}, "ip;; counter c { }"},
	{
		"quota name q",
		stmts{maybe("quota q { quota over 25165824 bytes }")},
		"ip;; quota q { over 24 mbytes }",
	},
	{
		"limit name l",
		stmts{rated("limit l { limit rate 5/second burst 5 }", onList("l", perSecond(5, 5)))},
		"ip;; limit l { rate 5/second }",
	},
	{
		`ct helper set "h"`,
		stmts{exposure.NoEffect{Text: "ct helper h { ftp }"}},
		"ip; type filter hook prerouting priority 0; ct helper h { type \"ftp\" protocol tcp; }",
	},
	{
		"counter name tcp dport map @o",
		stmts{
			tcp,
			exposure.Match{
				Key: of(exposure.FieldDport),
				In:  &exposure.Set{Name: "o", Width: 1, Keys: []exposure.Range{one(80)}},
			},
			exposure.NoEffect{Text: "counter from map o"},
		},
		"ip;; counter c { }\nmap o { type inet_service : counter; elements = { 80 : \"c\" } }",
	},
	{
		`limit name tcp dport map { 80 : "l" }`,
		stmts{
			tcp,
			exposure.Match{
				Key: of(exposure.FieldDport),
				In:  &exposure.Set{Width: 1, Keys: []exposure.Range{one(80)}},
			},
			maybe("limit from a map"),
		},
		"ip;; limit l { rate 5/second }",
	},

	// Translations.
	{
		"dnat to 10.0.0.1",
		stmts{exposure.NAT{Family: exposure.FamilyIPv4, Addr: constOf(addr("10.0.0.1"))}},
		"ip; type nat hook prerouting priority -100",
	},
	{
		"tcp dport 80 dnat ip to 10.0.0.1:8080",
		stmts{
			tcp,
			is(exposure.FieldDport, 80),
			exposure.NAT{
				Family: exposure.FamilyIPv4,
				Addr:   constOf(addr("10.0.0.1")),
				Port:   constOf(num(8080)),
			},
		},
		"inet; type nat hook prerouting priority -100",
	},
	{
		"tcp dport 80 dnat ip to 10.0.0.1-10.0.0.5:80-90 random,persistent",
		stmts{
			tcp,
			is(exposure.FieldDport, 80),
			exposure.NAT{
				Family:  exposure.FamilyIPv4,
				Addr:    constOf(addr("10.0.0.1")),
				AddrMax: constOf(addr("10.0.0.5")),
				Port: constOf(
					num(80),
				),
				PortMax: constOf(num(90)),
				Text:    "random,persistent",
			},
		},
		"inet; type nat hook prerouting priority -100",
	},
	{
		"tcp dport 80 dnat to [2001:db8::1]:80",
		stmts{
			tcp,
			is(exposure.FieldDport, 80),
			exposure.NAT{
				Family: exposure.FamilyIPv6,
				Addr:   constOf(addr("2001:db8::1")),
				Port:   constOf(num(80)),
			},
		},
		"ip6; type nat hook prerouting priority -100",
	},
	{
		"tcp dport 80 dnat to :81",
		stmts{
			tcp,
			is(exposure.FieldDport, 80),
			exposure.NAT{Family: exposure.FamilyIPv4, Port: constOf(num(81))},
		},
		"ip; type nat hook prerouting priority -100",
	},
	{
		"tcp dport 80 redirect to :8080",
		stmts{
			tcp,
			is(exposure.FieldDport, 80),
			exposure.NAT{
				Kind:   exposure.NATRedirect,
				Family: exposure.FamilyInet,
				Port:   constOf(num(8080)),
			},
		},
		"inet; type nat hook prerouting priority -100",
	},
	{
		"masquerade",
		stmts{exposure.NAT{Kind: exposure.NATMasquerade, Family: exposure.FamilyInet}},
		"inet; type nat hook postrouting priority 100",
	},
	{
		"snat to 1.2.3.4",
		stmts{
			exposure.NAT{
				Kind:   exposure.NATSource,
				Family: exposure.FamilyIPv4,
				Addr:   constOf(addr("1.2.3.4")),
			},
		},
		"ip; type nat hook postrouting priority 100",
	},
	{
		"dnat to numgen random mod 2 map { 0 : 10.0.0.1, 1 : 10.0.0.2 }",
		stmts{
			exposure.NAT{
				Family: exposure.FamilyIPv4,
				Addr: &exposure.Operand{Field: exposure.FieldMap, Lookup: &exposure.Lookup{
					Key: []exposure.Operand{
						unknownOp("numgen random mod 2", num(1)),
					}, In: &exposure.Set{Width: 1, DataWidth: 1, Keys: []exposure.Range{one(0), one(1)}, Data: []exposure.Value{addr("10.0.0.1"), addr("10.0.0.2")}}}},
			},
		},
		"ip; type nat hook prerouting priority -100",
	},
	{
		"dnat ip prefix to ip daddr map { 10.0.0.0/24 : 10.1.0.0/24 }",
		stmts{
			exposure.NAT{
				Family:  exposure.FamilyIPv4,
				Addr:    netmapColumn(0),
				AddrMax: netmapColumn(1),
			},
		},
		"ip; type nat hook prerouting priority -100",
	},
	{
		"tcp dport 80 tproxy to 127.0.0.1:8080 meta mark set 1 accept",
		stmts{
			tcp,
			is(exposure.FieldDport, 80),
			exposure.TProxy{
				Family: exposure.FamilyIPv4,
				Addr:   constOf(addr("127.0.0.1")),
				Port:   constOf(num(8080)),
			},
			set(
				exposure.FieldMark,
				exposure.Const(num(1)),
			),
			verdict(exposure.VerdictAccept),
		},
		"ip; type filter hook prerouting priority -150",
	},
	{
		"tcp dport 80 tproxy to :8080",
		stmts{
			tcp,
			is(exposure.FieldDport, 80),
			exposure.TProxy{Family: exposure.FamilyInet, Port: constOf(num(8080))},
		},
		"inet; type filter hook prerouting priority -150",
	},
}

func netmapColumn(i int) *exposure.Operand {
	return &exposure.Operand{
		Field: exposure.FieldMap,
		Lookup: &exposure.Lookup{
			Key:    of(exposure.FieldDest4),
			Column: i,
			In: &exposure.Set{Width: 1, DataWidth: 2,
				Keys: []exposure.Range{
					exposure.Prefix(netip.MustParsePrefix("10.0.0.0/24")),
				}, Data: []exposure.Value{addr("10.1.0.0"), addr("10.1.0.255")}},
		},
	}
}

func TestNFTConstructs(t *testing.T) {
	backendtest.Isolate(t)
	var script strings.Builder
	for i, row := range nftRows {
		family, chain, more := "inet", "type filter hook input priority 0", ""
		for k, s := range strings.SplitN(row.in, ";", 3) {
			if s = strings.TrimSpace(s); s != "" {
				*[]*string{&family, &chain, &more}[k] = s
			}
		}
		if family == "netdev" {
			chain = "type filter hook ingress device lo priority 0"
		}
		fmt.Fprintf(
			&script,
			"table %s t%d {\n%s\nchain c { %s; }\nchain r { %s; %s\n}\n}\n",
			family,
			i,
			more,
			chain,
			chain,
			row.rule,
		)
	}
	nft(t, script.String())
	rs := read(t, Options{})
	if len(rs.Tables) != len(nftRows) {
		t.Fatalf("%d tables, want %d", len(rs.Tables), len(nftRows))
	}
	for i, row := range nftRows {
		r := rs.Tables[i].Chain("r").Rules[0]
		compare(t, row.rule+"  →  "+r.Text, r.Statements, row.want)
	}
}
