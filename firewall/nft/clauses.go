package nft

import (
	"fmt"
	"net/netip"

	"github.com/google/nftables/expr"
	"github.com/portgrave/portgrave/firewall"
	"golang.org/x/sys/unix"
)

// saddr matches a source prefix.
func (b *builder) saddr(f firewall.Family, p netip.Prefix) *builder { return b.prefix(f, p, false) }

// daddr matches a destination prefix.
func (b *builder) daddr(f firewall.Family, p netip.Prefix) *builder { return b.prefix(f, p, true) }

func (b *builder) prefix(f firewall.Family, p netip.Prefix, destination bool) *builder {
	if p.Bits() == 0 {
		return b.family(f)
	}
	text, side := p.String(), " saddr "
	if p.IsSingleIP() {
		text = p.Addr().String()
	}
	if destination {
		side = " daddr "
	}
	address, load := p.Masked().Addr().AsSlice(), loadAddress(f, destination)
	exprs := append(familyExprs(f), load)
	if whole := p.Bits() / 8; p.Bits()%8 == 0 { // as many bytes as count
		load.Len, address = uint32(whole), address[:whole]
	} else {
		exprs = append(exprs, &expr.Bitwise{SourceRegister: reg1, DestRegister: reg1, Len: load.Len,
			Mask: maskOf(f, p.Bits()).AsSlice(), Xor: make([]byte, load.Len)})
	}
	return b.add(headerName(f)+side+text, append(exprs, cmpEq(address))...)
}

// udpTo matches a destination port.
func (b *builder) udpTo(port uint16) *builder {
	return b.add(
		fmt.Sprintf("udp dport %d", port),
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg1},
		cmpEq([]byte{unix.IPPROTO_UDP}),
		&expr.Payload{
			OperationType: expr.PayloadLoad,
			DestRegister:  reg1,
			Base:          expr.PayloadBaseTransportHeader,
			Offset:        2,
			Len:           2,
		},
		cmpEq([]byte{byte(port >> 8), byte(port)}),
	)
}
