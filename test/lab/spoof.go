package lab

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"
)

// SpoofUDP sends one datagram from any address and port, and waits for nothing. The destination may
// be a group or an address on the link.
func (n *Node) SpoofUDP(iface string, from, to netip.AddrPort, payload string) {
	n.t.Helper()
	d := make([]byte, udpSize, udpSize+len(payload))
	binary.BigEndian.PutUint16(d, from.Port())
	binary.BigEndian.PutUint16(d[2:], to.Port())
	binary.BigEndian.PutUint16(d[4:], uint16(udpSize+len(payload)))
	d = append(d, payload...)
	sum := addChecksum(uint32(UDP)+uint32(len(d)), from.Addr().AsSlice())
	check := ^foldChecksum(addChecksum(addChecksum(sum, to.Addr().AsSlice()), d))
	if check == 0 {
		check = 0xffff // zero would mean "no checksum"
	}
	binary.BigEndian.PutUint16(d[6:], check)
	n.SendRaw(iface, UDP, from.Addr(), to.Addr(), d)
}

// SpeakUDP sends a datagram from a server's own socket and port to a group, through an interface.
// The server doesn't receive it; otherwise it would answer itself forever.
func (n *Node) SpeakUDP(iface string, s *UDPServer, to netip.AddrPort) {
	n.t.Helper()
	link := n.Link(iface)
	err := s.control(func(fd int) error {
		if to.Addr().Is4() {
			return errors.Join(
				unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_MULTICAST_LOOP, 0),
				unix.SetsockoptIPMreqn(
					fd,
					unix.SOL_IP,
					unix.IP_MULTICAST_IF,
					&unix.IPMreqn{Ifindex: int32(link.Index)},
				),
			)
		}
		return errors.Join(unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_MULTICAST_LOOP, 0),
			unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_MULTICAST_IF, link.Index))
	})
	if err == nil {
		// Without a zone, the interface set above is used.
		_, err = s.conn.WriteToUDPAddrPort([]byte("question"), to)
	}
	if err != nil {
		n.t.Errorf("asking %v from %s: %v", to, n.Name, err)
	}
}
