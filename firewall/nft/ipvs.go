package nft

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables/expr"
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/pipeline"
	"golang.org/x/sys/unix"
)

// Services of IPVS at addresses that the host holds for it alone (firewall.VirtualService). A
// packet to one reaches hook input, and IPVS takes it there, behind us: at NF_IP_PRI_NAT_SRC - 2 =
// 98 (net/netfilter/ipvs/ip_vs_core.c). No service's rules are asked if the packet comes from the
// host's own workloads, and deny does not refuse it. What IPVS then sends out never passes hook
// forward.

func virtualSet(f address.Family) string { return "virtual/" + f.String() }

// virtualType is the type of a key "address . protocol . port": six bits for each part.
func virtualType(address uint32) uint32 {
	return address<<12 | typeInetProto<<6 | typeInetService
}

// virtualKey is a key of the set: each part takes a multiple of four bytes.
func virtualKey(v firewall.VirtualService) []byte {
	key := v.At.Addr().AsSlice()
	key = append(key, byte(v.Protocol), 0, 0, 0)
	return append(binary.BigEndian.AppendUint16(key, v.At.Port()), 0, 0)
}

// virtualOf reads such a key; false if the key is not valid.
func virtualOf(key []byte, f address.Family) (v firewall.VirtualService, ok bool) {
	n := len(key) - 8
	if n != map[address.Family]int{address.IPv4: 4, address.IPv6: 16}[f] {
		return v, false
	}
	a, _ := netip.AddrFromSlice(key[:n])
	v.Protocol = firewall.Protocol(key[n])
	v.At = netip.AddrPortFrom(a, binary.BigEndian.Uint16(key[n+4:]))
	return v, string(virtualKey(v)) == string(key)
}

func diffVirtual(want, have []firewall.VirtualService) (add, remove []firewall.VirtualService) {
	return address.DiffSorted(want, have, firewall.VirtualService.Compare,
		func(a, b firewall.VirtualService) bool { return true })
}

func virtualChanges(a firewall.Action, f address.Family,
	list []firewall.VirtualService) []firewall.Change {
	return pipeline.Elements(a, "", f, len(list), func(i int) string { return list[i].String() })
}

// servedByIPVS matches packets to services of IPVS.
func (b *builder) servedByIPVS(f address.Family) *builder {
	set := virtualSet(f)
	protocol, port := uint32(reg9), uint32(reg9+1)
	if f == address.IPv6 { // the address takes all of reg1
		protocol, port = unix.NFT_REG_2, unix.NFT_REG32_05
	}
	return b.family(f).add(loadAddress(f, true),
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: protocol},
		loadTransport(port, destinationPortOffset, 2), lookup(set))
}

// at matches the destination of packets that an earlier clause has found to be of this family.
func (b *builder) at(f address.Family, set string) *builder {
	return b.add(loadAddress(f, true), lookup(set))
}

// virtualSets make the sets of such services, one a family that has some.
func (c *compiler) virtualSets() {
	for _, f := range address.Families {
		if list := c.state.VirtualIn(f); len(list) > 0 {
			c.set(virtualSet(f), &set{family: f, kind: kindVirtual, spec: specOf(kindVirtual, f),
				virtual: list})
		}
	}
}
