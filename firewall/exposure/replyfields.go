package exposure

import (
	"github.com/portgrave/portgrave/firewall"
)

// mirrored is the field of a first packet that corresponds to an answer's field.
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

// prepared is the index of a chain's rules for the walk's packets.
func (w *walk) prepared(c *chain) *prepared {
	if w.reply == nil {
		return &c.prepared
	}
	c.mirrored.Do(func() { c.mirror = w.e.prepare(c, true) })
	return &c.mirror
}

// sentByHost reports whether this host sent the packet, which then has no incoming interface.
func (w *walk) sentByHost() bool { return w.reply != nil && !w.reply.forwarded }

func noInterface(f Field, width int) view {
	if f == FieldInGroup {
		return absentValue(width)
	}
	return exactly(Value{}, width)
}

func (w *walk) tcpFlags() Bits {
	switch {
	case w.reply != nil:
		return Bits{Number(tcpSYN | tcpACK), Number(tcpFlagsKnown)}
	case w.q.later && !w.translating:
		return Bits{Number(tcpACK), Number(tcpFlagsKnown &^ tcpPSH)}
	}
	return Bits{Number(tcpSYN), Number(tcpFlagsKnown)}
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

// direction is the packet's direction in its connection.
func (w *walk) direction(p *packet, width int) view {
	switch {
	case w.reply == nil:
		return exactly(Value{}, width)
	case p.track == tracked:
		return exactly(Number(1), width)
	}
	return between(Numbers(0, 1), width)
}

// replyState is the state of an answer's connection.
func (w *walk) replyState(p *packet, width int) view {
	one := func(state uint64) view { return exactly(Number(state), width) }
	switch {
	case p.track == untracked:
		return one(ctUntracked)
	case w.phase == afterConntrack && p.track == tracked:
		return one(ctEstablished)
	case w.phase == afterConntrack && p.track == connectionNotFound:
		return one(ctInvalid)
	}
	return fromBits(
		Bits{Known: Ones(width).AndNot(Number(ctInvalid | ctEstablished | ctNew | ctUntracked))},
		width,
	)
}
