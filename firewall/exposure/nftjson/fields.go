package nftjson

import (
	"maps"

	"github.com/portgrave/portgrave/firewall/exposure"
)

// field is a value's place in the packet, and its kind (constants.go).
type field struct {
	at   exposure.Field
	raw  exposure.Raw // FieldRaw
	kind string
}

func named(f exposure.Field, kind string) field { return field{at: f, kind: kind} }

func bits(base exposure.RawBase, offset, bits int, kind string) field {
	return field{
		at:   exposure.FieldRaw,
		raw:  exposure.Raw{Base: base, Offset: offset, Bits: bits},
		kind: kind,
	}
}

// header is a protocol header in payload expressions, and the version and protocol of packets that
// have it.
type header struct {
	version  exposure.Family // FamilyIPv4, FamilyIPv6; FamilyUnspec: any
	protocol int             // the transport protocol; −1: any
	fields   map[string]field
}

const network, transport, link = exposure.RawNetwork, exposure.RawTransport, exposure.RawLink

// headers are nft's templates (src/proto.c of nftables): offsets from the headers' RFCs.
var headers = map[string]header{
	"ip": {exposure.FamilyIPv4, -1, map[string]field{
		"version":   bits(network, 0, 4, "integer"),
		"hdrlength": bits(network, 4, 4, "integer"),
		"dscp":      bits(network, 8, 6, "dscp"),
		"ecn":       bits(network, 14, 2, "ecn"),
		"length":    bits(network, 16, 16, "integer"),
		"id":        bits(network, 32, 16, "integer"),
		"frag-off":  bits(network, 48, 16, "integer"),
		"ttl":       bits(network, 64, 8, "integer"),
		"protocol":  named(exposure.FieldProtocol, "inet_proto"),
		"checksum":  bits(network, 80, 16, "integer"),
		"saddr":     named(exposure.FieldSource4, "ipv4_addr"),
		"daddr":     named(exposure.FieldDest4, "ipv4_addr"),
	}},
	"ip6": {exposure.FamilyIPv6, -1, map[string]field{
		"version":   bits(network, 0, 4, "integer"),
		"dscp":      bits(network, 4, 6, "dscp"),
		"ecn":       bits(network, 10, 2, "ecn"),
		"flowlabel": bits(network, 12, 20, "integer"),
		"length":    bits(network, 32, 16, "integer"),
		// Not FieldProtocol: extension headers may precede the transport header.
		"nexthdr":  bits(network, 48, 8, "inet_proto"),
		"hoplimit": bits(network, 56, 8, "integer"),
		"saddr":    named(exposure.FieldSource6, "ipv6_addr"),
		"daddr":    named(exposure.FieldDest6, "ipv6_addr"),
	}},
	"tcp": {0, 6, map[string]field{
		"sport":    named(exposure.FieldSport, "inet_service"),
		"dport":    named(exposure.FieldDport, "inet_service"),
		"sequence": bits(transport, 32, 32, "integer"),
		"ackseq":   bits(transport, 64, 32, "integer"),
		"doff":     bits(transport, 96, 4, "integer"),
		"reserved": bits(transport, 100, 4, "integer"),
		"flags":    named(exposure.FieldTCPFlags, "tcp_flag"),
		"window":   bits(transport, 112, 16, "integer"),
		"checksum": bits(transport, 128, 16, "integer"),
		"urgptr":   bits(transport, 144, 16, "integer"),
	}},
	"udp": {0, 17, map[string]field{
		"sport":    named(exposure.FieldSport, "inet_service"),
		"dport":    named(exposure.FieldDport, "inet_service"),
		"length":   bits(transport, 32, 16, "integer"),
		"checksum": bits(transport, 48, 16, "integer"),
	}},
	"udplite": {0, 136, map[string]field{
		"sport":    named(exposure.FieldSport, "inet_service"),
		"dport":    named(exposure.FieldDport, "inet_service"),
		"csumcov":  bits(transport, 32, 16, "integer"),
		"checksum": bits(transport, 48, 16, "integer"),
	}},
	"sctp": {0, 132, map[string]field{
		"sport":    named(exposure.FieldSport, "inet_service"),
		"dport":    named(exposure.FieldDport, "inet_service"),
		"vtag":     bits(transport, 32, 32, "integer"),
		"checksum": bits(transport, 64, 32, "integer"),
	}},
	"dccp": {0, 33, map[string]field{
		"sport": named(exposure.FieldSport, "inet_service"),
		"dport": named(exposure.FieldDport, "inet_service"),
		"type":  bits(transport, 67, 4, "dccp_pkttype"),
	}},
	// "th" is any transport header.
	"th": {
		0,
		-1,
		map[string]field{
			"sport": named(exposure.FieldSport, "inet_service"),
			"dport": named(exposure.FieldDport, "inet_service"),
		},
	},
	"icmp": {0, 1, map[string]field{
		"type":     named(exposure.FieldICMPType, "icmp_type"),
		"code":     named(exposure.FieldICMPCode, "icmp_code"),
		"checksum": bits(transport, 16, 16, "integer"),
		"id":       bits(transport, 32, 16, "integer"),
		"sequence": bits(transport, 48, 16, "integer"),
		"gateway":  bits(transport, 32, 32, "integer"),
		"mtu":      bits(transport, 48, 16, "integer"),
	}},
	"icmpv6": {0, 58, map[string]field{
		"type":     named(exposure.FieldICMPType, "icmpv6_type"),
		"code":     named(exposure.FieldICMPCode, "icmpv6_code"),
		"checksum": bits(transport, 16, 16, "integer"),
		"id":       bits(transport, 32, 16, "integer"),
		"sequence": bits(transport, 48, 16, "integer"),
		"mtu":      bits(transport, 32, 32, "integer"),
	}},
	"esp": {
		0,
		50,
		map[string]field{
			"spi":      bits(transport, 0, 32, "integer"),
			"sequence": bits(transport, 32, 32, "integer"),
		},
	},
	"ah": {
		0,
		51,
		map[string]field{
			"spi":      bits(transport, 32, 32, "integer"),
			"sequence": bits(transport, 64, 32, "integer"),
		},
	},
	"ether": {0, -1, map[string]field{
		"daddr": named(exposure.FieldDestMAC, "ether_addr"),
		"saddr": named(exposure.FieldSourceMAC, "ether_addr"),
		"type":  bits(link, 96, 16, "ether_type"),
	}},
}

