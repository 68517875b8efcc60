package nft

import (
	"net/netip"

	"github.com/portgrave/portgrave/firewall/address"
)

// saddr matches a source prefix.
func (b *builder) saddr(f address.Family, p netip.Prefix) *builder { return b.prefix(f, p, false) }

// daddr matches a destination prefix.
func (b *builder) daddr(f address.Family, p netip.Prefix) *builder { return b.prefix(f, p, true) }

func (b *builder) prefix(f address.Family, p netip.Prefix, destination bool) *builder {
	b.family(f)
	if p.Bits() == 0 {
		return b
	}
	address, load := p.Masked().Addr().AsSlice(), loadAddress(f, destination)
	if whole := p.Bits() / 8; p.Bits()%8 == 0 { // as many bytes as count
		load.Len, address = uint32(whole), address[:whole]
		return b.add(load, cmpEq(address))
	}
	return b.add(load, and(maskOf(f, p.Bits()).AsSlice()), cmpEq(address))
}

func familyOf(p netip.Prefix) address.Family {
	if p.Addr().Is4() {
		return address.IPv4
	}
	return address.IPv6
}
