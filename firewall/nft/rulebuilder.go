package nft

import (
	"strings"
	"time"

	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/netlink/nftables"
	"golang.org/x/sys/unix"
)

// builder writes one rule. Each method adds one clause; the expressions are those that nft itself
// would emit, so that `nft list` shows our table well, and `export nft`, which prints them as nft
// does, loads as the same objects.
type builder struct{ exprs []nftables.Expr }

// reg1 is the register that all of our rules use: it holds 16 bytes
// (include/uapi/linux/netfilter/nf_tables.h).
const reg1 = unix.NFT_REG_1

func newRule() *builder { return &builder{} }

func (b *builder) add(exprs ...expr.Any) *builder {
	for _, e := range exprs {
		b.exprs = append(b.exprs, typed(e))
	}
	return b
}

// typed is an expression as the kernel will report it.
func typed(e expr.Any) nftables.Expr {
	raw, err := expr.Marshal(unix.NFPROTO_INET, e)
	if err != nil {
		// Only data that does not fit an attribute gets here, and ours always fits; an impossible
		// expression differs from everything, so the read-back would report it.
		return nftables.Unknown{Kind: "unencodable", Data: err.Error()}
	}
	return nftables.DecodeExpr(raw)
}

func (b *builder) done() rule { return rule{Exprs: b.exprs} }

func cmpEq(data []byte) *expr.Cmp { return &expr.Cmp{Op: expr.CmpOpEq, Register: reg1, Data: data} }

// iifname matches an interface by name, or by prefix if the pattern ends in "*".
func (b *builder) iifname(pattern string) *builder {
	return b.meta(expr.MetaKeyIIFNAME, interfaceData(pattern))
}

