package exposure

import (
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

// The sender of a packet chooses much that rules look at: TTL, length, extension headers, its own
// port. If certain had to hold for every choice, rules such as "-m ttl --ttl-gt 1 -j ACCEPT" would
// leave nobody certain. So certain is about ordinary packets, as stacks send them by themselves,
// and possible is about all packets.
//
// A match that isn't decided for every packet is read a second time, for ordinary ones only. Where
// that decides it, ordinary packets go on without a doubt, and the assumption is noted. The other
// way is left to packets that aren't ordinary: an unusual flow (packet.unusual). What stops such a
// flow changes neither bound. If it gets through, its sources are possible. Where the second
// reading doesn't decide either, both ways are open to ordinary packets.

// Assumptions about ordinary packets. An Answer lists those that decided something.
const (
	// AssumedHops: systems start with 64 (Linux, BSD, macOS), 128 (Windows) or 255 (routers,
	// Solaris). traceroute looks no farther than 30 hops, and this host forwards too.
	AssumedHops = "a packet's TTL or hop limit is 33-64, 97-128 or 224-255: it starts at 64, 128 or " +
		"255, and 31 routers at most forward it"
	// AssumedLengthTCP: a SYN has no data; its header has 20 bytes and up to 40 of options.
	AssumedLengthTCP = "TCP's first packet has headers without IP options, and no data: 40-80 " +
		"bytes over IPv4, 60-100 over IPv6"
	// AssumedLength: what fits a frame of Ethernet, without fragments.
	AssumedLength = "a first packet has at most 1500 bytes"
	// AssumedNoExtensions: stacks add none by themselves, and networks often drop such packets
	// (RFC 7872, RFC 7126).
	AssumedNoExtensions = "packets have no IPv6 extension headers and no IPv4 options"
	// assumedAccount begins an assumption about an object of nfacct, which rules of a dump only name.
	assumedAccount = "nfacct's object "
)

// assumedNoQuota is what is assumed of an object of nfacct.
func assumedNoQuota(name string) string {
	return assumedAccount + name + " has no quota, and only counts"
}

// AssumedOfPackets reports whether an assumption is one of those above, and not about the host.
func AssumedOfPackets(what string) bool {
	switch what {
	case AssumedHops, AssumedLengthTCP, AssumedLength, AssumedNoExtensions, assumedPorts,
		assumedOwnPorts:
		return true
	}
	return strings.HasPrefix(what, assumedAccount)
}

// usualHops are the values in AssumedHops.
var usualHops = func() (out []Value) {
	for _, start := range []uint64{64, 128, 255} {
		for n := start - 31; n <= start; n++ {
			out = append(out, Number(n))
		}
	}
	return out
}()

const (
	headerSize4, headerSize6 = 20, 40 // IP headers without options
	// The headers of a SYN, without and with all options (RFC 9293).
	minHeaderTCP, maxHeaderTCP = 20, 60
	headerSizeUDP              = 8 // the smallest header of a transport
	maxFrame                   = 1500
)

// mayAssume reports whether an ordinary packet can be told from others: the packet is the first one
// or its answer, and no rule has changed it in a way that isn't followed.
func (w *walk) mayAssume(p *packet) bool {
	return !w.q.later && !p.unusual && !p.headerUnknown
}

// readsSender reports whether a match reads something that the sender chooses, and that ordinary
// packets have in common.
func readsSender(key []Operand) bool {
	for _, o := range key {
		switch o.Field {
		case FieldSport, FieldCTOrigSport, FieldCTReplyDport, FieldLength, FieldHeaders:
			return true
		case FieldRaw:
			switch o.Raw.Base {
			case RawNetwork, RawExtension, RawIPOption:
				return true
			}
		}
	}
	return false
}

// take notes an assumption that the reading of an ordinary packet makes.
func (w *walk) take(assumption string) { w.taken = append(w.taken, assumption) }

// usually runs a reading for ordinary packets, and returns the assumptions that it made.
func (w *walk) usually(read func()) []string {
	w.ordinary, w.taken = true, nil
	read()
	w.ordinary = false
	return w.taken
}

// usualPorts are an ordinary client's ports, as far as rules haven't narrowed them down.
func (w *walk) usualPorts(p *packet) Range {
	if !w.ordinary || w.reply != nil || p.headerSource != sourceOwn || !w.q.Protocol.HasPorts() {
		return p.sport
	}
	ports, assumption := w.q.clientPorts()
	usual := within(p.sport, ports)
	if usual != p.sport {
		w.take(assumption)
	}
	return usual
}

// clientPorts are the ports that ordinary clients of a port send from, and what that assumes.
// Protocols over UDP often send from a port of their own: mDNS from 5353 (RFC 6762 §5.2), DHCP from
// 68 (RFC 2131 §4.1) or 546 (RFC 8415 §7.2), IKE and NTP from the port that they are sent to. If
// that is one below 1024, nothing is assumed.
func (q Question) clientPorts() (ports Range, assumption string) {
	switch {
	case q.Protocol != firewall.UDP:
		return clientPorts, assumedPorts
	case !q.unicast() || slices.Contains(lowPorts, q.Port):
		return Full(16), ""
	case slices.Contains(ownPorts, q.Port):
		return unprivilegedPorts, assumedOwnPorts
	}
	return clientPorts, assumedPorts
}

// unprivilegedPorts are those that programs without privileges may send from.
var unprivilegedPorts = Numbers(1024, 65535)

// lowPorts are UDP ports whose clients may send from a fixed port below 1024 (IANA): DHCP, NTP,
// NetBIOS, SNMP and its traps, IKE, syslog, RIP, DHCPv6.
var lowPorts = []uint16{67, 68, 123, 137, 138, 161, 162, 500, 514, 520, 521, 546, 547}

// ownPorts are UDP ports whose clients send from any port from 1024 on, or from a fixed one there:
// DNS (RFC 5452 §9.2; resolvers choose among all of these), TFTP (RFC 1350 §4), RADIUS, L2TP,
// VXLAN's, Geneve's and BFD's neighbours, STUN, IPsec over NAT, SIP, mDNS, SSDP, LLMNR, OpenVPN,
// WireGuard, traffic of Tailscale.
var ownPorts = []uint16{53, 69, 1194, 1645, 1646, 1701, 1812, 1813, 1900, 3478, 3784, 3785, 4500,
	4789, 5060, 5061, 5353, 5355, 6081, 41641, 51820}

// unicast reports whether the packet is for one host. Packets for groups, and DHCP's broadcasts,
// have other TTLs: mostly 1 (RFC 1112).
func (q Question) unicast() bool {
	to := q.Within
	if q.Destination.IsValid() {
		to = One(Address(q.Destination))
	}
	groups := NewRanges(multicast4, One(Ones(32)))
	if q.Family == address.IPv6 {
		groups = NewRanges(multicast6)
	}
	return to == (Range{}) || NewRanges(to).Intersect(groups).Empty()
}

// usualHeader is what is known of bits of an ordinary packet's IP header. It is false where that is
// no more than of any packet's.
func (w *walk) usualHeader(p *packet, r Raw) (view, bool) {
	if !w.ordinary {
		return view{}, false
	}
	six := w.q.Family == address.IPv6
	if six && w.q.ofNeighbours() && r.Offset == 56 && r.Bits == 8 && !p.written {
		return exactly(Number(255), 8), true // the kernel ignores others (RFC 4861 §7.1)
	}
	hops, length, size := 64, 16, uint64(0)
	if six {
		hops, length, size = 56, 32, headerSize6
	}
	switch {
	case r.Offset == hops && r.Bits == 8 && !p.written && w.plainSender():
		w.take(AssumedHops)
		return amongValues(8, usualHops...), true
	case r.Offset == length && r.Bits == 16 && w.knowsLength():
		from, to := w.usualLength()
		return between(Numbers(from-size, to-size), 16), true
	case six && r.Offset == 48 && r.Bits == 8 && w.plainSender():
		w.take(AssumedNoExtensions)
		return exactly(Number(w.q.number()), 8), true
	}
	return view{}, false
}

// plainSender reports whether a stack sends the packets by itself, without a routing protocol's TTL
// of 1 (RFC 2328 §A.1), or the options and headers of IGMP and MLD (RFC 3376 §4, RFC 3810 §5).
func (w *walk) plainSender() bool {
	return w.q.unicast() && w.q.ICMPType == 0 &&
		(w.q.Protocol.HasPorts() || w.q.Protocol == firewall.Ping)
}

// knowsLength reports whether usualLength is about the packet. Answers over UDP may be longer than
// a frame in output, before they are cut into fragments.
func (w *walk) knowsLength() bool { return w.reply == nil || w.q.Protocol == firewall.TCP }

// usualLength is the least and the greatest length of an ordinary first packet.
func (w *walk) usualLength() (from, to uint64) {
	header := uint64(headerSize4)
	if w.q.Family == address.IPv6 {
		header = headerSize6
	}
	if w.q.Protocol == firewall.TCP {
		w.take(AssumedLengthTCP)
		return header + minHeaderTCP, header + maxHeaderTCP
	}
	w.take(AssumedLength)
	if !w.q.Protocol.HasPorts() && w.q.Protocol != firewall.Ping {
		return header, maxFrame
	}
	return header + headerSizeUDP, maxFrame
}

// option is what is known of bits of an extension header or an option, or whether it is there.
func (w *walk) option(p *packet, r Raw) view {
	absent := r.Base == RawExtension && !w.isFour() && w.lacks(r.Header, p)
	var usually bool
	switch r.Base {
	case RawIPOption:
		usually = w.isFour()
	case RawExtension:
		usually = !w.isFour() && uint64(r.Header) != w.q.number()
	}
	if w.ordinary && usually && !absent && w.plainSender() {
		w.take(AssumedNoExtensions)
		absent = true
	}
	switch {
	case absent && r.Present:
		return exactly(Value{}, r.Bits)
	case absent:
		return absentValue(r.Bits)
	case r.Present:
		return between(Numbers(0, 1), r.Bits)
	case r.Base == RawExtension && r.Header == headerFragment:
		return fragmentField(r)
	}
	return anyValue(r.Bits).maybeAbsent()
}

// outcomes is a flow's sources by the outcome of a match.
type outcomes struct{ hold, not, perhaps Ranges }

// usual adds to the outcome for all packets the one for ordinary packets. onlyHold and onlyNot are
// the sources for which only the latter is known.
func (d outcomes) usual(o outcomes) (usual outcomes, onlyHold, onlyNot Ranges) {
	onlyHold, onlyNot = d.perhaps.Intersect(o.hold), d.perhaps.Intersect(o.not)
	return outcomes{
		d.hold.Union(onlyHold), d.not.Union(onlyNot), d.perhaps.Minus(onlyHold).Minus(onlyNot),
	}, onlyHold, onlyNot
}

// unusual is a branch of packets that aren't ordinary.
func (w *walk) unusual(f flow, sources Ranges, by Decider, number int, do action) branch {
	b := branch{flow: f, do: do}
	p := *f.packet
	p.unusual = true
	b.packet, b.sources = &p, sources
	b.doubts = w.doubt(f.doubts, by, number)
	return b
}

// assumedToHold is a condition whose outcome for ordinary packets is known. Others may go either
// way.
func (w *walk) assumedToHold(
	c *chain, r *rule, f flow, holds bool, what, assumption string,
) []branch {
	if !w.mayAssume(f.packet) {
		return w.mayHold(c, r, f, what)
	}
	w.noteAssumption(assumption)
	by := Decider{Rule: r.Rule, Chain: c.Chain, Reason: "not known: " + what}
	if holds {
		return []branch{{flow: f}, w.unusual(f, f.sources, by, 1, toNextRule)}
	}
	return []branch{{flow: f, do: toNextRule}, w.unusual(f, f.sources, by, 0, toNextStatement)}
}

// withoutUsual removes from unusual flows the sources of ordinary flows in the same state, since
// what may happen to these includes what may happen to those. What let the unusual packets through
// is named with what may let ordinary ones through.
func (w *walk) withoutUsual(flows []flow) []flow {
	if !slices.ContainsFunc(flows, func(f flow) bool { return f.packet.unusual }) {
		return flows
	}
	flows = slices.Clone(flows)
	for i, f := range flows {
		p := *f.packet
		if !p.unusual {
			continue
		}
		p.unusual = false
		for j, o := range flows {
			if *o.packet != p || o.sources.Intersect(flows[i].sources).Empty() {
				continue
			}
			flows[i].sources = flows[i].sources.Minus(o.sources)
			w.spendRanges(flows[i].sources.Len())
			if o.doubts != nil {
				flows[j].doubts = w.joinDoubts(o.doubts, f.doubts)
			}
		}
	}
	return slices.DeleteFunc(flows, func(f flow) bool { return f.sources.Empty() })
}
