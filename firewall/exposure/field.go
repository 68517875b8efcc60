package exposure

// Field is something that a rule can read.
//
// A field has a value, is unknown to the evaluator, or is absent. A statement that reads an absent
// field doesn't hold, with or without Not, and ends its rule (nf_tables: a break; x_tables: a match
// that fails). The name or index of an interface that the packet doesn't have isn't absent: it is
// "" or 0, as in both systems, so "! -i eth0" holds where there is no incoming interface.
//
// Fields of one IP version are absent from packets of the other. A reader uses them only where the
// rule or its table ensures the version. nf_tables expressions that read header bytes without that
// are FieldRaw.
type Field uint8

const (
	// FieldNone is 0: with Operand.Xor, a constant.
	FieldNone Field = iota

	// Interfaces. Outgoing ones are known from forward on; in input they are "" and 0.

	FieldInName   // name; iifname, -i
	FieldInIndex  // 32; iif
	FieldInGroup  // 32; iifgroup, devgroup
	FieldInKind   // name; meta iifkind: "bridge", "veth", …; absent for hardware and lo
	FieldInSlave  // name; meta sdifname: the interface of a VRF; "" outside of any
	FieldOutName  // name; oifname, -o
	FieldOutIndex // 32; oif
	FieldOutGroup // 32
	// FieldPhysIn and FieldPhysOut are the bridge ports of a bridged packet (physdev); "" if it
	// isn't one.
	FieldPhysIn  // name
	FieldPhysOut // name
	// FieldPhysBridged is 1 for a packet that is bridged and not routed (physdev-is-bridged), else
	// 0.
	FieldPhysBridged // 8

	// Link layer.

	// 48; of the last link: unknown; absent on a device without an Ethernet header (lo, tun)
	FieldSourceMAC
	FieldDestMAC    // 48
	FieldEtherType  // 16; meta protocol: 0x0800, 0x86dd
	FieldPacketType // 8; PACKET_HOST 0, PACKET_BROADCAST 1, PACKET_MULTICAST 2, PACKET_OTHERHOST 3

	// Network and transport header, as they are when the rule runs: after NAT, the translated ones.

	FieldNFProto  // 8; FamilyIPv4 or FamilyIPv6
	FieldSource4  // 32
	FieldSource6  // 128
	FieldDest4    // 32
	FieldDest6    // 128
	FieldFragment // 8; 1 for any but the first fragment ("-f"), 0 behind defragmentation
	FieldProtocol // 8; the transport protocol, behind IPv6 extension headers: meta l4proto, -p
	FieldSport    // 16; bytes 0 and 1 of the transport header. unknown, as the client chooses it
	FieldDport    // 16; bytes 2 and 3
	// 8; fin 1, syn 2, rst 4, psh 8, ack 16, urg 32, ece 64, cwr 128; absent unless TCP. A first
	// packet: SYN, and ECE and CWR unknown
	FieldTCPFlags
	FieldICMPType // 8; ICMP or ICMPv6; absent from other protocols
	FieldICMPCode // 8
	FieldLength   // 32; the packet's length, IP header included: nft's meta length
	// FieldHeaders are the IPv6 extension headers that a packet has, as bits of ip6tables' match
	// ipv6header: hop-by-hop 128, destination options 64, routing 32, fragment 16, AH 8, ESP 4,
	// none 2, another protocol 1. Absent over IPv4.
	FieldHeaders // 8

	// Connection. All but the state are absent while there is none (before PriorityConntrack, after
	// NoTrack).

	// FieldCTState is one of the bits that nf_tables uses: invalid 1, established 2, related 4, new
	// 8, untracked 64. A first packet: new; with NoTrack: untracked; before PriorityConntrack:
	// invalid, as in both systems.
	FieldCTState // 32
	// 32; enum ip_conntrack_status: expected 1, seen-reply 2, assured 4, confirmed 8, snat 16,
	// dnat 32
	FieldCTStatus
	FieldCTDirection // 8; original 0, reply 1
	FieldCTMark      // 32
	FieldCTLabel     // 128; the kernel's bytes: see LabelBit
	FieldCTZone      // 16
	FieldCTProtocol  // 8

	// The original tuple: the packet as it was at PriorityConntrack, before any translation
	// (--ctorigdst, ct original daddr).

	FieldCTOrigSource4
	FieldCTOrigSource6
	FieldCTOrigDest4
	FieldCTOrigDest6
	FieldCTOrigSport
	FieldCTOrigDport

	// The reply tuple: how an answer will be addressed, given the translations so far. Its source
	// is the current destination.

	FieldCTReplySource4
	FieldCTReplySource6
	FieldCTReplyDest4
	FieldCTReplyDest6
	FieldCTReplySport
	FieldCTReplyDport

	FieldMark // 32; the packet's mark: 0 at first

	// FieldFib is the result of a look-up in the host's routes and addresses: see Operand.Fib.
	FieldFib
	// FieldRaw is bits of the packet by their place: see Operand.Raw.
	FieldRaw
	// FieldMap is the value that a map has for other operands: see Operand.Lookup. Absent if it has
	// none.
	FieldMap
	// FieldUnknown is a value that can't be known: random numbers, hashes, sockets, time. See
	// Operand.Text and Operand.Max.
	FieldUnknown

	fieldCount
)

