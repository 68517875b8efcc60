package exposure

import (
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

// number is the protocol number in the IP header.
func (q Question) number() uint64 {
	switch {
	case q.Protocol != firewall.Ping:
		return uint64(q.Protocol)
	case q.Family == address.IPv6:
		return uint64(firewall.ICMPv6)
	}
	return uint64(firewall.ICMP)
}

// port is what a rule reads as a port. In a protocol without ports, it is bytes of the payload that
// the sender chooses.
func (w *walk) port(ports Range, width int) view {
	if !w.q.Protocol.HasPorts() {
		return anyValue(width).maybeAbsent()
	}
	return between(ports, width)
}

// clientPort is the port that the client chose. For an answer, it records that a rule reads the
// port.
func (w *walk) clientPort(p *packet, width int) view {
	if w.reply != nil && w.q.Protocol.HasPorts() {
		w.reply.readsClient = true
	}
	return w.port(w.usualPorts(p), width)
}
