package exposure

import (
	"net/netip"
	"strings"

	"github.com/portgrave/portgrave/firewall/address"
)

// packet is one state of the evaluator: everything about a packet on its way except its source. It
// is comparable, so that ways which meet in the same state are recognised, and immutable once
// shared.
type packet struct {
	mark   Bits // 32
	ctMark Bits // 32
	label  Bits // 128
	zone   Bits // 16
	status Bits // 32

	// The current header, and both tuples of the connection: orig as it was at conntrack, reply
	// with the translations so far.
	now, orig, reply endpoint
	sport            Range

	// Whether the source in each tuple is the one asked about. SNAT and rewritten headers change
	// it.
	headerSource, origSource, replySource source

	track tracking
	// template: a rule before conntrack gave the packet a template with a zone. NoTrack treats it
	// as a connection.
	template Tri
	// local: the destination is one of the host's addresses; which one isn't known.
	local bool
	// moved: the destination may differ from the question's.
	moved bool
	// rewritten: a rule wrote a destination to the header, which the connection doesn't reflect.
	rewritten bool
	// headerUnknown: a rule wrote to bytes of the packet whose meaning isn't known.
	headerUnknown bool
	// written: a rule may have written to the IP header where the packet's way doesn't depend on it,
	// such as TTL.
	written bool
	// unusual: no ordinary packet goes this way: see usual.go.
	unusual bool
	// natted: a NAT chain of this hook set up a translation.
	natted Tri
	// tproxy: the socket of a transparent proxy, at proxy, takes the packet if routing agrees.
	tproxy Tri
	proxy  endpoint

	out      outgoing
	outIndex int // of a known outgoing interface

	// tunnelled: routing leads an answer into a tunnel for all traffic: see tunnelTakesReply.
	tunnelled bool
	// While a chain runs behind which the kernel may route an answer again (see chain.reroutes):
	// the mark before the chain, and whether the chain has changed the header.
	markBefore Bits
	touched    Tri
}

// endpoint is an address and a port, each as the range that it lies in.
type endpoint struct{ addr, port Range }

func (e endpoint) join(o endpoint) endpoint {
	return endpoint{hull(e.addr, o.addr), hull(e.port, o.port)}
}

func (e endpoint) known() bool { return e.addr.From == e.addr.To && e.port.From == e.port.To }

// meets reports whether both may be equal.
func (e endpoint) meets(o endpoint) bool {
	return e.addr.From.Compare(o.addr.To) <= 0 && o.addr.From.Compare(e.addr.To) <= 0 &&
		e.port.From.Compare(o.port.To) <= 0 &&
		o.port.From.Compare(e.port.To) <= 0
}

func hull(a, b Range) Range { return Range{earlier(a.From, b.From), later(a.To, b.To)} }

// source is what stands in a source address field.
type source uint8

const (
	sourceOwn    source = iota // the address asked about
	sourceOther                // another address, which isn't known
	sourceEither               // either, after ways were merged
)

// tracking is whether the packet has, or will have, a connection.
type tracking uint8

const (
	tracked tracking = iota
	untracked
	perhapsTracked
	connectionNotFound // an answer whose connection isn't found, so that conntrack makes it invalid
)

// outgoing is what is known of the outgoing interface.
type outgoing uint8

const (
	outNone outgoing = iota // none, up to input
	outKnown
	outUnknown
)

// ctStatusKnown are the bits of FieldCTStatus that are known for a first packet: expected,
// seen-reply, assured, confirmed, snat and dnat (enum ip_conntrack_status,
// include/uapi/linux/netfilter/nf_conntrack_common.h). The others depend on helpers, offload and on
// how NAT is set up.
const ctStatusKnown = 1 | 2 | 4 | 8 | ctSNAT | ctDNAT

const (
	ctSeenReply = 2  // IPS_SEEN_REPLY
	ctAssured   = 4  // IPS_ASSURED
	ctConfirmed = 8  // IPS_CONFIRMED
	ctSNAT      = 16 // IPS_SRC_NAT
	ctDNAT      = 32 // IPS_DST_NAT
)

// newPacket is the packet of a question as it arrives.
func newPacket(q Question) *packet {
	p := &packet{
		mark:   Known(Value{}, 32),
		ctMark: Known(Value{}, 32),
		label:  Known(Value{}, 128),
		zone:   Known(Value{}, 16),
		status: Bits{Known: Number(ctStatusKnown)},
		sport:  Full(16),
	}
	p.now = endpoint{Full(addressWidth(q.Family)), One(Number(uint64(q.Port)))}
	if q.Destination.IsValid() {
		p.now.addr = One(Address(q.Destination))
	} else {
		p.local = true
		if q.Within != (Range{}) {
			p.now.addr = q.Within
		}
	}
	if q.later { // the first packet's rules may have set these
		p.ctMark, p.label = Bits{}, Bits{}
		p.status = Bits{
			Number(ctSeenReply | ctConfirmed), Number(ctStatusKnown &^ uint64(ctAssured)),
		}
	}
	p.orig, p.reply = p.now, p.now
	return p
}

