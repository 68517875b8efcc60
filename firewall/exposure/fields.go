package exposure

import (
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

// Bits of FieldCTState: NF_CT_STATE_*_BIT as nft has them.
const (
	ctInvalid     = 1
	ctEstablished = 2
	ctNew         = 8
	ctUntracked   = 64
)

// Flags of a first packet's TCP header: SYN; whether it offers ECN (ECE 64, CWR 128) is the
// client's choice.
const (
	tcpSYN        = 2
	tcpPSH        = 8
	tcpACK        = 16
	tcpFlagsKnown = 0x3f
)

// field is what is known of a field other than the source, before the operand's own arithmetic.
func (w *walk) field(p *packet, o Operand) view {
	width := o.Width()
	o.Field = w.mirrored(o.Field)
	four := w.q.Family == address.IPv4
	only := func(here bool, v view) view {
		if !here {
			return absentValue(width)
		}
		return v
	}
	header := func(v view) view { // a rule that wrote to the packet may have changed it
		if p.headerUnknown {
			return anyValue(width).maybeAbsent()
		}
		return v
	}
	connection := func(v view) view {
		v.absent = v.absent.Or(w.noConnection(p))
		return v
	}
	switch o.Field {
	case FieldNone:
		return exactly(Value{}, width)
	case FieldInName, FieldInIndex, FieldInGroup:
		return w.incoming(o.Field, width)
	case FieldInKind, FieldInSlave:
		return w.incomingKind(o.Field, width)
	case FieldOutName, FieldOutIndex, FieldOutGroup:
		return w.leaving(p, o.Field, width)
	case FieldPhysIn, FieldPhysOut, FieldPhysBridged:
		return w.physical(o.Field, width)
	case FieldSourceMAC, FieldDestMAC:
		switch {
		case w.in == nil:
			return anyValue(width).maybeAbsent()
		case !w.in.Ethernet || w.in.Loopback:
			return absentValue(width)
		}
		return anyValue(width)
	case FieldEtherType:
		if four {
			return exactly(Number(0x0800), width)
		}
		return exactly(Number(0x86dd), width)
	case FieldPacketType:
		return w.packetType(width)
	case FieldNFProto:
		if four {
			return exactly(Number(uint64(FamilyIPv4)), width)
		}
		return exactly(Number(uint64(FamilyIPv6)), width)
	case FieldSource4:
		return only(four, anyValue(width))
	case FieldSource6:
		return only(!four, anyValue(width))
	case FieldDest4:
		return only(four, between(p.now.addr, width))
	case FieldDest6:
		return only(!four, between(p.now.addr, width))
	case FieldFragment:
		return header(exactly(Value{}, width))
	case FieldProtocol:
		return header(exactly(Number(w.q.number()), width))
	case FieldSport:
		return w.clientPort(p, width)
	case FieldDport:
		return w.port(p.now.port, width)
	case FieldTCPFlags:
		return only(
			w.q.Protocol == firewall.TCP,
			header(fromBits(w.tcpFlags(), width)),
		)
	case FieldICMPType:
		return only(
			w.q.Protocol == firewall.Ping,
			exactly(Number(w.icmpType()), width),
		)
	case FieldICMPCode:
		return only(w.q.Protocol == firewall.Ping, exactly(Value{}, width))
	case FieldLength:
		if !w.ordinary || !w.knowsLength() {
			return anyValue(width)
		}
		from, to := w.usualLength()
		return between(Numbers(from, to), width)
	case FieldHeaders:
		return only(!four, header(w.headers(p, width)))
	case FieldCTState:
		return w.state(p, width)
	case FieldCTStatus:
		return connection(fromBits(p.status, width))
	case FieldCTDirection:
		return connection(w.direction(p, width))
	case FieldCTMark:
		return connection(fromBits(p.ctMark, width))
	case FieldCTLabel:
		return connection(fromBits(p.label, width))
	case FieldCTZone:
		return connection(fromBits(p.zone, width))
	case FieldCTProtocol:
		return connection(exactly(Number(w.q.number()), width))
	case FieldCTOrigSource4, FieldCTReplyDest4:
		return only(four, connection(anyValue(width)))
	case FieldCTOrigSource6, FieldCTReplyDest6:
		return only(!four, connection(anyValue(width)))
	case FieldCTOrigDest4:
		return only(four, connection(between(p.orig.addr, width)))
	case FieldCTOrigDest6:
		return only(!four, connection(between(p.orig.addr, width)))
	case FieldCTOrigSport:
		return connection(w.clientPort(p, width))
	case FieldCTOrigDport:
		return connection(w.port(p.orig.port, width))
	case FieldCTReplySource4:
		return only(four, connection(between(p.reply.addr, width)))
	case FieldCTReplySource6:
		return only(!four, connection(between(p.reply.addr, width)))
	case FieldCTReplySport:
		return connection(between(p.reply.port, width))
	case FieldCTReplyDport:
		if p.replySource != sourceOwn { // source NAT may have chosen another port
			return connection(anyValue(width))
		}
		return connection(w.clientPort(p, width))
	case FieldMark:
		return fromBits(p.mark, width)
	case FieldUnknown:
		if o.Max.IsZero() {
			return anyValue(width).maybeAbsent()
		}
		return between(Range{Value{}, o.Max}, width)
	}
	if o.Field == FieldRaw && !p.headerUnknown {
		switch {
		case o.Raw.Base == RawNetwork:
			if v, ok := w.usualHeader(p, o.Raw); ok {
				return v
			}
			return w.networkHeader(p, o.Raw)
		case o.Raw.Base >= RawExtension:
			return w.option(p, o.Raw)
		}
	}
	return anyValue(width).maybeAbsent() // FieldRaw: the header may be absent too
}

// networkHeader is what is known of bits of the fixed IP header. The sender chooses all but the
// version and IPv6's next header.
func (w *walk) networkHeader(p *packet, r Raw) view {
	six := w.q.Family == address.IPv6
	length := 20
	if six {
		length = 40
	}
	switch {
	case r.Offset < 0 || r.Offset+r.Bits > 8*length:
		return anyValue(r.Bits).maybeAbsent()
	case r.Offset == 0 && r.Bits >= 4: // the version, and what follows it
		version := Number(4)
		if six {
			version = Number(6)
		}
		rest := r.Bits - 4
		return between(Range{version.Shift(rest), version.Shift(rest).Or(Ones(rest))}, r.Bits)
	case six && r == nextHeader:
		return w.nextHeaders(p)
	}
	return anyValue(r.Bits)
}

// extensionHeaders may stand between the IPv6 header and the transport's in packets that the kernel
// delivers (ipv6_ext_hdr and ipv6_skip_exthdr in net/ipv6/exthdrs_core.c): hop-by-hop 0, routing
// 43, fragment 44, authentication 51, destination options 60. Any sender can add one. ESP (50)
// isn't among them: its content arrives again as a packet of its own.
var extensionHeaders = []Value{Number(0), Number(43), Number(44), Number(51), Number(60)}

// state is the connection's state: a first packet is new, or has no connection.
func (w *walk) state(p *packet, width int) view {
	without := uint64(ctInvalid)
	if w.reply != nil && w.phase != beforeConntrack {
		return w.replyState(p, width)
	}
	switch {
	case p.track == untracked || w.q.ICMPType != 0 && w.phase == afterConntrack:
		return exactly(Number(ctUntracked), width)
	case w.phase == afterConntrack && p.track == tracked && w.q.later && !w.translating:
		return exactly(Number(ctEstablished), width)
	case w.phase == afterConntrack && p.track == tracked:
		return exactly(Number(ctNew), width)
	case w.phase == beforeConntrack && p.track == tracked && p.template == No:
		return exactly(Number(without), width)
	}
	// One of new, untracked and, before conntrack, invalid: all other bits are known to be clear.
	// (A template with a zone looks like a connection before there is one.)
	unknown := uint64(ctInvalid | ctNew | ctUntracked)
	if w.q.later {
		unknown |= ctEstablished
	}
	return fromBits(Bits{Known: Ones(width).AndNot(Number(unknown))}, width)
}

// incoming is the name, index or group of the incoming interface.
func (w *walk) incoming(f Field, width int) view {
	switch {
	case w.sentByHost():
		return noInterface(f, width)
	case w.q.Interface == "" && w.fromOutside() && f == FieldInName:
		return anyValue(width).differingFrom(Name("lo"))
	case w.q.Interface == "" && w.fromOutside() && f == FieldInIndex:
		return anyValue(
			width,
		).differingFrom(Number(1))
		// lo's in every namespace (LOOPBACK_IFINDEX)
	case w.q.Interface == "":
		return anyValue(width)
	case f == FieldInName:
		return exactly(Name(w.q.Interface), width)
	case w.in == nil:
		return anyValue(width)
	case f == FieldInIndex:
		return exactly(Number(uint64(w.in.Index)), width)
	}
	return exactly(Number(uint64(w.in.Group)), width)
}

// incomingKind is the kind of the incoming interface, or its name as a member of a VRF. Once
// routed, a packet from a member counts as coming from the VRF itself (l3mdev_ip_rcv,
// include/net/l3mdev.h).
func (w *walk) incomingKind(f Field, width int) view {
	switch {
	case w.in == nil && w.fromOutside():
		w.noteAssumption("no interface belongs to a VRF")
		if f == FieldInSlave {
			return exactly(Value{}, width)
		}
		return anyValue(width).differingFrom(Name("vrf")).maybeAbsent()
	case w.in == nil:
		return anyValue(width).maybeAbsent()
	}
	if master := w.e.host.ByIndex(w.in.Master); w.in.Kind == "vrf" ||
		master != nil && master.Kind == "vrf" {
		return anyValue(width).maybeAbsent()
	}
	switch {
	case f == FieldInSlave:
		return exactly(Value{}, width)
	case w.in.Kind == "":
		return absentValue(width)
	}
	return exactly(Name(w.in.Kind), width)
}

// leaving is the name, index or group of the outgoing interface.
func (w *walk) leaving(p *packet, f Field, width int) view {
	out := w.e.host.ByIndex(p.outIndex)
	switch {
	case p.out == outNone && f == FieldOutGroup:
		// NFT_META_OIFGROUP breaks without a device (net/netfilter/nft_meta.c), devgroup fails
		return absentValue(
			width,
		)
	case p.out == outNone:
		return exactly(Value{}, width)
	case w.e.host == nil && w.reply != nil && w.reply.arrived != "" && f == FieldOutName:
		return exactly(Name(w.reply.arrived), width)
	case w.reply != nil && w.fromOutside() && f == FieldOutName:
		return anyValue(width).differingFrom(Name("lo"))
	case p.out == outUnknown || out == nil:
		return anyValue(width)
	case f == FieldOutName:
		return exactly(Name(out.Name), width)
	case f == FieldOutIndex:
		return exactly(Number(uint64(out.Index)), width)
	}
	return exactly(Number(uint64(out.Group)), width)
}

// physical is the bridge port that physdev reads: a packet from a bridge has one, if the bridge
// calls the IP hooks.
func (w *walk) physical(f Field, width int) view {
	if w.in != nil && w.in.Kind != "bridge" || w.sentByHost() {
		return exactly(Value{}, width)
	}
	if w.in != nil {
		if !w.e.host.bridgeCalls(w.q.Family) {
			return exactly(Value{}, width)
		}
	}
	return anyValue(width).maybeAbsent()
}

// packetType is how the packet was addressed on the link. TCP and SCTP sockets, and forwarding,
// take only packets for this host (PACKET_HOST, 0). For the rest, a neighbour may send broadcasts
// (1) or multicasts (2).
func (w *walk) packetType(width int) view {
	if w.reply != nil {
		return between(Numbers(0, 4), width) // answers go to one host, and may be outgoing (4)
	}
	if w.q.Protocol == firewall.UDP || !w.q.Protocol.HasPorts() {
		return between(Numbers(0, 2), width)
	}
	return exactly(Value{}, width)
}
