package lab

import (
	"encoding/binary"
	"net/netip"
)

// Offsets and sizes of the headers, in bytes (IEEE 802.3, RFC 791, RFC 8200, RFC 9293, RFC 768).
const (
	ethernetSize = 14
	ipv4Size     = 20
	ipv6Size     = 40
	tcpSize      = 24 // with one option
	udpSize      = 8
	tagSize      = 4 // payload of a UDP probe
	icmpSize     = 8
)

// TCP flags.
const (
	tcpSYN = 0x02
	tcpRST = 0x04
	tcpACK = 0x10
)

// Ethernet types.
const (
	etherIPv4 = 0x0800
	etherIPv6 = 0x86dd
)

// template is a probe's frame. Only source, source port, tag and checksum change. The tag is a TCP
// sequence number or a UDP payload, which comes back with the answer.
type template struct {
	six      bool
	protocol Protocol
	to       netip.AddrPort
	frame    []byte
	rest     []byte // the second fragment, if the frame is the first
	ip, l4   int    // offsets of the headers
	sum      uint32
	layout   layout
}

// newTemplate returns a probe to an address, framed for a link.
func newTemplate(l *Link, p Protocol, to netip.AddrPort) *template {
	t := &template{six: to.Addr().Is6(), protocol: p, to: to, ip: ethernetSize, layout: layoutOf(p)}
	t.frame = t.writeHeaders(l, to)
	size := t.layout.size

	l4 := t.frame[t.l4:]
	switch p {
	case UDP:
		binary.BigEndian.PutUint16(l4[2:], to.Port())
		binary.BigEndian.PutUint16(l4[4:], uint16(size))
	case TCP:
		binary.BigEndian.PutUint16(l4[2:], to.Port())
		l4[12] = tcpSize / 4 << 4
		l4[13] = tcpSYN
		binary.BigEndian.PutUint16(l4[14:], 64240)          // window
		copy(l4[20:], []byte{2, 4, 1420 >> 8, 1420 & 0xff}) // maximum segment size
	}
	if p == Ping {
		l4[0] = echoRequest4
		if t.six {
			l4[0] = echoRequest6
		}
	}
	// The pseudo-header: destination, protocol, length. The source is added to each probe.
	t.sum = addChecksum(uint32(p.ipNumber(t.six))+uint32(size), to.Addr().AsSlice())
	return t
}

// writeHeaders returns a frame with all headers but the transport's. Source and checksum are empty.
func (t *template) writeHeaders(l *Link, to netip.AddrPort) []byte {
	size, wire := t.layout.size, t.protocol.ipNumber(t.six)
	kind := uint16(etherIPv4)
	t.l4 = ethernetSize + ipv4Size
	if t.six {
		kind, t.l4 = etherIPv6, ethernetSize+ipv6Size
	}
	frame := make([]byte, t.l4+size)
	copy(frame, l.gateway.MAC)
	copy(frame[6:], l.MAC)
	binary.BigEndian.PutUint16(frame[12:], kind)

	ip := frame[ethernetSize:]
	if t.six {
		ip[0] = 0x60
		binary.BigEndian.PutUint16(ip[4:], uint16(size))
		ip[6], ip[7] = byte(wire), usualHops
		copy(ip[24:], to.Addr().AsSlice())
	} else {
		ip[0] = 0x45
		binary.BigEndian.PutUint16(ip[2:], uint16(ipv4Size+size))
		ip[6] = 0x40 // don't fragment
		ip[8], ip[9] = usualHops, byte(wire)
		copy(ip[16:], to.Addr().AsSlice())
	}
	return frame
}

// setHops sets the TTL or hop limit.
func (t *template) setHops(n uint8) {
	at := 8
	if t.six {
		at = 7
	}
	t.frame[t.ip+at] = n
}

// fill turns the frame into a probe from one source.
func (t *template) fill(source netip.Addr, port uint16, tag uint32) {
	var raw []byte
	if t.six {
		a := source.As16()
		raw = t.frame[t.ip+8 : t.ip+24]
		copy(raw, a[:])
		if t.rest != nil {
			copy(t.rest[t.ip+8:], a[:])
		}
	} else {
		a := source.As4()
		ip := t.frame[t.ip:]
		raw = ip[12:16]
		copy(raw, a[:])
		ip[10], ip[11] = 0, 0
		binary.BigEndian.PutUint16(ip[10:], ^foldChecksum(addChecksum(0, ip[:ipv4Size])))
	}
	l4 := t.frame[t.l4:]
	binary.BigEndian.PutUint16(l4[t.layout.port:], port)
	binary.BigEndian.PutUint32(l4[t.layout.tag:], tag)
	check := t.layout.check
	l4[check], l4[check+1] = 0, 0
	sum := addChecksum(addChecksum(t.sum, raw), l4)
	if !t.protocol.hasPorts() && !t.six {
		sum = addChecksum(0, l4) // ICMP has no pseudo-header
	}
	sum = uint32(^foldChecksum(sum))
	if sum == 0 && t.protocol == UDP {
		sum = 0xffff // zero would mean "no checksum"
	}
	binary.BigEndian.PutUint16(l4[check:], uint16(sum))
}

