package nftables

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall/backendtest"
	"github.com/portgrave/portgrave/firewall/exposure"
)

func jump(chain string) exposure.Verdict {
	return exposure.Verdict{Kind: exposure.VerdictJump, Chain: chain}
}

var (
	bits    = func(f exposure.Field, mask uint64) exposure.Operand { return exposure.Of(f).And(num(mask)) }
	state   = func(mask uint64) exposure.Match { return exposure.AnyBit(exposure.FieldCTState, mask) }
	allCode = between(0, 255)
	any16   = exposure.Full(16)
)

// icmpBox is a match of types and codes.
func icmpBox(not bool, kind, code exposure.Range) exposure.Match {
	return tuple(not, of(exposure.FieldICMPType, exposure.FieldICMPCode), kind, code)
}

// One option of iptables' language a row: "table chain", the options, the statements without the
// counter that every rule has. IPv6 rows begin with "6 ".
var xtRows = []struct {
	in, rule string
	want     stmts
}{
	{
		"filter INPUT",
		"-s 10.1.0.0/16 ! -d 192.0.2.1",
		stmts{
			inNet(exposure.FieldSource4, "10.1.0.0/16"),
			exposure.NotIn(exposure.Of(exposure.FieldDest4), exposure.One(addr("192.0.2.1"))),
		},
	},
	{
		"filter INPUT",
		"-s 10.0.0.1/255.0.0.255",
		stmts{
			exposure.In(
				exposure.Of(exposure.FieldSource4).And(num(0xff0000ff)),
				exposure.One(addr("10.0.0.1")),
			),
		},
	},
	{
		"filter INPUT",
		"-i eth+",
		stmts{exposure.In(exposure.Of(exposure.FieldInName), exposure.NamePrefix("eth"))},
	},
	{
		"filter INPUT",
		"! -i eth0",
		stmts{
			exposure.NotIn(exposure.Of(exposure.FieldInName), exposure.One(exposure.Name("eth0"))),
		},
	},
	{
		"filter FORWARD",
		"-o docker0",
		stmts{
			exposure.In(exposure.Of(exposure.FieldOutName), exposure.One(exposure.Name("docker0"))),
		},
	},
	{"filter INPUT", "! -p tcp", stmts{isnt(exposure.FieldProtocol, 6)}},
	{"filter INPUT", "-f", stmts{is(exposure.FieldFragment, 1)}},
	{"filter INPUT", "! -f", stmts{is(exposure.FieldFragment, 0)}},
	{"filter INPUT", "-p tcp --dport 22", stmts{tcp, is(exposure.FieldDport, 22)}},
	{
		"filter INPUT",
		"-p tcp ! --sport 1024:2048",
		stmts{tcp, exposure.NotIn(exposure.Of(exposure.FieldSport), between(1024, 2048))},
	},
	{"filter INPUT", "-p udp --dport 53:54", stmts{udp, within(exposure.FieldDport, 53, 54)}},
	{
		"filter INPUT",
		"-p tcp --syn",
		stmts{tcp, exposure.In(bits(exposure.FieldTCPFlags, 0x17), one(2))},
	},
	{
		"filter INPUT",
		"-p tcp ! --sport 1024:2048 ! --tcp-flags SYN,ACK SYN --tcp-option 2",
		stmts{tcp, exposure.NotIn(exposure.Of(exposure.FieldSport), between(1024, 2048)),
			exposure.NotIn(
				bits(exposure.FieldTCPFlags, 0x12),
				one(2),
			), maybe("tcp option 2 exists")},
	},
	{
		"filter INPUT",
		"-p sctp --dport 80 ! --sport 1:2",
		stmts{
			is(exposure.FieldProtocol, 132),
			exposure.NotIn(exposure.Of(exposure.FieldSport), between(1, 2)),
			is(exposure.FieldDport, 80),
		},
	},
	{
		"filter INPUT",
		"-p icmp --icmp-type 8",
		stmts{is(exposure.FieldProtocol, 1), icmpBox(false, one(8), allCode)},
	},
	{
		"filter INPUT",
		"-p icmp ! --icmp-type 3/4",
		stmts{is(exposure.FieldProtocol, 1), icmpBox(true, one(3), one(4))},
	},
	{"filter INPUT", "-p icmp --icmp-type any", stmts{is(exposure.FieldProtocol, 1)}},
	{
		"6 filter INPUT",
		"-p icmpv6 --icmpv6-type 135",
		stmts{is(exposure.FieldProtocol, 58), icmpBox(false, one(135), allCode)},
	},
	{
		"6 filter INPUT",
		"-s fe80::/10 -p tcp --dport 22",
		stmts{tcp, inNet(exposure.FieldSource6, "fe80::/10"), is(exposure.FieldDport, 22)},
	},
	{
		"filter INPUT",
		"-p tcp -m multiport --dports 22,80,443:500",
		stmts{
			tcp,
			exposure.In(exposure.Of(exposure.FieldDport), one(22), one(80), between(443, 500)),
		},
	},
	{
		"filter INPUT",
		"-p tcp -m multiport ! --sports 22",
		stmts{tcp, exposure.NotIn(exposure.Of(exposure.FieldSport), one(22))},
	},
	{
		"filter INPUT",
		"-p tcp -m multiport --ports 22,80",
		stmts{
			tcp,
			tuple(
				false,
				of(exposure.FieldSport, exposure.FieldDport),
				one(22),
				any16,
				any16,
				one(22),
				one(80),
				any16,
				any16,
				one(80),
			),
		},
	},
	{
		"filter INPUT",
		"-m addrtype --dst-type LOCAL,BROADCAST --limit-iface-in",
		stmts{exposure.In(fib(exposure.Fib{Of: exposure.FibDest, ByIn: true}), between(2, 3))},
	},
	{
		"filter INPUT",
		"-m addrtype ! --src-type LOCAL",
		stmts{exposure.NotIn(fib(exposure.Fib{}), one(2))},
	},
	{
		"nat PREROUTING",
		"-m addrtype --dst-type LOCAL",
		stmts{exposure.In(fib(exposure.Fib{Of: exposure.FibDest}), one(2))},
	},
	{
		"6 filter INPUT",
		"-m addrtype --dst-type LOCAL",
		stmts{exposure.In(fib(exposure.Fib{Of: exposure.FibDest}), one(2))},
	},
	{
		"6 filter INPUT",
		"-m addrtype --dst-type MULTICAST",
		stmts{inNet(exposure.FieldDest6, "ff00::/8")},
	},
	{
		"6 filter INPUT",
		"-m addrtype ! --dst-type UNICAST,LOCAL",
		stmts{tuple(
			true,
			[]exposure.Operand{
				exposure.Of(exposure.FieldDest6),
				fib(exposure.Fib{Of: exposure.FibDest}),
			},
			exposure.Range{From: num(1), To: addr("::fffe:ffff:ffff")},
			one(2),
			exposure.Range{
				From: addr("::1:0:0:0"),
				To:   addr("feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
			},
			one(2),
		)},
	},
	{
		"filter INPUT",
		"-m mark --mark 0x1/0xff",
		stmts{exposure.In(bits(exposure.FieldMark, 0xff), one(1))},
	},
	{"filter INPUT", "-m mark ! --mark 1", stmts{isnt(exposure.FieldMark, 1)}},
	{
		"filter INPUT",
		"-m connmark --mark 0x1/0xff",
		stmts{exposure.In(bits(exposure.FieldCTMark, 0xff), one(1))},
	},
	{"filter INPUT", "-m connmark ! --mark 2", stmts{isnt(exposure.FieldCTMark, 2)}},
	{
		"filter INPUT",
		"-m iprange --src-range 10.0.0.1-10.0.0.9 ! --dst-range 10.1.0.1-10.1.0.9",
		stmts{
			exposure.In(
				exposure.Of(exposure.FieldSource4),
				exposure.Range{From: addr("10.0.0.1"), To: addr("10.0.0.9")},
			),
			exposure.NotIn(
				exposure.Of(exposure.FieldDest4),
				exposure.Range{From: addr("10.1.0.1"), To: addr("10.1.0.9")},
			)},
	},
	{
		"6 filter INPUT",
		"-m iprange --src-range 2001:db8::1-2001:db8::9",
		stmts{
			exposure.In(
				exposure.Of(exposure.FieldSource6),
				exposure.Range{From: addr("2001:db8::1"), To: addr("2001:db8::9")},
			),
		},
	},
	{
		"filter INPUT",
		"-m mac ! --mac-source 00:11:22:33:44:55",
		stmts{isnt(exposure.FieldSourceMAC, 0x001122334455)},
	},
	{
		"filter FORWARD",
		"-m physdev --physdev-in veth+ --physdev-out eth0 --physdev-is-bridged",
		stmts{exposure.In(exposure.Of(exposure.FieldPhysIn), exposure.NamePrefix("veth")),
			exposure.In(
				exposure.Of(exposure.FieldPhysOut),
				exposure.One(exposure.Name("eth0")),
			), is(exposure.FieldPhysBridged, 1)},
	},
	{
		"filter INPUT",
		"-m physdev --physdev-is-in",
		stmts{exposure.NotIn(exposure.Of(exposure.FieldPhysIn), one(0))},
	},
	{
		"filter FORWARD",
		"-m physdev ! --physdev-is-bridged",
		stmts{isnt(exposure.FieldPhysBridged, 1)},
	},
	{"filter INPUT", "-m pkttype ! --pkt-type unicast", stmts{isnt(exposure.FieldPacketType, 0)}},
	{"filter INPUT", "-m devgroup --src-group 5", stmts{is(exposure.FieldInGroup, 5)}},
	{
		"raw PREROUTING",
		"-m rpfilter --loose --validmark --invert",
		stmts{
			exposure.NotIn(
				fib(exposure.Fib{Want: exposure.FibReversePath, Loose: true, ByMark: true}),
				one(1),
			),
		},
	},
	{
		"filter INPUT",
		"-m comment --comment hello",
		stmts{exposure.NoEffect{Text: `comment "hello"`}},
	},

	// conntrack.
	{"filter INPUT", "-m conntrack --ctstate NEW,RELATED", stmts{state(12)}},
	{
		"filter INPUT",
		"-m conntrack --ctstate ESTABLISHED,RELATED,UNTRACKED",
		stmts{state(2 | 4 | 64)},
	},
	{
		"filter INPUT",
		"-m conntrack ! --ctstate INVALID",
		stmts{exposure.In(bits(exposure.FieldCTState, 1), one(0))},
	},
	{"filter INPUT", "-m state --state NEW", stmts{state(8)}},
	{
		"filter INPUT",
		"-m conntrack --ctstate DNAT",
		stmts{exposure.AnyBit(exposure.FieldCTStatus, 32)},
	},
	{
		"filter INPUT",
		"-m conntrack --ctstate NEW,DNAT",
		stmts{
			tuple(
				true,
				[]exposure.Operand{
					bits(exposure.FieldCTState, 8),
					bits(exposure.FieldCTStatus, 32),
				},
				one(0),
				one(0),
			),
		},
	},
	{
		"filter INPUT",
		"-m conntrack --ctstate INVALID,DNAT",
		stmts{maybe("ct state or status, of packets with and without a connection")},
	},
	{
		"filter INPUT",
		"-m conntrack ! --ctstate DNAT",
		stmts{exposure.Unknown{
			Text: "ct status no dnat, or no connection", NotStatus: 32,
		}},
	},
	{
		"filter INPUT",
		"-m conntrack ! --ctstate RELATED,ESTABLISHED,SNAT",
		stmts{
			exposure.In(bits(exposure.FieldCTState, 6), one(0)),
			exposure.Unknown{
				Text: "ct status no snat, or no connection", NotStatus: 16,
			},
		},
	},
	{
		"filter INPUT",
		"-m conntrack ! --ctstate INVALID,UNTRACKED,DNAT",
		stmts{
			tuple(
				false,
				[]exposure.Operand{
					bits(exposure.FieldCTState, 65),
					bits(exposure.FieldCTStatus, 32),
				},
				one(0),
				one(0),
			),
		},
	},
	{
		"filter INPUT",
		"-m conntrack --ctstate NEW --ctorigdstport 80",
		stmts{state(8), is(exposure.FieldCTOrigDport, 80)},
	},
	{
		"filter INPUT",
		"-m conntrack --ctstate INVALID --ctorigdstport 80",
		stmts{state(1), maybe("--ctorigdstport 80:80")},
	},
	{
		"filter INPUT",
		"-m conntrack ! --ctstate NEW --ctproto tcp",
		stmts{exposure.In(bits(exposure.FieldCTState, 8), one(0)), maybe("--ctproto 6")},
	},
	{
		"filter INPUT",
		"-m conntrack --ctorigdst 10.0.0.0/8 --ctorigdstport 80:90 --ctproto tcp --ctdir ORIGINAL",
		stmts{is(exposure.FieldCTDirection, 0), inNet(exposure.FieldCTOrigDest4, "10.0.0.0/8"),
			is(exposure.FieldCTProtocol, 6), within(exposure.FieldCTOrigDport, 80, 90)},
	},
	{
		"filter INPUT",
		"-m conntrack --ctdir REPLY ! --ctreplsrc 10.0.0.1 --ctreplsrcport 80 ! --ctrepldstport 1:2",
		stmts{isnt(exposure.FieldCTDirection, 0),
			exposure.NotIn(
				exposure.Of(exposure.FieldCTReplySource4),
				exposure.One(addr("10.0.0.1")),
			), is(exposure.FieldCTReplySport, 80), exposure.NotIn(exposure.Of(exposure.FieldCTReplyDport), between(1, 2))},
	},
	{
		"filter INPUT",
		"-m conntrack --ctstatus CONFIRMED,ASSURED --ctexpire 10:20",
		stmts{exposure.AnyBit(exposure.FieldCTStatus, 12), maybe("--ctexpire 10:20")},
	},
	{
		"6 filter INPUT",
		"-m conntrack --ctorigsrc 2001:db8::/32 ! --ctrepldst 2001:db8::1",
		stmts{inNet(exposure.FieldCTOrigSource6, "2001:db8::/32"),
			exposure.NotIn(
				exposure.Of(exposure.FieldCTReplyDest6),
				exposure.One(addr("2001:db8::1")),
			)},
	},

	// ipset: the test's lookup knows hn, ha (address, port) and h6.
	{
		"filter INPUT",
		"-m set --match-set hn src",
		stmts{exposure.Match{Key: of(exposure.FieldSource4), In: ipsets["hn"]}},
	},
	{
		"filter INPUT",
		"-m set ! --match-set hn dst",
		stmts{exposure.Match{Key: of(exposure.FieldDest4), In: ipsets["hn"], Not: true}},
	},
	{
		"filter INPUT",
		"-m set --match-set ha src,dst",
		stmts{
			exposure.Match{
				Key: of(exposure.FieldSource4, exposure.FieldProtocol, exposure.FieldDport),
				In:  ipsets["ha"],
			},
		},
	},
	{
		"filter INPUT",
		"-m set --match-set ha dst,src",
		stmts{
			exposure.Match{
				Key: of(exposure.FieldDest4, exposure.FieldProtocol, exposure.FieldSport),
				In:  ipsets["ha"],
			},
		},
	},
	{"filter INPUT", "-m set --match-set h6 src", stmts{never}},
	{"filter INPUT", "-m set ! --match-set h6 src", stmts{}},
	{"filter INPUT", "-m set --match-set other src", stmts{maybe("ipset other src")}},
	{
		"filter INPUT",
		"-m set --match-set hn src --packets-gt 3",
		stmts{maybe("ipset hn src and its counters")},
	},
	{
		"filter INPUT",
		"-j SET --add-set hn src --exist",
		stmts{exposure.SetUpdate{Set: ipsets["hn"], Key: of(exposure.FieldSource4)}},
	},
	{
		"filter INPUT",
		"-j SET --del-set ha src,dst",
		stmts{
			exposure.SetUpdate{
				Op:  exposure.SetDelete,
				Set: ipsets["ha"],
				Key: of(exposure.FieldSource4, exposure.FieldProtocol, exposure.FieldDport),
			},
		},
	},
	{
		"filter INPUT",
		"-j SET --add-set other src",
		stmts{exposure.NoEffect{Text: "add to ipset other src"}},
	},
	{
		"mangle PREROUTING",
		"-j SET --map-set other src --map-mark",
		stmts{set(exposure.FieldMark, unknownOp("mark from ipset other src", num(0xffffffff)))},
	},

	// What can't be known.
	{
		"filter INPUT",
		"-m limit --limit 5/sec",
		stmts{rated("limit rate 5/second burst 5", perSecond(5, 5))},
	},
	{
		"filter INPUT",
		"-m hashlimit --hashlimit-name x --hashlimit-above 5/sec --hashlimit-mode srcip",
		stmts{
			rated(
				`hashlimit "x" one in 0.2s burst 5 over per source`,
				exposure.Rate{Count: 1, Per: time.Second / 5, Burst: 5, Over: true},
			),
		},
	},
	{
		"filter INPUT",
		"-m recent --name y --update --seconds 60 --hitcount 4",
		stmts{
			rated(
				`recent update "y" seconds 60 hitcount 4`,
				onList("y", exposure.HitRate(60, 4, false)),
			),
		},
	},
	{"filter INPUT", "-m quota --quota 1000", stmts{maybe("quota 1000 bytes")}},
	{"filter INPUT", "-m string --string abc --algo bm", stmts{maybe(`string "abc"`)}},
	{"filter INPUT", "-m time --timestart 10:00", stmts{maybe(`xt match "time" revision 0`)}},
	{
		"filter INPUT",
		"-m statistic --mode random --probability 0.5",
		stmts{maybe(`xt match "statistic" revision 0`)},
	},
	{"filter INPUT", "-m u32 --u32 0x6&0xFF=1", stmts{maybe(`xt match "u32" revision 0`)}},
	{"filter INPUT", `-m bpf --bytecode "1,6 0 0 1"`, stmts{maybe(`xt match "bpf" revision 1`)}},
	{"filter OUTPUT", "-m owner --uid-owner 1000", stmts{maybe("owner uid 1000-1000")}},
	{"filter INPUT", "-m connlimit --connlimit-above 4", stmts{maybe("connlimit 4")}},
	{
		"filter INPUT",
		"-m policy --dir in --pol ipsec",
		stmts{maybe(`xt match "policy" revision 0`)},
	},
	{"6 filter INPUT", "-m hl --hl-eq 255", stmts{bitsIn(false, 56, 8, one(255))}},
	{"6 filter INPUT", "-m ipv6header --header prot", stmts{headers(255, false, 1)}},
	{"6 filter INPUT", "-m ipv6header ! --header frag", stmts{headers(255, true, 16)}},
	{"6 filter INPUT", "-m ipv6header --header hop,auth --soft", stmts{headers(136, false, 136)}},
	{"6 filter INPUT", "-m ipv6header ! --header frag,dst --soft", stmts{headers(80, false, 0)}},
	{"6 filter INPUT", "-m hl --hl-lt 5", stmts{bitsIn(false, 56, 8, between(0, 4))}},
	{"4 filter INPUT", "-m ttl ! --ttl-eq 255", stmts{bitsIn(true, 64, 8, one(255))}},
	{"4 filter INPUT", "-m ttl --ttl-gt 64", stmts{bitsIn(false, 64, 8, between(65, 255))}},
	{"4 filter INPUT", "-m length --length 40:100", stmts{bitsIn(false, 16, 16, between(40, 100))}},
	{"6 filter INPUT", "-m length ! --length 60:", stmts{bitsIn(true, 32, 16, between(20, 65495))}},
	{
		"mangle PREROUTING",
		"-m socket --transparent --restore-skmark",
		stmts{
			maybe("socket"),
			set(exposure.FieldMark, unknownOp("the socket's mark", num(0xffffffff))),
		},
	},

	// Targets.
	{"filter INPUT", "-j ACCEPT", stmts{verdict(exposure.VerdictAccept)}},
	{"filter INPUT", "-j DROP", stmts{verdict(exposure.VerdictDrop)}},
	{"filter INPUT", "-j RETURN", stmts{verdict(exposure.VerdictReturn)}},
	{"filter INPUT", "-j user", stmts{jump("user")}},
	{"filter INPUT", "-g user", stmts{exposure.Verdict{Kind: exposure.VerdictGoto, Chain: "user"}}},
	{
		"filter INPUT",
		"-j REJECT",
		stmts{exposure.Verdict{Kind: exposure.VerdictReject, With: "icmp port-unreachable"}},
	},
	{
		"filter INPUT",
		"-p tcp -j REJECT --reject-with tcp-reset",
		stmts{tcp, exposure.Verdict{Kind: exposure.VerdictReject, With: "tcp reset"}},
	},
	{
		"6 filter INPUT",
		"-j REJECT --reject-with icmp6-adm-prohibited",
		stmts{exposure.Verdict{Kind: exposure.VerdictReject, With: "icmpv6 admin-prohibited"}},
	},
	{"filter INPUT", "-j LOG --log-prefix abc", stmts{exposure.NoEffect{Text: `log prefix "abc"`}}},
	{"filter INPUT", "-j NFLOG --nflog-group 3", stmts{exposure.NoEffect{Text: "log group 3"}}},
	{
		"filter INPUT",
		"-j NFQUEUE --queue-balance 0:3 --queue-bypass",
		stmts{exposure.Verdict{Kind: exposure.VerdictQueue, With: "0-3 bypass"}},
	},
	{"filter INPUT", "-j TEE --gateway 10.0.0.1", stmts{exposure.NoEffect{Text: "dup"}}},
	{
		"mangle PREROUTING",
		"-j MARK --set-mark 1",
		stmts{set(exposure.FieldMark, exposure.Const(num(1)))},
	},
	{
		"mangle PREROUTING",
		"-j MARK --set-xmark 0x100/0xff00",
		stmts{set(exposure.FieldMark, bits(exposure.FieldMark, 0xffff00ff).XorWith(num(0x100)))},
	},
	{
		"mangle PREROUTING",
		"-j MARK --or-mark 0x10",
		stmts{set(exposure.FieldMark, bits(exposure.FieldMark, 0xffffffef).XorWith(num(0x10)))},
	},
	{
		"mangle PREROUTING",
		"-j CONNMARK --save-mark",
		stmts{set(exposure.FieldCTMark, exposure.Of(exposure.FieldMark))},
	},
	{
		"mangle PREROUTING",
		"-j CONNMARK --restore-mark --nfmask 0xff --ctmask 0xff00",
		stmts{
			set(
				exposure.FieldMark,
				bits(exposure.FieldMark, 0xffffff00),
				bits(exposure.FieldCTMark, 0xff00),
			),
		},
	},
	{
		"mangle PREROUTING",
		"-j CONNMARK --set-xmark 0x1/0xff",
		stmts{set(exposure.FieldCTMark, bits(exposure.FieldCTMark, 0xffffff00).XorWith(num(1)))},
	},
	{
		"mangle PREROUTING",
		"-j CONNMARK --save-mark --left-shift-mark 8 --ctmask 0xff00 --nfmask 0xff",
		stmts{
			set(
				exposure.FieldCTMark,
				bits(exposure.FieldCTMark, 0xffff00ff),
				bits(exposure.FieldMark, 0xff).ShiftBy(8),
			),
		},
	},
	{
		"mangle FORWARD",
		"-p tcp --syn -j TCPMSS --clamp-mss-to-pmtu",
		stmts{
			tcp,
			exposure.In(bits(exposure.FieldTCPFlags, 0x17), one(2)),
			exposure.NoEffect{Text: "tcpmss"},
		},
	},
	{
		"mangle PREROUTING",
		"-j DSCP --set-dscp 10",
		stmts{exposure.NoEffect{Text: "dscp", Header: true}},
	},
	{
		"mangle PREROUTING",
		"-j HMARK --hmark-tuple src --hmark-mod 2 --hmark-rnd 1",
		stmts{set(exposure.FieldMark, unknownOp("hmark", num(0xffffffff)))},
	},
	{
		"mangle PREROUTING",
		"-p tcp --dport 80 -j TPROXY --on-port 8080 --on-ip 127.0.0.1 --tproxy-mark 0x1/0x1",
		stmts{tcp, is(exposure.FieldDport, 80),
			exposure.TProxy{
				Family: exposure.FamilyIPv4,
				Addr:   constOf(addr("127.0.0.1")),
				Port:   constOf(num(8080)),
				OrDrop: true,
			},
			set(
				exposure.FieldMark,
				bits(exposure.FieldMark, 0xfffffffe).XorWith(num(1)),
			), verdict(exposure.VerdictAccept)},
	},
	{
		"6 mangle PREROUTING",
		"-p tcp -j TPROXY --on-port 8080 --on-ip ::1",
		stmts{
			tcp,
			exposure.TProxy{
				Family: exposure.FamilyIPv6,
				Addr:   constOf(addr("::1")),
				Port:   constOf(num(8080)),
				OrDrop: true,
			},
			verdict(exposure.VerdictAccept),
		},
	},
	{"raw PREROUTING", "-j CT --notrack", stmts{exposure.NoTrack{}}},
	{"raw PREROUTING", "-j CT --zone 5", stmts{set(exposure.FieldCTZone, exposure.Const(num(5)))}},
	{
		"raw PREROUTING",
		"-j CT --zone-reply 5",
		stmts{set(exposure.FieldCTZone, exposure.Const(num(5)))},
	},
	{
		"raw PREROUTING",
		"-j CT --ctevents new",
		stmts{set(exposure.FieldCTZone, exposure.Const(num(0)))},
	},
	{
		"raw PREROUTING",
		"-j CT --zone mark",
		stmts{set(exposure.FieldCTZone, exposure.Of(exposure.FieldMark))},
	},
	{
		"raw PREROUTING",
		"-p tcp -j CT --helper ftp",
		stmts{
			tcp,
			exposure.NoEffect{Text: "ct helper ftp"},
			set(exposure.FieldCTZone, exposure.Const(num(0))),
		},
	},
	{
		"nat PREROUTING",
		"-p tcp --dport 80 -j DNAT --to-destination 172.17.0.2:8080",
		stmts{
			tcp,
			is(exposure.FieldDport, 80),
			exposure.NAT{
				Family: exposure.FamilyIPv4,
				Addr:   constOf(addr("172.17.0.2")),
				Port:   constOf(num(8080)),
			},
		},
	},
	{
		"nat PREROUTING",
		"-p tcp -j DNAT --to-destination 172.17.0.2-172.17.0.9:8080-8090 --random --persistent",
		stmts{tcp, exposure.NAT{Family: exposure.FamilyIPv4,
			Addr: constOf(
				addr("172.17.0.2"),
			), AddrMax: constOf(addr("172.17.0.9")), Port: constOf(num(8080)), PortMax: constOf(num(8090)), Text: "random,persistent"}},
	},
	{
		"nat PREROUTING",
		"-p tcp -j DNAT --to-destination :3000-4000/2000",
		stmts{
			tcp,
			exposure.NAT{
				Family:   exposure.FamilyIPv4,
				Port:     constOf(num(3000)),
				PortMax:  constOf(num(4000)),
				PortBase: constOf(num(2000)),
			},
		},
	},
	{
		"nat PREROUTING",
		"-p tcp -j REDIRECT --to-ports 8080",
		stmts{
			tcp,
			exposure.NAT{
				Kind:   exposure.NATRedirect,
				Family: exposure.FamilyIPv4,
				Port:   constOf(num(8080)),
			},
		},
	},
	{
		"nat PREROUTING",
		"-j REDIRECT",
		stmts{exposure.NAT{Kind: exposure.NATRedirect, Family: exposure.FamilyIPv4}},
	},
	{
		"nat PREROUTING",
		"-d 10.0.0.0/24 -j NETMAP --to 10.1.0.0/24",
		stmts{
			inNet(exposure.FieldDest4, "10.0.0.0/24"),
			exposure.NAT{
				Family: exposure.FamilyIPv4,
				Addr:   netmapOf(exposure.FieldDest4, 0xff, addr("10.1.0.0")),
			},
		},
	},
	{
		"nat POSTROUTING",
		"-j NETMAP --to 10.1.0.0/24",
		stmts{
			exposure.NAT{
				Kind:   exposure.NATSource,
				Family: exposure.FamilyIPv4,
				Addr:   netmapOf(exposure.FieldSource4, 0xff, addr("10.1.0.0")),
			},
		},
	},
	{
		"nat POSTROUTING",
		"-o eth0 -p tcp -j MASQUERADE --to-ports 1000-2000",
		stmts{
			exposure.In(exposure.Of(exposure.FieldOutName), exposure.One(exposure.Name("eth0"))),
			tcp,
			exposure.NAT{
				Kind:    exposure.NATMasquerade,
				Family:  exposure.FamilyIPv4,
				Port:    constOf(num(1000)),
				PortMax: constOf(num(2000)),
			},
		},
	},
	{
		"nat POSTROUTING",
		"-j SNAT --to-source 1.2.3.4",
		stmts{
			exposure.NAT{
				Kind:   exposure.NATSource,
				Family: exposure.FamilyIPv4,
				Addr:   constOf(addr("1.2.3.4")),
			},
		},
	},
	{
		"6 nat PREROUTING",
		"-p tcp -j DNAT --to-destination [2001:db8::2]:8080",
		stmts{
			tcp,
			exposure.NAT{
				Family: exposure.FamilyIPv6,
				Addr:   constOf(addr("2001:db8::2")),
				Port:   constOf(num(8080)),
			},
		},
	},
	{
		"6 nat PREROUTING",
		"-p tcp -j REDIRECT --to-ports 8080",
		stmts{
			tcp,
			exposure.NAT{
				Kind:   exposure.NATRedirect,
				Family: exposure.FamilyIPv6,
				Port:   constOf(num(8080)),
			},
		},
	},
	{
		"6 nat POSTROUTING",
		"-j MASQUERADE",
		stmts{exposure.NAT{Kind: exposure.NATMasquerade, Family: exposure.FamilyIPv6}},
	},
}

func netmapOf(f exposure.Field, keep uint64, to exposure.Value) *exposure.Operand {
	o := exposure.Of(f).And(num(keep)).XorWith(to)
	return &o
}

// ipsets are what the lookup of the test yields: whatever it says counts. (iptables refuses a set
// of the other family, the kernel does not.)
var ipsets = map[string]*exposure.Set{
	"hn": {
		Name:    "hn",
		Columns: []string{"ipv4_addr"},
		Width:   1,
		Keys:    []exposure.Range{exposure.Prefix(netip.MustParsePrefix("10.0.0.0/8"))},
	},
	"ha": {Name: "ha", Columns: []string{"ipv4_addr", "inet_proto", "inet_service"}, Width: 3},
	"h6": {Name: "h6", Columns: []string{"ipv6_addr"}, Width: 1},
}

// headers is a match of the bits for extension headers under a mask.
func headers(mask uint64, not bool, value uint64) exposure.Match {
	o := exposure.Of(exposure.FieldHeaders)
	if mask != 255 {
		o = o.And(num(mask))
	}
	m := exposure.In(o, one(value))
	m.Not = not
	return m
}

func TestXTables(t *testing.T) {
	backendtest.Isolate(t)
	backendtest.Program(
		t,
		"create hn hash:net counters\ncreate ha hash:ip,port\ncreate h6 hash:net\ncreate other hash:net skbinfo\n",
		"ipset",
		"restore",
	)
	// One restore for each IP version: every row's rule is the next in its chain.
	tables := map[string][]string{}
	for _, row := range xtRows {
		family, rest, six := strings.Cut(row.in, "6 ")
		if !six {
			rest = family
		}
		table, chain, _ := strings.Cut(rest, " ")
		key := fmt.Sprint(six, " ", table)
		tables[key] = append(tables[key], fmt.Sprintf("-A %s %s", chain, row.rule))
	}
	for _, six := range []bool{false, true} {
		script, program := "", "iptables-nft-restore"
		if six {
			program = "ip6tables-nft-restore"
		}
		for _, table := range []string{"raw", "mangle", "nat", "filter"} {
			script += "*" + table + "\n"
			if table == "filter" {
				script += ":user - [0:0]\n"
			}
			script += strings.Join(tables[fmt.Sprint(six, " ", table)], "\n") + "\nCOMMIT\n"
		}
		backendtest.Program(t, script, program)
	}
	conn := dial(t)
	rs := read(t, Options{IPSet: func(index uint16) (*exposure.Set, string) {
		name, err := IPSetName(t.Context(), conn, index)
		if err != nil {
			t.Error(err)
		}
		return ipsets[name], name
	}})
	next := map[*exposure.Chain]int{}
	for _, row := range xtRows {
		want, rest, six := strings.Cut(row.in, "6 ")
		family := exposure.FamilyIPv6
		if !six {
			rest, family = want, exposure.FamilyIPv4
		}
		table, chain, _ := strings.Cut(rest, " ")
		for _, tbl := range rs.Tables {
			if tbl.Family != family || tbl.Name != table {
				continue
			}
			c := tbl.Chain(chain)
			r := c.Rules[next[c]]
			next[c]++
			var got stmts
			for _, s := range r.Statements {
				if s != (exposure.Statement)(exposure.NoEffect{Text: "counter"}) {
					got = append(got, s)
				}
			}
			if len(row.want) == 0 {
				row.want = nil
			}
			compare(t, row.in+" "+row.rule+"  →  "+r.Text, got, row.want)
			if strings.Contains(row.rule, "--comment hello") && r.Comment != "hello" {
				t.Errorf("comment %q", r.Comment)
			}
			if base := exposure.XTablesBase(table, chain, exposure.VerdictAccept); base.Hook != c.Base.Hook ||
				base.Priority != c.Base.Priority ||
				base.Type != c.Base.Type {
				t.Errorf("%s: %+v, want %+v", row.in, c.Base, base)
			}
		}
	}
	for c, n := range next {
		if n != len(c.Rules) {
			t.Errorf("%s: %d rules, %d compared", c.Where(), len(c.Rules), n)
		}
	}
}
