package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Types of ICMP and ICMPv6 echo messages (RFC 792, RFC 4443).
const (
	echoReply4, echoRequest4 = 0, 8
	echoRequest6, echoReply6 = 128, 129
)

// layout has the offsets of the fields that identify a probe, from the beginning of its transport
// header.
type layout struct {
	size  int
	port  int // source port, echo identifier, or their substitute
	tag   int
	check int // checksum
}

// A probe of a protocol without ports has four zeros, its tag, a substitute for the source port,
// and a checksum. So do probes of GRE and ESP, although conntrack interprets their first bytes. The
// kernel doesn't answer a refused packet with a wrong checksum (nf_send_unreach), and it expects
// ICMP's checksum in all of these protocols.
func layoutOf(p Protocol) layout {
	switch p {
	case TCP:
		return layout{size: tcpSize, port: 0, tag: 4, check: 16}
	case UDP:
		return layout{size: udpSize + tagSize, port: 0, tag: udpSize, check: 6}
	case Ping:
		return layout{size: icmpSize + tagSize, port: 4, tag: icmpSize, check: 2}
	}
	return layout{size: 12, port: 8, tag: 4, check: 10}
}

// minPayload returns how many bytes include both port and tag.
func (l layout) minPayload() int { return max(l.port+2, l.tag+4) }

// reply parses a payload with this layout.
func (l layout) reply(source netip.Addr, payload []byte, a Answer) reply {
	return reply{source: source, port: binary.BigEndian.Uint16(payload[l.port:]),
		tag: binary.BigEndian.Uint32(payload[l.tag:]), answer: a}
}

// ipNumber returns the protocol number in the IP header.
func (p Protocol) ipNumber(six bool) Protocol {
	switch {
	case p != Ping:
		return p
	case six:
		return 58
	}
	return 1
}

func (p Protocol) hasPorts() bool { return p == TCP || p == UDP || p == SCTP }

// answerPortless recognises the answer to a probe of a protocol without ports, which is the probe
// sent back.
func (t *template) answerPortless(p packet, icmp Protocol) (reply, bool) {
	open := p.protocol == t.protocol.ipNumber(t.six) && p.from == t.to.Addr() &&
		len(p.payload) >= t.layout.minPayload()
	if open && t.protocol == Ping {
		want := byte(echoReply4)
		if t.six {
			want = echoReply6
		}
		open = p.payload[0] == want
	}
	switch {
	case open:
		return t.layout.reply(p.to, p.payload, Open), true
	case p.protocol == icmp:
		return t.readError(p.payload)
	}
	return reply{}, false
}

// ListenRaw sends every packet of a protocol without ports back to its source, for both families,
// from the address that it was sent to.
func (n *Node) ListenRaw(p Protocol) {
	n.t.Helper()
	for _, six := range []bool{false, true} {
		if err := n.listenRaw(p, six); err != nil {
			n.t.Fatalf("%s: listening to protocol %d: %v", n.Name, p, err)
		}
	}
}

func (n *Node) listenRaw(p Protocol, six bool) error {
	network, address, level, option := "ip4", "0.0.0.0", unix.SOL_IP, unix.IP_PKTINFO
	if six {
		network, address, level, option = "ip6", "::", unix.SOL_IPV6, unix.IPV6_RECVPKTINFO
	}
	pc, err := n.ListenPacket(fmt.Sprintf("%s:%d", network, p), address)
	if err != nil {
		return err
	}
	c := pc.(*net.IPConn)
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = errors.Join(unix.SetsockoptInt(int(fd), level, option, 1),
			setBuffer(int(fd), unix.SO_RCVBUF, unix.SO_RCVBUFFORCE, 4<<20))
	})
	if err := errors.Join(err, failed); err != nil {
		return err
	}
	go answerRaw(c, six, func(p []byte) []byte { return p })
	return nil
}

// answerRaw answers each packet with the result of reply, unless that is nil. It ends when the
// socket is closed, which happens when the node ends.
func answerRaw(c *net.IPConn, six bool, reply func([]byte) []byte) {
	buf, oob := make([]byte, 4096), make([]byte, 256)
	for {
		size, oobSize, _, from, err := c.ReadMsgIP(buf, oob)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP error for an earlier answer
		}
		p := buf[:size]
		if !six {
			ip, ok := parseIP(p, false)
			if !ok {
				continue
			}
			p = ip.payload
		}
		if answer := reply(p); answer != nil {
			_, _, _ = c.WriteMsgIP(answer, replySource(oob[:oobSize], six), from)
		}
	}
}

// SendRaw sends one packet of a protocol without ports, from any source address, and waits for
// nothing. The destination may be a group.
func (n *Node) SendRaw(iface string, p Protocol, source, to netip.Addr, payload []byte) {
	n.t.Helper()
	link := n.link(iface)
	t := template{six: to.Is6(), protocol: p, layout: layout{size: len(payload)}}
	frame := t.writeHeaders(link, netip.AddrPortFrom(to, 0))
	copy(frame[t.l4:], payload)
	copy(frame, groupMAC(to, link.gateway.MAC))
	if t.six {
		copy(frame[ethernetSize+8:], source.AsSlice())
	} else {
		ip := frame[ethernetSize:]
		copy(ip[12:], source.AsSlice())
		binary.BigEndian.PutUint16(ip[10:], ^foldChecksum(addChecksum(0, ip[:ipv4Size])))
	}
	err := n.Do(func() error {
		fd, err := packetSocket(link.Index, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		_, err = unix.Write(fd, frame)
		return err
	})
	if err != nil {
		n.t.Errorf("sending from %s to %v: %v", n.Name, to, err)
	}
}

// groupMAC returns the Ethernet address of a group (RFC 1112 §6.4, RFC 2464 §7), or unicast if the
// address is not a group.
func groupMAC(a netip.Addr, unicast net.HardwareAddr) net.HardwareAddr {
	b := a.AsSlice()
	switch {
	case !a.IsMulticast():
		return unicast
	case a.Is6():
		return net.HardwareAddr{0x33, 0x33, b[12], b[13], b[14], b[15]}
	}
	return net.HardwareAddr{1, 0, 0x5e, b[1] & 0x7f, b[2], b[3]}
}
