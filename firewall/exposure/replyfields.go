package exposure

import (
	"github.com/portgrave/portgrave/firewall"
)

// mirrored is the field of a first packet's state that an answer's field is found in.
func mirrored(f Field) Field {
	switch f {
	case FieldSource4:
		return FieldDest4
	case FieldDest4:
		return FieldSource4
	case FieldSource6:
		return FieldDest6
	case FieldDest6:
		return FieldSource6
	case FieldSport:
		return FieldDport
	case FieldDport:
		return FieldSport
	}
	return f
}

func (w *walk) mirrored(f Field) Field {
	if w.reply == nil {
		return f
	}
	return mirrored(f)
}

// prepared is a chain's rules for the packets that the walk is about.
func (w *walk) prepared(c *chain) *prepared {
	if w.reply == nil {
		return &c.prepared
	}
	c.mirrored.Do(func() { c.mirror = w.e.prepare(c, true) })
	return &c.mirror
}

// sends reports whether the packet comes from this host, so that it has no incoming interface.
func (w *walk) sends() bool { return w.reply != nil && !w.reply.forwarded }

func noInterface(f Field, width int) view {
	if f == FieldInGroup {
		return missing(width)
	}
	return sure(Value{}, width)
}

func (w *walk) tcpFlags() uint64 {
	if w.reply != nil {
		return tcpSYN | tcpACK
	}
	return tcpSYN
}

func (w *walk) icmpType() uint64 {
	switch {
	case w.q.ICMPType != 0:
		return uint64(w.q.ICMPType)
	case w.reply == nil:
		return uint64(firewall.EchoRequest(w.q.Family).Type)
	case w.isFour():
		return 0 // ICMP_ECHOREPLY
	}
	return 129 // ICMPV6_ECHO_REPLY
}

// direction is the direction in which a packet goes through its connection.
func (w *walk) direction(p *packet, width int) view {
	switch {
	case w.reply == nil:
		return sure(Value{}, width)
	case p.track == tracked:
		return sure(Number(1), width)
	}
	return between(Numbers(0, 1), width)
}

// replyState is the state of an answer's connection.
func (w *walk) replyState(p *packet, width int) view {
	one := func(state uint64) view { return sure(Number(state), width) }
	switch {
	case p.track == untracked:
		return one(ctUntracked)
	case w.phase == afterConntrack && p.track == tracked:
		return one(ctEstablished)
	case w.phase == afterConntrack && p.track == strayed:
		return one(ctInvalid)
	}
	return partly(
		Bits{Known: Ones(width).AndNot(Number(ctInvalid | ctEstablished | ctNew | ctUntracked))},
		width,
	)
}