func addressWidth(f address.Family) int {
	if f == address.IPv6 {
		return 128
	}
	return 32
}

// afterAnyEffect is the packet after a rule that may have changed anything.
func (p packet) afterAnyEffect(width int, beforeConntrack bool) *packet {
	p.mark, p.ctMark, p.label, p.zone, p.status = Bits{}, Bits{}, Bits{}, Bits{}, Bits{}
	anywhere := endpoint{Full(width), Full(16)}
	p.now, p.sport = anywhere, Full(16)
	p.headerSource = sourceOther
	p.reply, p.replySource = anywhere, sourceOther
	if beforeConntrack {
		p.orig, p.origSource, p.track = anywhere, sourceOther, perhapsTracked
	}
	p.local, p.moved, p.rewritten, p.headerUnknown = false, true, true, true
	p.natted, p.template = p.natted.Or(Maybe), Maybe
	p.tproxy, p.proxy = Maybe, anywhere
	return &p
}

// join returns a state that covers both.
func (p *packet) join(o *packet) *packet {
	if *p == *o {
		return p
	}
	j := *p
	j.mark, j.ctMark, j.zone, j.status = p.mark.Join(
		o.mark,
	), p.ctMark.Join(
		o.ctMark,
	), p.zone.Join(
		o.zone,
	), p.status.Join(
		o.status,
	)
	j.label = p.label.Join(o.label)
	j.now, j.orig, j.reply, j.sport = p.now.join(
		o.now,
	), p.orig.join(
		o.orig,
	), p.reply.join(
		o.reply,
	), hull(
		p.sport,
		o.sport,
	)
	j.headerSource, j.origSource, j.replySource = max(
		p.headerSource,
		o.headerSource,
	), max(
		p.origSource,
		o.origSource,
	), max(
		p.replySource,
		o.replySource,
	)
	if p.headerSource != o.headerSource {
		j.headerSource = sourceEither
	}
	if p.track != o.track {
		j.track = perhapsTracked
	}
	j.local = p.local && o.local
	j.moved = p.moved || o.moved || p.local != o.local
	j.rewritten = p.rewritten || o.rewritten
	j.headerUnknown = p.headerUnknown || o.headerUnknown
	j.written, j.unusual = p.written || o.written, p.unusual && o.unusual
	j.natted = joinTri(p.natted, o.natted)
	j.tunnelled = p.tunnelled || o.tunnelled
	j.markBefore, j.touched = p.markBefore.Join(o.markBefore), joinTri(p.touched, o.touched)
	j.tproxy = joinTri(p.tproxy, o.tproxy)
	j.template = joinTri(p.template, o.template)
	switch {
	case p.tproxy == No:
		j.proxy = o.proxy
	case o.tproxy != No:
		j.proxy = p.proxy.join(o.proxy)
	}
	if p.out != o.out || p.outIndex != o.outIndex {
		j.out, j.outIndex = outUnknown, 0
	}
	return &j
}

func joinTri(a, b Tri) Tri {
	if a == b {
		return a
	}
	return Maybe
}

// within is the range of a target's addresses and ports, for people; "" if it may be any address.
func (p *packet) within(width int) string {
	if p.now.addr == Full(width) || p.headerUnknown {
		return ""
	}
	return strings.TrimPrefix(targetText(width, p.now), "to ")
}

// narrowed reports whether rules have only narrowed down which of the host's addresses it is for.
func (p *packet) narrowed(delivered bool) bool {
	return p.local && !p.moved && !(delivered && p.tproxy != No)
}

// target is the packet's destination, as an Answer has it.
func (p *packet) target(q Question, delivered bool) netip.AddrPort {
	at := p.now
	if delivered && p.tproxy == Yes {
		at = p.proxy
	} else if delivered && p.tproxy == Maybe {
		at = at.join(p.proxy)
	}
	port, _ := at.port.From.Uint64()
	switch {
	case at.known() && q.Family == address.IPv6:
		return netip.AddrPortFrom(at.addr.From.IPv6(), uint16(port))
	case at.known():
		return netip.AddrPortFrom(at.addr.From.IPv4(), uint16(port))
	case p.local && at.port.From == at.port.To:
		return netip.AddrPortFrom(netip.Addr{}, uint16(port))
	}
	return netip.AddrPort{}
}
