package exposure

import (
	"github.com/portgrave/portgrave/firewall"
)

// replying is what the walk of an answer knows of the first packet.
type replying struct {
	first     *packet // in its final state
	dialled   endpoint
	arrived   string // the interface by which it came
	forwarded bool   // the answer comes from another machine
	vrf       bool   // a VRF is on the way, whose routing isn't followed
	recognised,
	undone bool // conntrack and NAT have run at this hook
	// clients are the ports that a client may have. readsClient: a rule has read the port.
	clients     Range
	readsClient bool
}

// replyWalk prepares the walk of the answer to a packet that got through.
func (w *walk) replyWalk(f flow, o Outcome) (*walk, *packet) {
	q := w.q
	q.Interface = ""
	r := &walk{e: w.e, doubts: map[doubtKey]*doubt{}, picker: w.picker,
		reply: &replying{
			first:     f.packet,
			dialled:   newPacket(w.q).now,
			forwarded: o == Forwarded,
			clients:   clientPorts,
		}}
	if out := w.e.host.ByIndex(f.packet.outIndex); o == Forwarded && f.packet.out == outKnown &&
		out != nil {
		q.Interface = out.Name
	}
	// The interface matters where link-local clients get their answer by the interface that they
	// came by, where a tunnel might take the answer, and where ARP is filtered. Without a host,
	// answers are assumed to leave where packets come in.
	if !w.isFour() || w.e.fib == nil || w.e.fib.tunnels || w.e.seesARP || w.e.arp.Chain != nil {
		r.reply.arrived = w.q.Interface
	}
	r.q, r.in = q, w.e.host.Interface(q.Interface)
	r.reply.vrf = w.e.host.inVRF(w.in) || w.e.host.inVRF(r.in)
	p := *f.packet
	p.mark = Known(Value{}, 32)
	if r.reply.keepsMark(r) {
		p.mark = f.packet.mark
	}
	p.zone, p.template, p.track = Known(Value{}, 16), No, tracked
	p.written, p.unusual = false, false // another packet
	p.out, p.outIndex, p.natted, p.tproxy, p.proxy = outNone, 0, No, No, endpoint{}
	if f.packet.tproxy != No {
		p.now = f.packet.orig // a transparent proxy answers from the dialled address
	}
	if p.headerSource == sourceOwn {
		p.sport = within(p.sport, clientPorts)
	}
	return r, &p
}

// within limits a client's ports to the usual ones, if it may have one.
func within(r, ports Range) Range {
	usual := Range{later(r.From, ports.From), earlier(r.To, ports.To)}
	if usual.From.Compare(usual.To) > 0 {
		return r
	}
	return usual
}

// inVRF reports whether an interface is a VRF or in one.
func (h *Host) inVRF(i *Interface) bool {
	if i == nil {
		return false
	}
	master := h.ByIndex(i.Master)
	return i.Kind == "vrf" || master != nil && master.Kind == "vrf"
}

// keepsMark reports whether an answer from this host has the mark of the packet that it answers.
func (r *replying) keepsMark(w *walk) bool {
	h := w.e.host
	switch {
	case h == nil || r.forwarded:
		return false
	case w.q.Protocol == firewall.TCP:
		return h.TCPMarkAccept
	case w.q.Protocol == firewall.Ping && w.isFour():
		return h.MarkReflect4
	case w.q.Protocol == firewall.Ping:
		return h.MarkReflect6
	}
	return false
}
