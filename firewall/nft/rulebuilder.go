package nft

import (
	"fmt"
	"strings"
	"time"

	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/portgrave/portgrave/firewall"
	"golang.org/x/sys/unix"
)

// builder writes one rule twice at once: as kernel expressions and as the text that nft prints
// for them. Each method adds one clause; the expressions are those that nft itself would emit,
// so that `nft list` shows our table well and `export nft` loads as the same objects.
type builder struct {
	exprs []expr.Any
	text  []string
}

// reg1 is the register that all of our rules use: it holds 16 bytes
// (include/uapi/linux/netfilter/nf_tables.h).
const reg1 = unix.NFT_REG_1

func newRule() *builder { return &builder{} }

func (b *builder) add(text string, exprs ...expr.Any) *builder {
	b.exprs = append(b.exprs, exprs...)
	if text != "" {
		b.text = append(b.text, text)
	}
	return b
}

func (b *builder) done() rule {
	return rule{canon: canonOf(b.exprs), text: strings.Join(b.text, " "), exprs: b.exprs}
}

func cmpEq(data []byte) *expr.Cmp { return &expr.Cmp{Op: expr.CmpOpEq, Register: reg1, Data: data} }

// iifname matches an interface by name, or by prefix if the pattern ends in "*".
func (b *builder) iifname(pattern string) *builder {
	return b.add(
		fmt.Sprintf("iifname %q", pattern),
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: reg1},
		cmpEq(interfaceData(pattern)),
	)
}

// interfaceData is what an interface's name is compared with: all of it, or the prefix before "*".
func interfaceData(pattern string) []byte {
	if prefix, wild := strings.CutSuffix(pattern, "*"); wild {
		return []byte(prefix)
	}
	data := make([]byte, unix.IFNAMSIZ)
	copy(data, pattern)
	return data
}

func nfproto(f firewall.Family) byte {
	if f == firewall.IPv6 {
		return unix.NFPROTO_IPV6
	}
	return unix.NFPROTO_IPV4
}

// family matches the IP version, as a clause of its own.
func (b *builder) family(f firewall.Family) *builder {
	return b.add("meta nfproto "+f.String(), familyExprs(f)...)
}

func familyExprs(f firewall.Family) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: reg1}, cmpEq([]byte{nfproto(f)})}
}

// Offsets and lengths of the addresses in the IPv4 header (RFC 791) and IPv6 header (RFC 8200).
func loadAddress(f firewall.Family, destination bool) *expr.Payload {
	p := &expr.Payload{
		OperationType: expr.PayloadLoad,
		DestRegister:  reg1,
		Base:          expr.PayloadBaseNetworkHeader,
	}
	switch {
	case f == firewall.IPv4 && !destination:
		p.Offset, p.Len = 12, 4
	case f == firewall.IPv4:
		p.Offset, p.Len = 16, 4
	case !destination:
		p.Offset, p.Len = 8, 16
	default:
		p.Offset, p.Len = 24, 16
	}
	return p
}

func headerName(f firewall.Family) string {
	if f == firewall.IPv6 {
		return "ip6"
	}
	return "ip"
}

func lookup(
	setName string,
) *expr.Lookup {
	return &expr.Lookup{SourceRegister: reg1, SetName: setName}
}

func (b *builder) saddrIn(f firewall.Family, setName string) *builder {
	return b.add(
		headerName(f)+" saddr @"+setName,
		append(familyExprs(f), loadAddress(f, false), lookup(setName))...)
}

func (b *builder) daddrIn(f firewall.Family, setName string) *builder {
	return b.add(
		headerName(f)+" daddr @"+setName,
		append(familyExprs(f), loadAddress(f, true), lookup(setName))...)
}

func (b *builder) reply() *builder {
	// IP_CT_DIR_REPLY = 1 (include/uapi/linux/netfilter/nf_conntrack_tuple_common.h)
	return b.add(
		"ct direction reply",
		&expr.Ct{Key: expr.CtKeyDIRECTION, Register: reg1},
		cmpEq([]byte{1}),
	)
}

func (b *builder) ctState(text string, bits uint32) *builder {
	return b.add("ct state "+text, ctBits(expr.CtKeySTATE, bits, expr.CmpOpNeq)...)
}

// firstPacket matches the packet that starts a connection. Unlike "ct state new" it does not match
// the next ones of an unanswered UDP flow: ct status lacks IPS_CONFIRMED, bit 3
// (include/uapi/linux/netfilter/nf_conntrack_common.h), only until the first packet has passed.
func (b *builder) firstPacket() *builder {
	return b.add("ct status ! confirmed", ctBits(expr.CtKeySTATUS, statusConfirmed, expr.CmpOpEq)...)
}

func ctBits(key expr.CtKey, bits uint32, op expr.CmpOp) []expr.Any {
	zero := make([]byte, 4)
	return []expr.Any{
		&expr.Ct{Key: key, Register: reg1},
		&expr.Bitwise{
			SourceRegister: reg1,
			DestRegister:   reg1,
			Len:            4,
			Mask:           binaryutil.NativeEndian.PutUint32(bits),
			Xor:            zero,
		},
		&expr.Cmp{Op: op, Register: reg1, Data: zero},
	}
}

// l4proto matches an IP protocol number; name is how nft calls it.
func (b *builder) l4proto(name string, number byte) *builder {
	return b.add(
		"meta l4proto "+name,
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg1},
		cmpEq([]byte{number}),
	)
}

