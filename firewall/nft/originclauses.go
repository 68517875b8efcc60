package nft

import (
	"fmt"

	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"github.com/portgrave/portgrave/firewall"
	"golang.org/x/sys/unix"
)

// Clauses about where a packet comes from and where it was going before translation.

// originalTuple loads a part of what the first packet of the connection was addressed to, whatever
// DNAT has made of it since.
type originalTuple struct{ *expr.Ct }

// Keys of ct that google/nftables lacks (enum nft_ct_keys,
// include/uapi/linux/netfilter/nf_tables.h).
const (
	ctKeyDestination4 = 20 // NFT_CT_DST_IP
	ctKeyDestination6 = 22 // NFT_CT_DST_IP6
)

// metaKeySlaveName is NFT_META_SDIFNAME: the interface of a VRF by which the packet came.
const metaKeySlaveName = 34

// metaKeyInterfaceKind is NFT_META_IIFKIND: the kind of interface by which the packet came.
const metaKeyInterfaceKind = 26

// marshalExpr encodes an expression as NFTA_EXPR_NAME and NFTA_EXPR_DATA. google/nftables writes
// the direction of ct for some keys only, and in four bytes where the kernel takes one.
func marshalExpr(e expr.Any) ([]byte, error) {
	tuple, ok := e.(originalTuple)
	if !ok {
		return expr.Marshal(unix.NFPROTO_INET, e)
	}
	a := netlink.NewAttributeEncoder()
	a.String(unix.NFTA_EXPR_NAME, "ct")
	a.Nested(unix.NFTA_EXPR_DATA, func(a *netlink.AttributeEncoder) error {
		a.Bytes(unix.NFTA_CT_DREG, bigEndian32(tuple.Register))
		a.Bytes(unix.NFTA_CT_KEY, bigEndian32(uint32(tuple.Key)))
		a.Uint8(unix.NFTA_CT_DIRECTION, 0) // IP_CT_DIR_ORIGINAL
		return nil
	})
	return a.Encode()
}

func bigEndian32(
	n uint32,
) []byte {
	return []byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
}

// portsVmap sends a tracked packet where the port belongs that the client dialled.
func (b *builder) portsVmap(p firewall.Protocol) rule {
	name := portsMap(p)
	return b.l4proto(p.String(), byte(p)).add("ct original proto-dst vmap @"+name,
		originalTuple{&expr.Ct{Key: expr.CtKeyPROTODST, Register: reg1}}, verdictLookup(name)).done()
}

// Offsets of the ports in the headers of TCP, UDP and SCTP (RFC 9293, RFC 768, RFC 9260).
const (
	sourcePortOffset      = 0
	destinationPortOffset = 2
)

// headerPortVmap sends a packet where its own destination port belongs, for what is not tracked, or
// its source port.
func (b *builder) headerPortVmap(p firewall.Protocol, offset uint32) rule {
	name, word := portsMap(p), "dport"
	if offset == sourcePortOffset {
		word = "sport"
	}
	return b.add(fmt.Sprintf("%s %s vmap @%s", p, word, name), &expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg1}, cmpEq([]byte{byte(p)}),
		&expr.Payload{
			OperationType: expr.PayloadLoad,
			DestRegister:  reg1,
			Base:          expr.PayloadBaseTransportHeader,
			Offset:        offset,
			Len:           2,
		},
		verdictLookup(name)).
		done()
}

func verdictLookup(setName string) *expr.Lookup {
	return &expr.Lookup{SourceRegister: reg1, SetName: setName, DestRegister: 0, IsDestRegSet: true}
}

// originalDaddrIn matches the address that the client dialled.
func (b *builder) originalDaddrIn(f firewall.Family, setName string) *builder {
	key := expr.CtKey(ctKeyDestination4)
	if f == firewall.IPv6 {
		key = ctKeyDestination6
	}
	return b.add(
		fmt.Sprintf("ct original %s daddr @%s", headerName(f), setName),
		originalTuple{&expr.Ct{Key: key, Register: reg1}},
		lookup(setName),
	)
}

