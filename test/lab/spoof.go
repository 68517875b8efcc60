package lab

import (
	"encoding/binary"
	"net/netip"
)

// SpoofUDP sends one datagram from any address and port, and waits for nothing. The destination may be a
// group, or an address of the link.
func (n *Node) SpoofUDP(iface string, from, to netip.AddrPort, payload string) {
	n.t.Helper()
	d := make([]byte, udpSize, udpSize+len(payload))
	binary.BigEndian.PutUint16(d, from.Port())
	binary.BigEndian.PutUint16(d[2:], to.Port())
	binary.BigEndian.PutUint16(d[4:], uint16(udpSize+len(payload)))
	d = append(d, payload...)
	sum := add(uint32(UDP)+uint32(len(d)), from.Addr().AsSlice())
	check := ^fold(add(add(sum, to.Addr().AsSlice()), d))
	if check == 0 {
		check = 0xffff // zero would mean "no checksum"
	}
	binary.BigEndian.PutUint16(d[6:], check)
	n.SendRaw(iface, UDP, from.Addr(), to.Addr(), d)
}
