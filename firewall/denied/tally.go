package denied

import (
	"net/netip"
	"time"
)

// tally gathers packets, and what they have in common beyond their key.
type tally struct {
	count       uint64
	first, last time.Time
	read        bool // whether the headers of all could be read
	destination netip.Addr
	sourcePort  uint16
	iface       string
}

func (t *tally) add(p *packet) {
	t.count++
	if t.count == 1 {
		t.first, t.last = p.time, p.time
		t.read, t.destination, t.sourcePort, t.iface = p.hasHeader, p.destination, p.sourcePort, p.iface
		return
	}
	// Packets of several processors are not reported in their order.
	if p.time.Before(t.first) {
		t.first = p.time
	}
	if p.time.After(t.last) {
		t.last = p.time
	}
	t.read = t.read && p.hasHeader
	if t.destination != p.destination {
		t.destination = netip.Addr{}
	}
	if t.sourcePort != p.sourcePort {
		t.sourcePort = 0
	}
	if t.iface != p.iface {
		t.iface = ""
	}
}

func (t *tally) event(pk portKey, source netip.Addr) Event {
	e := Event{
		Time: t.first, Last: t.last, Action: pk.action, Service: pk.service, Source: source, SourcePort: t.sourcePort,
		Destination: t.destination, Interface: t.iface, Count: t.count,
	}
	if pk.coarse != 0 || !t.read {
		return e
	}
	e.Protocol = protocolName(pk.protocol)
	if isICMP(pk.protocol) {
		e.ICMP = &ICMP{Type: uint8(pk.port >> 8), Code: uint8(pk.port)}
	} else {
		e.Port = pk.port
	}
	return e
}
