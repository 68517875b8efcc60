package exposure

import "github.com/portgrave/portgrave/firewall"

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
	tcpACK        = 16
	tcpFlagsKnown = 0x3f
)

// field is what is known of a field that isn't the source, before the operand's own arithmetic.
func (w *walk) field(p *packet, o Operand) view {
	width := o.Width()
	o.Field = w.mirrored(o.Field)
	four := w.q.Family == firewall.IPv4
	only := func(here bool, v view) view {
		if !here {
			return missing(width)
		}
		return v
	}
	header := func(v view) view { // what a rule that wrote to the packet may have changed
		if p.scrambled {
			return anything(width).doubtful()
		}
		return v
	}
	connection := func(v view) view {
		v.absent = v.absent.Or(w.noConnection(p))
		return v
	}
	switch o.Field {
	case FieldNone:
		return sure(Value{}, width)
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
			return anything(width).doubtful()
		case !w.in.Ethernet || w.in.Loopback:
			return missing(width)
		}
		return anything(width)
	case FieldEtherType:
		if four {
			return sure(Number(0x0800), width)
		}
		return sure(Number(0x86dd), width)
	case FieldPacketType:
		return w.packetType(width)
	case FieldNFProto:
		if four {
			return sure(Number(uint64(FamilyIPv4)), width)
		}
		return sure(Number(uint64(FamilyIPv6)), width)
	case FieldSource4:
		return only(four, anything(width))
	case FieldSource6:
		return only(!four, anything(width))
	case FieldDest4:
		return only(four, between(p.now.addr, width))
	case FieldDest6:
		return only(!four, between(p.now.addr, width))
	case FieldFragment:
		return header(sure(Value{}, width))
	case FieldProtocol:
		return header(sure(Number(w.q.number()), width))
	case FieldSport:
		return w.clientPort(p, width)
	case FieldDport:
		return w.port(p.now.port, width)
	case FieldTCPFlags:
		return only(
			w.q.Protocol == firewall.TCP,
			header(partly(Bits{Number(w.tcpFlags()), Number(tcpFlagsKnown)}, width)),
		)
	case FieldICMPType:
		return only(
			w.q.Protocol == firewall.Ping,
			sure(Number(w.icmpType()), width),
		)
	case FieldICMPCode:
		return only(w.q.Protocol == firewall.Ping, sure(Value{}, width))
	case FieldCTState:
		return w.state(p, width)
	case FieldCTStatus:
		return connection(partly(p.status, width))
	case FieldCTDirection:
		return connection(w.direction(p, width))
	case FieldCTMark:
		return connection(partly(p.ctMark, width))
	case FieldCTLabel:
		return connection(partly(p.label, width))
	case FieldCTZone:
		return connection(partly(p.zone, width))
	case FieldCTProtocol:
		return connection(sure(Number(w.q.number()), width))
	case FieldCTOrigSource4, FieldCTReplyDest4:
		return only(four, connection(anything(width)))
	case FieldCTOrigSource6, FieldCTReplyDest6:
		return only(!four, connection(anything(width)))
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
			return connection(anything(width))
		}
		return connection(w.clientPort(p, width))
	case FieldMark:
		return partly(p.mark, width)
	case FieldUnknown:
		if o.Max.IsZero() {
			return anything(width).doubtful()
		}
		return between(Range{Value{}, o.Max}, width)
	}
	if o.Field == FieldRaw && o.Raw.Base == RawNetwork && !p.scrambled {
		return w.networkHeader(o.Raw)
	}
	return anything(width).doubtful() // FieldRaw: the header may not be there either
}

// networkHeader is what is known of bits of the fixed IP header, which every packet has that gets to
// a socket. All but the version and IPv6's next header is the sender's choice.
func (w *walk) networkHeader(r Raw) view {
	six := w.q.Family == firewall.IPv6
	length := 20
	if six {
		length = 40
	}
	switch {
	case r.Offset < 0 || r.Offset+r.Bits > 8*length:
		return anything(r.Bits).doubtful()
	case r.Offset == 0 && r.Bits >= 4: // the version, and what follows it
		version := Number(4)
		if six {
			version = Number(6)
		}
		rest := r.Bits - 4
		return between(Range{version.Shift(rest), version.Shift(rest).Or(Ones(rest))}, r.Bits)
	case six && r.Offset == 48 && r.Bits == 8:
		return amongValues(r.Bits, append([]Value{Number(w.q.number())}, extensionHeaders...)...)
	}
	return anything(r.Bits)
}

// extensionHeaders are those that may stand between the IPv6 header and the transport's, and still
// the kernel delivers the packet (ipv6_ext_hdr and ipv6_skip_exthdr in net/ipv6/exthdrs_core.c):
// hop-by-hop 0, routing 43, fragment 44, authentication 51, destination options 60. Any sender can
// put one in. ESP (50) isn't one: what it holds is another packet, which comes again as itself.
var extensionHeaders = []Value{Number(0), Number(43), Number(44), Number(51), Number(60)}