// meta matches what the kernel knows of a packet.
func (b *builder) meta(key expr.MetaKey, data []byte) *builder {
	return b.add(&expr.Meta{Key: key, Register: reg1}, cmpEq(data))
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

func nfproto(f address.Family) byte {
	if f == address.IPv6 {
		return unix.NFPROTO_IPV6
	}
	return unix.NFPROTO_IPV4
}

// family matches the IP version.
func (b *builder) family(f address.Family) *builder {
	return b.meta(expr.MetaKeyNFPROTO, []byte{nfproto(f)})
}

// Offsets and lengths of the addresses in the IPv4 header (RFC 791) and IPv6 header (RFC 8200).
func loadAddress(f address.Family, destination bool) *expr.Payload {
	p := &expr.Payload{
		OperationType: expr.PayloadLoad,
		DestRegister:  reg1,
		Base:          expr.PayloadBaseNetworkHeader,
	}
	switch {
	case f == address.IPv4 && !destination:
		p.Offset, p.Len = 12, 4
	case f == address.IPv4:
		p.Offset, p.Len = 16, 4
	case !destination:
		p.Offset, p.Len = 8, 16
	default:
		p.Offset, p.Len = 24, 16
	}
	return p
}

// loadTransport loads bytes of the transport header.
func loadTransport(register, offset, length uint32) *expr.Payload {
	return &expr.Payload{
		OperationType: expr.PayloadLoad,
		DestRegister:  register,
		Base:          expr.PayloadBaseTransportHeader,
		Offset:        offset,
		Len:           length,
	}
}

func lookup(setName string) *expr.Lookup {
	return &expr.Lookup{SourceRegister: reg1, SetName: setName}
}

// lookupNot matches what isn't in a set.
func (b *builder) lookupNot(setName string) *builder {
	return b.add(&expr.Lookup{SourceRegister: reg1, SetName: setName, Invert: true})
}

func (b *builder) saddrIn(f address.Family, setName string) *builder {
	return b.family(f).add(loadAddress(f, false), lookup(setName))
}

func (b *builder) daddrIn(f address.Family, setName string) *builder {
	return b.family(f).add(loadAddress(f, true), lookup(setName))
}

// direction matches packets that go that way in their connection.
func (b *builder) direction(way byte) *builder {
	return b.add(&expr.Ct{Key: expr.CtKeyDIRECTION, Register: reg1}, cmpEq([]byte{way}))
}

// ctState matches connections in one of some states.
func (b *builder) ctState(bits uint32) *builder {
	return b.ctBits(expr.CtKeySTATE, bits, expr.CmpOpNeq)
}

func (b *builder) ctBits(key expr.CtKey, bits uint32, op expr.CmpOp) *builder {
	zero := make([]byte, 4)
	return b.add(&expr.Ct{Key: key, Register: reg1}, and(binaryutil.NativeEndian.PutUint32(bits)),
		&expr.Cmp{Op: op, Register: reg1, Data: zero})
}

// and leaves those bits of the register that a mask has.
func and(mask []byte) *expr.Bitwise {
	return &expr.Bitwise{SourceRegister: reg1, DestRegister: reg1, Len: uint32(len(mask)),
		Mask: mask, Xor: make([]byte, len(mask))}
}

// l4proto matches an IP protocol number.
func (b *builder) l4proto(number byte) *builder {
	return b.meta(expr.MetaKeyL4PROTO, []byte{number})
}

// icmpType matches an ICMP (IPv4) or ICMPv6 type.
func (b *builder) icmpType(f address.Family, number byte) *builder {
	proto := byte(unix.IPPROTO_ICMP)
	if f == address.IPv6 {
		proto = unix.IPPROTO_ICMPV6
	}
	return b.family(f).l4proto(proto).add(loadTransport(reg1, 0, 1), cmpEq([]byte{number}))
}

// udp matches the destination port, and the source port unless it is 0.
func (b *builder) udp(source, destination uint16) *builder {
	b.l4proto(unix.IPPROTO_UDP)
	to := []byte{byte(destination >> 8), byte(destination)}
	if source == 0 {
		return b.add(loadTransport(reg1, destinationPortOffset, 2), cmpEq(to))
	}
	both := append([]byte{byte(source >> 8), byte(source)}, to...)
	return b.add(loadTransport(reg1, sourcePortOffset, 4), cmpEq(both))
}

// perSource applies a limit for each source, remembered in a dynamic set. With over it matches what
// exceeds the limit, without it what stays within. While the set is full it matches no new source.
func (b *builder) perSource(f address.Family, setName string, r firewall.Rate,
	over bool) *builder {
	unit := map[time.Duration]expr.LimitTime{time.Second: expr.LimitTimeSecond,
		time.Minute: expr.LimitTimeMinute, time.Hour: expr.LimitTimeHour,
		24 * time.Hour: expr.LimitTimeDay}[r.Per]
	limit := &expr.Limit{
		Type:  expr.LimitTypePkts,
		Rate:  uint64(r.Count),
		Unit:  unit,
		Burst: r.Burst,
		Over:  over,
	}
	return b.rateKey(f, r).add(&expr.Dynset{SrcRegKey: reg1, SetName: setName,
		Operation: unix.NFT_DYNSET_OP_UPDATE, Exprs: []expr.Any{limit}})
}

// notRemembered matches a source that the set of perSource, right before, had no room for.
func (b *builder) notRemembered(f address.Family, setName string, r firewall.Rate) *builder {
	return b.rateKey(f, r).lookupNot(setName)
}

// rateKey loads what counts as one source.
func (b *builder) rateKey(f address.Family, r firewall.Rate) *builder {
	return b.family(f).add(masked(f, r.PrefixLength(f))...)
}

func (b *builder) log(prefix string) *builder {
	return b.add(&expr.Log{
		Key:   1<<unix.NFTA_LOG_GROUP | 1<<unix.NFTA_LOG_PREFIX | 1<<unix.NFTA_LOG_SNAPLEN,
		Group: firewall.NFLOGGroup, Snaplen: firewall.NFLOGSize, Data: []byte(prefix)})
}

// count adds the packet to a named counter, which outlives the rule.
func (b *builder) count(name string) *builder {
	return b.add(&expr.Objref{Type: unix.NFT_OBJECT_COUNTER, Name: name})
}

func (b *builder) verdict(kind expr.VerdictKind, chain string) rule {
	return b.add(&expr.Verdict{Kind: kind, Chain: chain}).done()
}

func (b *builder) accept() rule { return b.verdict(expr.VerdictAccept, "") }

func (b *builder) drop() rule { return b.verdict(expr.VerdictDrop, "") }

func (b *builder) gotoChain(name string) rule { return b.verdict(expr.VerdictGoto, name) }

func (b *builder) jump(name string) rule { return b.verdict(expr.VerdictJump, name) }