// addressType matches a packet whose source or destination is one of the host's own addresses; with
// byInterface, one of the interface by which it came.
func (b *builder) addressIsLocal(source, byInterface bool) *builder {
	text := "fib daddr"
	if source {
		text = "fib saddr"
	}
	if byInterface {
		text += " . iif"
	}
	return b.add(
		text+" type local",
		&expr.Fib{
			Register:       reg1,
			FlagSADDR:      source,
			FlagDADDR:      !source,
			FlagIIF:        byInterface,
			ResultADDRTYPE: true,
		},
		cmpEq([]byte{unix.RTN_LOCAL, 0, 0, 0}),
	)
}

// labelBytes are a bit of a connection's label as the kernel keeps it: bit N is bit N%8 of byte
// N/8.
func labelBytes(bit int) []byte {
	label := make([]byte, 16)
	label[bit/8] = 1 << (bit % 8)
	return label
}

// setLabel sets a bit of the connection's label.
func (b *builder) setLabel(bit int) *builder {
	return b.add(
		fmt.Sprintf("ct label set %d", bit),
		&expr.Immediate{Register: reg1, Data: labelBytes(bit)},
		&expr.Ct{Key: expr.CtKeyLABELS, Register: reg1, SourceRegister: true},
	)
}

// hasLabel matches a connection of which setLabel has set the bit.
func (b *builder) hasLabel(bit int) *builder {
	zero := make([]byte, 16)
	return b.add(
		fmt.Sprintf("ct label %d", bit),
		&expr.Ct{Key: expr.CtKeyLABELS, Register: reg1},
		&expr.Bitwise{
			SourceRegister: reg1,
			DestRegister:   reg1,
			Len:            16,
			Mask:           labelBytes(bit),
			Xor:            zero,
		},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: reg1, Data: zero},
	)
}

// lacksLabel matches a connection without the bit, also one that began before there were labels.
func (b *builder) lacksLabel(bit int) *builder {
	return b.add(
		fmt.Sprintf("ct label & %d != %d", bit, bit),
		&expr.Ct{Key: expr.CtKeyLABELS, Register: reg1},
		&expr.Bitwise{
			SourceRegister: reg1,
			DestRegister:   reg1,
			Len:            16,
			Mask:           labelBytes(bit),
			Xor:            make([]byte, 16),
		},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: reg1, Data: labelBytes(bit)},
	)
}

// fromVRF matches what comes by a VRF, whichever interface it came to first.
func (b *builder) fromVRF() *builder {
	return b.add(
		`meta iifkind "vrf"`,
		&expr.Meta{Key: metaKeyInterfaceKind, Register: reg1},
		cmpEq(interfaceData("vrf")),
	)
}

// Bits of ct state and ct status (include/uapi/linux/netfilter/nf_conntrack_common.h;
// NF_CT_STATE_BIT, IPS_DST_NAT).
const (
	stateInvalid     = 1 << 0
	stateEstablished = 1 << 1
	stateRelated     = 1 << 2
	stateNew         = 1 << 3
	stateUntracked   = 1 << 6
	statusExpected   = 1 << 0
	statusConfirmed  = 1 << 3
	statusDNAT       = 1 << 5
)

// noConnection matches packets that belong to no connection.
func (b *builder) noConnection() *builder {
	return b.ctState("invalid,untracked", stateInvalid|stateUntracked)
}

// translated matches packets of connections whose destination this host has translated.
func (b *builder) translated() *builder {
	return b.add("ct status dnat", ctBits(expr.CtKeySTATUS, statusDNAT, expr.CmpOpNeq)...)
}

// expected matches packets of connections that a helper has announced.
func (b *builder) expected() *builder {
	return b.add("ct status expected", ctBits(expr.CtKeySTATUS, statusExpected, expr.CmpOpNeq)...)
}

// original matches packets that go the way of the connection's first one.
func (b *builder) original() *builder {
	return b.add(
		"ct direction original",
		&expr.Ct{Key: expr.CtKeyDIRECTION, Register: reg1},
		cmpEq([]byte{0}),
	)
}

// slaveName matches the interface of a VRF by which a packet came; iifname is then the VRF's.
func (b *builder) slaveName(pattern string) *builder {
	return b.add(
		fmt.Sprintf("meta sdifname %q", pattern),
		&expr.Meta{Key: metaKeySlaveName, Register: reg1},
		cmpEq(interfaceData(pattern)),
	)
}

// oifname matches the interface by which a packet leaves.
func (b *builder) oifname(pattern string) *builder {
	return b.add(
		fmt.Sprintf("oifname %q", pattern),
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: reg1},
		cmpEq(interfaceData(pattern)),
	)
}