// state is the connection's state: a first packet is new, or has none.
func (w *walk) state(p *packet, width int) view {
	without := uint64(ctInvalid)
	if w.reply != nil && w.phase != beforeConntrack {
		return w.replyState(p, width)
	}
	switch {
	case p.track == untracked:
		return sure(Number(ctUntracked), width)
	case w.phase == afterConntrack && p.track == tracked:
		return sure(Number(ctNew), width)
	case w.phase == beforeConntrack && p.track == tracked && p.template == No:
		return sure(Number(without), width)
	}
	// One of new, untracked and, before conntrack, invalid: of all other bits it is known that they
	// aren't set. (A zone is set with a template, which looks like a connection before there is one.)
	return partly(Bits{Known: Ones(width).AndNot(Number(ctInvalid | ctNew | ctUntracked))}, width)
}

// incoming is the name, index or group of the incoming interface.
func (w *walk) incoming(f Field, width int) view {
	switch {
	case w.sends():
		return noInterface(f, width)
	case w.q.Interface == "" && w.outside() && f == FieldInName:
		return anything(width).but(Name("lo"))
	case w.q.Interface == "" && w.outside() && f == FieldInIndex:
		return anything(width).but(Number(1)) // lo's in every namespace (LOOPBACK_IFINDEX)
	case w.q.Interface == "":
		return anything(width)
	case f == FieldInName:
		return sure(Name(w.q.Interface), width)
	case w.in == nil:
		return anything(width)
	case f == FieldInIndex:
		return sure(Number(uint64(w.in.Index)), width)
	}
	return sure(Number(uint64(w.in.Group)), width)
}

// incomingKind is the kind of the incoming interface, or its name as that of a VRF's. What comes by
// an interface of a VRF comes by the VRF itself once it is routed (l3mdev_ip_rcv,
// include/net/l3mdev.h).
func (w *walk) incomingKind(f Field, width int) view {
	switch {
	case w.in == nil && w.outside():
		w.takeForGranted("no interface belongs to a VRF")
		if f == FieldInSlave {
			return sure(Value{}, width)
		}
		return anything(width).but(Name("vrf")).doubtful()
	case w.in == nil:
		return anything(width).doubtful()
	}
	if master := w.e.host.ByIndex(w.in.Master); w.in.Kind == "vrf" ||
		master != nil && master.Kind == "vrf" {
		return anything(width).doubtful()
	}
	switch {
	case f == FieldInSlave:
		return sure(Value{}, width)
	case w.in.Kind == "":
		return missing(width)
	}
	return sure(Name(w.in.Kind), width)
}

// leaving is the name, index or group of the outgoing interface.
func (w *walk) leaving(p *packet, f Field, width int) view {
	out := w.e.host.ByIndex(p.outIndex)
	switch {
	case p.out == outNone && f == FieldOutGroup:
		return missing(
			width,
		) // NFT_META_OIFGROUP breaks without a device (net/netfilter/nft_meta.c), devgroup fails
	case p.out == outNone:
		return sure(Value{}, width)
	case w.e.host == nil && w.reply != nil && w.reply.arrived != "" && f == FieldOutName:
		return sure(Name(w.reply.arrived), width)
	case w.reply != nil && w.outside() && f == FieldOutName:
		return anything(width).but(Name("lo"))
	case p.out == outUnknown || out == nil:
		return anything(width)
	case f == FieldOutName:
		return sure(Name(out.Name), width)
	case f == FieldOutIndex:
		return sure(Number(uint64(out.Index)), width)
	}
	return sure(Number(uint64(out.Group)), width)
}

// physical is what physdev finds: a packet that comes through a bridge has a port, if the bridge
// calls the IP hooks.
func (w *walk) physical(f Field, width int) view {
	if w.in != nil && w.in.Kind != "bridge" || w.sends() {
		return sure(Value{}, width)
	}
	if w.in != nil {
		calls := w.e.host.BridgeCallIPTables
		if w.q.Family == firewall.IPv6 {
			calls = w.e.host.BridgeCallIP6Tables
		}
		if !calls {
			return sure(Value{}, width)
		}
	}
	return anything(width).doubtful()
}

// packetType is how the packet was addressed on the link. TCP and SCTP sockets take only packets
// for this host (PACKET_HOST, 0), as does forwarding. A neighbour may well send one as a broadcast
// (1) or multicast (2) otherwise.
func (w *walk) packetType(width int) view {
	if w.reply != nil {
		return between(Numbers(0, 4), width) // answers go to a single host, but may be outgoing (4)
	}
	if w.q.Protocol == firewall.UDP || !w.q.Protocol.HasPorts() {
		return between(Numbers(0, 2), width)
	}
	return sure(Value{}, width)
}