// extensions are nft's templates of IPv6 extension headers (src/exthdr.c), by name: the header's
// number, and its fields. That of option types is left out.
var extensions = map[string]struct {
	number uint8
	fields map[string]field
}{
	"hbh": {0, extensionFields(nil)},
	"dst": {60, extensionFields(nil)},
	"rt":  {43, extensionFields(map[string]field{"type": byteAt(2), "seg-left": byteAt(3)})},
	"rt0": {43, nil},
	"rt2": {43, nil},
	"srh": {43, nil},
	"mh":  {135, extensionFields(map[string]field{"type": byteAt(2)})},
	"frag": {44, map[string]field{
		"nexthdr":        bits(exposure.RawExtension, 0, 8, "inet_proto"),
		"reserved":       byteAt(1),
		"frag-off":       bits(exposure.RawExtension, 16, 13, "integer"),
		"reserved2":      bits(exposure.RawExtension, 29, 2, "integer"),
		"more-fragments": bits(exposure.RawExtension, 31, 1, "integer"),
		"id":             bits(exposure.RawExtension, 32, 32, "integer"),
	}},
}

// byteAt is a byte of an extension header.
func byteAt(n int) field { return bits(exposure.RawExtension, 8*n, 8, "integer") }

// extensionFields adds the fields that nearly all extension headers begin with.
func extensionFields(more map[string]field) map[string]field {
	out := map[string]field{
		"nexthdr":   bits(exposure.RawExtension, 0, 8, "inet_proto"),
		"hdrlength": byteAt(1),
	}
	maps.Copy(out, more)
	return out
}