var fields = [fieldCount]struct {
	name  string
	width int
}{
	FieldNone:           {"constant", 128},
	FieldInName:         {"iifname", 128},
	FieldInIndex:        {"iif", 32},
	FieldInGroup:        {"iifgroup", 32},
	FieldInKind:         {"meta iifkind", 128},
	FieldInSlave:        {"meta sdifname", 128},
	FieldOutName:        {"oifname", 128},
	FieldOutIndex:       {"oif", 32},
	FieldOutGroup:       {"oifgroup", 32},
	FieldPhysIn:         {"physdev in", 128},
	FieldPhysOut:        {"physdev out", 128},
	FieldPhysBridged:    {"physdev bridged", 8},
	FieldSourceMAC:      {"ether saddr", 48},
	FieldDestMAC:        {"ether daddr", 48},
	FieldEtherType:      {"meta protocol", 16},
	FieldPacketType:     {"pkttype", 8},
	FieldNFProto:        {"nfproto", 8},
	FieldSource4:        {"ip saddr", 32},
	FieldSource6:        {"ip6 saddr", 128},
	FieldDest4:          {"ip daddr", 32},
	FieldDest6:          {"ip6 daddr", 128},
	FieldFragment:       {"fragment", 8},
	FieldProtocol:       {"l4proto", 8},
	FieldSport:          {"th sport", 16},
	FieldDport:          {"th dport", 16},
	FieldTCPFlags:       {"tcp flags", 8},
	FieldICMPType:       {"icmp type", 8},
	FieldICMPCode:       {"icmp code", 8},
	FieldLength:         {"meta length", 32},
	FieldHeaders:        {"ipv6header", 8},
	FieldCTState:        {"ct state", 32},
	FieldCTStatus:       {"ct status", 32},
	FieldCTDirection:    {"ct direction", 8},
	FieldCTMark:         {"ct mark", 32},
	FieldCTLabel:        {"ct label", 128},
	FieldCTZone:         {"ct zone", 16},
	FieldCTProtocol:     {"ct protocol", 8},
	FieldCTOrigSource4:  {"ct original ip saddr", 32},
	FieldCTOrigSource6:  {"ct original ip6 saddr", 128},
	FieldCTOrigDest4:    {"ct original ip daddr", 32},
	FieldCTOrigDest6:    {"ct original ip6 daddr", 128},
	FieldCTOrigSport:    {"ct original proto-src", 16},
	FieldCTOrigDport:    {"ct original proto-dst", 16},
	FieldCTReplySource4: {"ct reply ip saddr", 32},
	FieldCTReplySource6: {"ct reply ip6 saddr", 128},
	FieldCTReplyDest4:   {"ct reply ip daddr", 32},
	FieldCTReplyDest6:   {"ct reply ip6 daddr", 128},
	FieldCTReplySport:   {"ct reply proto-src", 16},
	FieldCTReplyDport:   {"ct reply proto-dst", 16},
	FieldMark:           {"meta mark", 32},
	FieldFib:            {"fib", 32},
	FieldRaw:            {"payload", 128},
	FieldMap:            {"map", 128},
	FieldUnknown:        {"unknown", 128},
}

// String is nft's name for the field where it has one.
func (f Field) String() string {
	if f < fieldCount {
		return fields[f].name
	}
	return "unknown"
}

// Fib is a look-up in the host's routes and addresses: nft's fib expression, xtables' addrtype and
// rpfilter.
type Fib struct {
	Of   FibAddress
	Want FibResult
	// ByMark, ByIn, ByOut: the look-up depends on the packet's mark, its incoming or outgoing
	// interface (nft's "fib saddr . iif"; --limit-iface-in, --limit-iface-out; rpfilter's
	// --validmark is ByMark).
	ByMark, ByIn, ByOut bool
	// Loose and AcceptLocal are rpfilter's, for FibReversePath.
	Loose, AcceptLocal bool
}

// FibAddress is the address to look up.
type FibAddress uint8

const (
	FibSource FibAddress = iota
	FibDest
)

// FibResult is what a look-up returns.
type FibResult uint8

const (
	// 32; RTN_UNICAST 1, RTN_LOCAL 2, RTN_BROADCAST 3, … (include/uapi/linux/rtnetlink.h)
	FibType        FibResult = iota
	FibOutIndex              // 32; the interface towards the address; 0 without a route
	FibOutName               // name; "" without a route
	FibExists                // 8; 1 if there is a route, else 0
	FibReversePath           // 8; 1 if xtables' rpfilter holds without --invert, else 0
)

// Raw is bits of a packet by their place, for header fields that have no Field of their own.
type Raw struct {
	Base   RawBase
	Offset int // in bits from the base, most significant bit first
	Bits   int // 1 to 128
	// Header is the extension header or option to find (RawExtension, RawTCPOption). The field is
	// absent where the header is.
	Header uint8
	// Present: the field is 1 if the header or option is there, and else 0 ("exthdr frag exists").
	Present bool
}

// RawBase is where Raw.Offset counts from.
type RawBase uint8

const (
	RawLink RawBase = iota
	RawNetwork
	RawTransport
	RawInner
	RawExtension // an IPv6 extension header
	RawIPOption  // an IPv4 option
	RawTCPOption
)