// icmpType matches an ICMP (IPv4) or ICMPv6 type; name is how nft calls it.
func (b *builder) icmpType(f firewall.Family, name string, number byte) *builder {
	proto, header := byte(unix.IPPROTO_ICMP), "icmp"
	if f == firewall.IPv6 {
		proto, header = unix.IPPROTO_ICMPV6, "icmpv6"
	}
	exprs := append(
		familyExprs(f),
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg1},
		cmpEq([]byte{proto}),
		&expr.Payload{
			OperationType: expr.PayloadLoad,
			DestRegister:  reg1,
			Base:          expr.PayloadBaseTransportHeader,
			Offset:        0,
			Len:           1,
		},
		cmpEq([]byte{number}),
	)
	return b.add(header+" type "+name, exprs...)
}

// udpPorts matches source and destination port at once.
func (b *builder) udpPorts(source, destination uint16) *builder {
	return b.add(
		fmt.Sprintf("udp sport %d udp dport %d", source, destination),
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg1},
		cmpEq([]byte{unix.IPPROTO_UDP}),
		&expr.Payload{
			OperationType: expr.PayloadLoad,
			DestRegister:  reg1,
			Base:          expr.PayloadBaseTransportHeader,
			Offset:        0,
			Len:           4,
		},
		cmpEq([]byte{byte(source >> 8), byte(source), byte(destination >> 8), byte(destination)}),
	)
}

// perSource applies a limit for each source, remembered in a dynamic set. With over it matches what
// exceeds the limit, without it what stays within. While the set is full it matches no new source.
func (b *builder) perSource(
	f firewall.Family,
	setName string,
	r firewall.Rate,
	over bool,
) *builder {
	unit := map[time.Duration]expr.LimitTime{time.Second: expr.LimitTimeSecond, time.Minute: expr.LimitTimeMinute,
		time.Hour: expr.LimitTimeHour, 24 * time.Hour: expr.LimitTimeDay}[r.Per]
	word, name := "", map[expr.LimitTime]string{expr.LimitTimeSecond: "second", expr.LimitTimeMinute: "minute",
		expr.LimitTimeHour: "hour", expr.LimitTimeDay: "day"}[unit]
	if over {
		word = "over "
	}
	text, load := rateKey(f, r)
	exprs := append(
		load,
		&expr.Dynset{SrcRegKey: reg1, SetName: setName, Operation: unix.NFT_DYNSET_OP_UPDATE,
			Exprs: []expr.Any{
				&expr.Limit{
					Type:  expr.LimitTypePkts,
					Rate:  uint64(r.Count),
					Unit:  unit,
					Burst: r.Burst,
					Over:  over,
				},
			}},
	)
	return b.add(
		fmt.Sprintf(
			"update @%s { %s limit rate %s%d/%s burst %d packets }",
			setName,
			text,
			word,
			r.Count,
			name,
			r.Burst,
		),
		exprs...)
}

// notRemembered matches a source that the set of perSource, right before, had no room for.
func (b *builder) notRemembered(f firewall.Family, setName string, r firewall.Rate) *builder {
	text, load := rateKey(f, r)
	return b.add(
		text+" != @"+setName,
		append(load, &expr.Lookup{SourceRegister: reg1, SetName: setName, Invert: true})...)
}

// rateKey loads what counts as one source.
func rateKey(f firewall.Family, r firewall.Rate) (text string, exprs []expr.Any) {
	load := loadAddress(f, false)
	text, exprs = headerName(f)+" saddr", append(familyExprs(f), load)
	if bits := r.PrefixLength(f); bits < int(load.Len)*8 {
		mask := maskOf(f, bits)
		text += " & " + mask.String()
		exprs = append(exprs, &expr.Bitwise{SourceRegister: reg1, DestRegister: reg1, Len: load.Len,
			Mask: mask.AsSlice(), Xor: make([]byte, load.Len)})
	}
	return text, exprs
}

func (b *builder) log(prefix string) *builder {
	return b.add(
		fmt.Sprintf("log prefix %q group %d snaplen %d", prefix, firewall.NFLOGGroup, firewall.NFLOGSize),
		&expr.Log{
			Key:   1<<unix.NFTA_LOG_GROUP | 1<<unix.NFTA_LOG_PREFIX | 1<<unix.NFTA_LOG_SNAPLEN,
			Group: firewall.NFLOGGroup, Snaplen: firewall.NFLOGSize, Data: []byte(prefix)},
	)
}

// count adds the packet to a named counter, which outlives the rule.
func (b *builder) count(name string) *builder {
	return b.add(
		fmt.Sprintf("counter name %q", name),
		&expr.Objref{Type: unix.NFT_OBJECT_COUNTER, Name: name},
	)
}

func (b *builder) accept() rule {
	return b.add("accept", &expr.Verdict{Kind: expr.VerdictAccept}).done()
}

func (b *builder) returns() rule {
	return b.add("return", &expr.Verdict{Kind: expr.VerdictReturn}).done()
}

func (b *builder) drop() rule { return b.add("drop", &expr.Verdict{Kind: expr.VerdictDrop}).done() }

func (b *builder) gotoChain(name string) rule {
	return b.add("goto "+name, &expr.Verdict{Kind: expr.VerdictGoto, Chain: name}).done()
}

func (b *builder) jump(name string) rule {
	return b.add("jump "+name, &expr.Verdict{Kind: expr.VerdictJump, Chain: name}).done()
}

func (b *builder) rejectReset() rule {
	return b.add("reject with tcp reset", &expr.Reject{Type: unix.NFT_REJECT_TCP_RST}).done()
}

// rejectUnreachable answers with ICMP or ICMPv6 port unreachable (NFT_REJECT_ICMPX_PORT_UNREACH).
func (b *builder) rejectUnreachable() rule {
	return b.add(
		"reject with icmpx type port-unreachable",
		&expr.Reject{
			Type: unix.NFT_REJECT_ICMPX_UNREACH,
			Code: unix.NFT_REJECT_ICMPX_PORT_UNREACH,
		},
	).done()
}