// addChecksum sums 16-bit words for the Internet checksum (RFC 1071); foldChecksum finishes it.
func addChecksum(sum uint32, b []byte) uint32 {
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	return sum
}

func foldChecksum(sum uint32) uint16 {
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

// reply is an answer to a probe.
type reply struct {
	source netip.Addr // of the probe, to which the answer was sent
	port   uint16
	tag    uint32
	answer Answer
}

// read recognises the answer to a probe of this template. The frame starts with the Ethernet
// header, and may have any content.
func (t *template) read(frame []byte) (reply, bool) {
	p, ok := parse(frame)
	if !ok {
		return reply{}, false
	}
	return t.answer(p)
}

// answer is read for a parsed frame.
func (t *template) answer(p packet) (reply, bool) {
	if p.six != t.six {
		return reply{}, false
	}
	icmp := Protocol(1)
	if t.six {
		icmp = 58
	}
	switch {
	case !t.protocol.hasPorts():
		return t.answerPortless(p, icmp)
	case p.protocol == t.protocol:
		if p.from != t.to.Addr() || len(p.payload) < udpSize ||
			binary.BigEndian.Uint16(p.payload) != t.to.Port() {
			return reply{}, false
		}
		r := reply{source: p.to, port: binary.BigEndian.Uint16(p.payload[2:]), answer: Open}
		if t.protocol == UDP {
			// The echo ends with the payload of the probe.
			r.tag = binary.BigEndian.Uint32(p.payload[len(p.payload)-tagSize:])
			return r, true
		}
		if len(p.payload) < 20 {
			return reply{}, false
		}
		r.tag = binary.BigEndian.Uint32(p.payload[8:]) - 1 // the acknowledgement counts the SYN
		switch flags := p.payload[13]; {
		case flags&tcpRST != 0:
			r.answer = Refused
		case flags&(tcpSYN|tcpACK) != tcpSYN|tcpACK:
			return reply{}, false
		}
		return r, true
	case p.protocol == icmp:
		return t.readError(p.payload)
	}
	return reply{}, false
}

// readError recognises an ICMP error by the probe that it quotes.
func (t *template) readError(message []byte) (reply, bool) {
	if len(message) < icmpSize {
		return reply{}, false
	}
	answer, ok := icmpAnswer(t.six, message[0], message[1])
	if !ok {
		return reply{}, false
	}
	p, ok := parseIP(message[icmpSize:], t.six)
	if !ok || p.protocol != t.protocol.ipNumber(t.six) || p.to != t.to.Addr() ||
		len(p.payload) < t.layout.minPayload() {
		return reply{}, false
	}
	if t.protocol.hasPorts() && binary.BigEndian.Uint16(p.payload[2:]) != t.to.Port() {
		return reply{}, false
	}
	return t.layout.reply(p.from, p.payload, answer), true
}

// packet is an IP packet, without extension headers.
type packet struct {
	six      bool
	protocol Protocol
	from, to netip.Addr
	payload  []byte
}

func parse(frame []byte) (packet, bool) {
	if len(frame) < ethernetSize {
		return packet{}, false
	}
	switch binary.BigEndian.Uint16(frame[12:]) {
	case etherIPv4:
		return parseIP(frame[ethernetSize:], false)
	case etherIPv6:
		return parseIP(frame[ethernetSize:], true)
	}
	return packet{}, false
}

// parseIP parses an IP packet. An ICMP error may quote only its beginning, so the payload may be
// cut.
func parseIP(b []byte, six bool) (packet, bool) {
	if six {
		if len(b) < ipv6Size || b[0]>>4 != 6 {
			return packet{}, false
		}
		p := packet{
			six:      true,
			protocol: Protocol(b[6]),
			from:     netip.AddrFrom16([16]byte(b[8:24])),
			to:       netip.AddrFrom16([16]byte(b[24:40])),
		}
		p.payload = b[ipv6Size:min(len(b), ipv6Size+int(binary.BigEndian.Uint16(b[4:])))]
		return p, true
	}
	if len(b) < ipv4Size || b[0]>>4 != 4 {
		return packet{}, false
	}
	header, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	if header < ipv4Size || len(b) < header || total < header {
		return packet{}, false
	}
	p := packet{
		protocol: Protocol(b[9]),
		from:     netip.AddrFrom4([4]byte(b[12:16])),
		to:       netip.AddrFrom4([4]byte(b[16:20])),
	}
	p.payload = b[header:min(len(b), total)]
	return p, true
}