// metas are the known meta expressions. Others are unknown values (skuid, time, cpu, random, …).
var metas = map[string]field{
	"length":   named(exposure.FieldLength, "integer"),
	"protocol": named(exposure.FieldEtherType, "ether_type"),
	"nfproto":  named(exposure.FieldNFProto, "nf_proto"),
	"l4proto":  named(exposure.FieldProtocol, "inet_proto"),
	"mark":     named(exposure.FieldMark, "mark"),
	"iifname":  named(exposure.FieldInName, "ifname"),
	"oifname":  named(exposure.FieldOutName, "ifname"),
	"iif":      named(exposure.FieldInName, "iface_index"),
	"oif":      named(exposure.FieldOutName, "iface_index"),
	"iifgroup": named(exposure.FieldInGroup, "devgroup"),
	"oifgroup": named(exposure.FieldOutGroup, "devgroup"),
	"pkttype":  named(exposure.FieldPacketType, "pkt_type"),
	"iifkind":  named(exposure.FieldInKind, "ifname"),
	"sdifname": named(exposure.FieldInSlave, "ifname"),
}

// cts are ct expressions without a direction.
var cts = map[string]field{
	"state":     named(exposure.FieldCTState, "ct_state"),
	"status":    named(exposure.FieldCTStatus, "ct_status"),
	"direction": named(exposure.FieldCTDirection, "ct_dir"),
	"mark":      named(exposure.FieldCTMark, "mark"),
	"zone":      named(exposure.FieldCTZone, "integer"),
	"protocol":  named(exposure.FieldCTProtocol, "inet_proto"),
	"label":     named(exposure.FieldCTLabel, "ct_label"),
}

// directed are the ct expressions with a direction.
var directed = map[string]map[string]field{
	"original": {
		"ip saddr":  named(exposure.FieldCTOrigSource4, "ipv4_addr"),
		"ip daddr":  named(exposure.FieldCTOrigDest4, "ipv4_addr"),
		"ip6 saddr": named(exposure.FieldCTOrigSource6, "ipv6_addr"),
		"ip6 daddr": named(exposure.FieldCTOrigDest6, "ipv6_addr"),
		"proto-src": named(exposure.FieldCTOrigSport, "inet_service"),
		"proto-dst": named(exposure.FieldCTOrigDport, "inet_service"),
		"protocol":  named(exposure.FieldCTProtocol, "inet_proto"),
	},
	"reply": {
		"ip saddr":  named(exposure.FieldCTReplySource4, "ipv4_addr"),
		"ip daddr":  named(exposure.FieldCTReplyDest4, "ipv4_addr"),
		"ip6 saddr": named(exposure.FieldCTReplySource6, "ipv6_addr"),
		"ip6 daddr": named(exposure.FieldCTReplyDest6, "ipv6_addr"),
		"proto-src": named(exposure.FieldCTReplySport, "inet_service"),
		"proto-dst": named(exposure.FieldCTReplyDport, "inet_service"),
		"protocol":  named(exposure.FieldCTProtocol, "inet_proto"),
	},
}

// rawFields are the fields for payload expressions by base, offset and length. Those of the network
// header apply only where the rule or its table ensures the version.
var rawFields = []struct {
	version exposure.Family
	raw     exposure.Raw
	field   field
}{
	{
		exposure.FamilyIPv4,
		exposure.Raw{Base: network, Offset: 72, Bits: 8},
		named(exposure.FieldProtocol, "inet_proto"),
	},
	{
		exposure.FamilyIPv4,
		exposure.Raw{Base: network, Offset: 96, Bits: 32},
		named(exposure.FieldSource4, "ipv4_addr"),
	},
	{
		exposure.FamilyIPv4,
		exposure.Raw{Base: network, Offset: 128, Bits: 32},
		named(exposure.FieldDest4, "ipv4_addr"),
	},
	{
		exposure.FamilyIPv6,
		exposure.Raw{Base: network, Offset: 64, Bits: 128},
		named(exposure.FieldSource6, "ipv6_addr"),
	},
	{
		exposure.FamilyIPv6,
		exposure.Raw{Base: network, Offset: 192, Bits: 128},
		named(exposure.FieldDest6, "ipv6_addr"),
	},
	{
		0,
		exposure.Raw{Base: transport, Offset: 0, Bits: 16},
		named(exposure.FieldSport, "inet_service"),
	},
	{
		0,
		exposure.Raw{Base: transport, Offset: 16, Bits: 16},
		named(exposure.FieldDport, "inet_service"),
	},
}
