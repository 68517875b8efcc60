package denied

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"golang.org/x/sys/unix"
)

// packet is one reported packet.
type packet struct {
	time      time.Time
	action    Action
	service   string
	iface     string
	headers   // zero where the packet could not be parsed
	hasHeader bool
}

// headers are fields of a packet's IP and transport headers.
type headers struct {
	source, destination netip.Addr
	protocol            uint8 // the transport's IP protocol number
	sourcePort          uint16
	// port is the destination port. For ICMP it is the type in the upper byte and the code in the
	// lower.
	port uint16
}

// The IP protocol numbers that decodeIPv6 and protocolName need (IANA).
const (
	protocolHopByHop    = unix.IPPROTO_HOPOPTS
	protocolRouting     = unix.IPPROTO_ROUTING
	protocolFragment    = unix.IPPROTO_FRAGMENT
	protocolAH          = unix.IPPROTO_AH
	protocolDestination = unix.IPPROTO_DSTOPTS
	protocolMobility    = unix.IPPROTO_MH
	protocolICMP        = unix.IPPROTO_ICMP
	protocolICMPv6      = unix.IPPROTO_ICMPV6
)

// decodeHeaders parses an IP packet; b may be only its beginning. It allocates nothing. It reports
// whether b has an IP header; fields beyond the end of b stay zero.
func decodeHeaders(b []byte) (h headers, ok bool) {
	if len(b) == 0 {
		return h, false
	}
	switch b[0] >> 4 {
	case 4:
		return decodeIPv4(b)
	case 6:
		return decodeIPv6(b)
	}
	return h, false
}

// decodeIPv4 reads the header of RFC 791, section 3.1.
func decodeIPv4(b []byte) (h headers, ok bool) {
	const fixed, offsetMask = 20, 0x1fff
	size := int(b[0]&0x0f) * 4
	if len(b) < fixed || size < fixed {
		return h, false
	}
	h.source, h.destination = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
	h.protocol = b[9]
	if binary.BigEndian.Uint16(b[6:])&offsetMask != 0 || size > len(b) {
		return h, true // a later fragment has no transport header; otherwise b is too short
	}
	h.transport(b[size:])
	return h, true
}

// decodeIPv6 reads the header of RFC 8200, section 3, and walks the extension headers of section 4.
func decodeIPv6(b []byte) (h headers, ok bool) {
	const fixed, offsetMask = 40, 0xfff8
	if len(b) < fixed {
		return h, false
	}
	h.source, h.destination = netip.AddrFrom16([16]byte(b[8:24])),
		netip.AddrFrom16([16]byte(b[24:40]))
	h.protocol = b[6]
	b = b[fixed:]
	for {
		size := 0
		switch h.protocol {
		case protocolHopByHop, protocolRouting, protocolDestination, protocolMobility:
			if len(b) >= 8 {
				size = (int(b[1]) + 1) * 8
			}
		case protocolAH: // RFC 4302, section 2.2: the length is in words of four bytes, minus two
			if len(b) >= 8 {
				size = (int(b[1]) + 2) * 4
			}
		case protocolFragment:
			if len(b) >= 8 {
				size = 8
				if binary.BigEndian.Uint16(b[2:])&offsetMask != 0 {
					h.protocol = b[0]
					return h, true // a later fragment
				}
			}
		default:
			h.transport(b)
			return h, true
		}
		if size == 0 || size > len(b) {
			return h, true // the transport header is beyond the end of b
		}
		h.protocol, b = b[0], b[size:]
	}
}

// transport parses ports: TCP, UDP and SCTP begin with source and destination port, ICMP with type
// and code.
func (h *headers) transport(b []byte) {
	switch h.protocol {
	case uint8(firewall.TCP), uint8(firewall.UDP), uint8(firewall.SCTP):
		if len(b) >= 4 {
			h.sourcePort, h.port = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
		}
	case protocolICMP, protocolICMPv6:
		if len(b) >= 2 {
			h.port = binary.BigEndian.Uint16(b)
		}
	}
}

func isICMP(protocol uint8) bool { return protocol == protocolICMP || protocol == protocolICMPv6 }

func protocolName(protocol uint8) string {
	switch protocol {
	case uint8(firewall.TCP), uint8(firewall.UDP), uint8(firewall.SCTP):
		return firewall.Protocol(protocol).String()
	case protocolICMP:
		return "icmp"
	case protocolICMPv6:
		return "icmpv6"
	}
	return "protocol-" + strconv.Itoa(int(protocol))
}
