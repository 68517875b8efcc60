package denied

import (
	"net/netip"
	"time"
)

// tally counts packets, and keeps the fields that are equal in all of them.
type tally struct {
	count       uint64
	first, last time.Time
	allReadable bool // the headers of all packets could be parsed
	destination netip.Addr
	sourcePort  uint16
	iface       string
}

func (t *tally) add(p *packet) {
	t.count++
	if t.count == 1 {
		t.first, t.last = p.time, p.time
		t.allReadable, t.iface = p.hasHeader, p.iface
		t.destination, t.sourcePort = p.destination, p.sourcePort
		return
	}
	// Reports of several processors may come out of order.
	if p.time.Before(t.first) {
		t.first = p.time
	}
	if p.time.After(t.last) {
		t.last = p.time
	}
	t.allReadable = t.allReadable && p.hasHeader
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
		Time: t.first, Last: t.last, Action: pk.action, Service: pk.service,
		Source: source, SourcePort: t.sourcePort,
		Destination: t.destination, Interface: t.iface, Count: t.count,
	}
	if pk.scope != onePort || !t.allReadable {
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
