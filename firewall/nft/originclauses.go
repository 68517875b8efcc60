package nft

import (
	"github.com/google/nftables/expr"
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/netlink/nftables"
	"golang.org/x/sys/unix"
)

// Clauses about where a packet comes from and where it was going before translation.

// originalTuple loads a part of what the first packet of the connection was addressed to, whatever
// DNAT has made of it since. google/nftables writes the direction for some keys only, and in four
// bytes where the kernel takes one.
func (b *builder) originalTuple(key uint32) *builder {
	direction := nftables.Optional{Set: true} // IP_CT_DIR_ORIGINAL = 0
	b.exprs = append(b.exprs, nftables.CT{Key: key, Dreg: nftables.Reg1, Direction: direction})
	return b
}

// portsVmap sends a tracked packet where the port belongs that the client dialled.
func (b *builder) portsVmap(p firewall.Protocol) rule {
	return b.l4proto(byte(p)).
		originalTuple(unix.NFT_CT_PROTO_DST).
		add(verdictLookup(portsMap(p))).
		done()
}

// Offsets of the ports in the headers of TCP, UDP and SCTP (RFC 9293, RFC 768, RFC 9260).
const (
	sourcePortOffset      = 0
	destinationPortOffset = 2
)

// headerPortVmap sends a packet where its own destination port belongs, for what is not tracked, or
// its source port.
func (b *builder) headerPortVmap(p firewall.Protocol, offset uint32) rule {
	return b.l4proto(byte(p)).add(loadTransport(reg1, offset, 2), verdictLookup(portsMap(p))).done()
}

func verdictLookup(setName string) *expr.Lookup {
	return &expr.Lookup{SourceRegister: reg1, SetName: setName, DestRegister: 0, IsDestRegSet: true}
}

// originalDaddrIn matches the address that the client dialled.
func (b *builder) originalDaddrIn(f address.Family, setName string) *builder {
	key := uint32(unix.NFT_CT_DST_IP)
	if f == address.IPv6 {
		key = unix.NFT_CT_DST_IP6
	}
	return b.originalTuple(key).add(lookup(setName))
}

// addressIsLocal matches a packet whose source or destination is one of the host's own addresses;
// with byInterface, one of the interface by which it came.
func (b *builder) addressIsLocal(source, byInterface bool) *builder {
	return b.add(
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
	return b.add(&expr.Immediate{Register: reg1, Data: labelBytes(bit)},
		&expr.Ct{Key: expr.CtKeyLABELS, Register: reg1, SourceRegister: true})
}

// label masks all but one bit of the connection's label and matches if the result isn't this: given
// zeros it matches a label with the bit, given the bit one without it, or no label at all.
func (b *builder) label(bit int, not []byte) *builder {
	return b.add(&expr.Ct{Key: expr.CtKeyLABELS, Register: reg1}, and(labelBytes(bit)),
		&expr.Cmp{Op: expr.CmpOpNeq, Register: reg1, Data: not})
}

// Bits of ct state and ct status (include/uapi/linux/netfilter/nf_conntrack_common.h;
// NF_CT_STATE_BIT, IPS_DST_NAT), and directions (IP_CT_DIR_ORIGINAL, nf_conntrack_tuple_common.h).
const (
	stateInvalid     = 1 << 0
	stateEstablished = 1 << 1
	stateRelated     = 1 << 2
	stateNew         = 1 << 3
	stateUntracked   = 1 << 6
	statusExpected   = 1 << 0
	statusConfirmed  = 1 << 3
	statusDNAT       = 1 << 5

	directionOriginal, directionReply = 0, 1
)

// noConnection matches packets that belong to no connection.
func (b *builder) noConnection() *builder { return b.ctState(stateInvalid | stateUntracked) }

// translated matches packets of connections whose destination this host has translated.
func (b *builder) translated() *builder {
	return b.ctBits(expr.CtKeySTATUS, statusDNAT, expr.CmpOpNeq)
}
