package nftables

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// field is a part of a header that has a name.
type field struct {
	at, size int
	name     string
	kind     kind
}

// Headers (RFC 791, 8200, 9293, 768, 9260, 792, 4443; nftables, src/proto.c).
var (
	etherHeader = []field{
		{0, 6, "ether daddr", kindEther},
		{6, 6, "ether saddr", kindEther},
		{12, 2, "ether type", kindEtherType},
	}
	ip4Header = []field{
		{2, 2, "ip length", kindNumber},
		{4, 2, "ip id", kindNumber},
		{6, 2, "ip frag-off", kindBytes},
		{8, 1, "ip ttl", kindNumber},
		{9, 1, "ip protocol", kindProtocol},
		{10, 2, "ip checksum", kindNumber},
		{12, 4, "ip saddr", kindIPv4},
		{16, 4, "ip daddr", kindIPv4},
	}
	ip6Header = []field{
		{4, 2, "ip6 length", kindNumber},
		{6, 1, "ip6 nexthdr", kindProtocol},
		{7, 1, "ip6 hoplimit", kindNumber},
		{8, 16, "ip6 saddr", kindIPv6},
		{24, 16, "ip6 daddr", kindIPv6},
	}
	ports = []field{
		{0, 2, "sport", kindNumber},
		{2, 2, "dport", kindNumber},
	}
	tcpHeader = append(ports[:2:2], []field{
		{4, 4, "sequence", kindNumber},
		{8, 4, "ackseq", kindNumber},
		{13, 1, "flags", kindTCPFlags},
		{14, 2, "window", kindNumber},
	}...)
	udpHeader = append(ports[:2:2], field{4, 2, "length", kindNumber})
)

// icmpHeader is the header of ICMP or ICMPv6, which have other types.
func icmpHeader(types kind) []field {
	return []field{{0, 1, "type", types}, {1, 1, "code", kindNumber}, {4, 2, "id", kindNumber}}
}

// transports are the headers of protocols by number.
var transports = map[int]struct {
	name   string
	header []field
}{
	0:                    {"th", ports}, // no protocol is known
	unix.IPPROTO_TCP:     {"tcp", tcpHeader},
	unix.IPPROTO_UDP:     {"udp", udpHeader},
	unix.IPPROTO_UDPLITE: {"udplite", ports},
	unix.IPPROTO_SCTP:    {"sctp", ports},
	unix.IPPROTO_DCCP:    {"dccp", ports},
	unix.IPPROTO_ICMP:    {"icmp", icmpHeader(kindICMP)},
	unix.IPPROTO_ICMPV6:  {"icmpv6", icmpHeader(kindICMPv6)},
	unix.IPPROTO_ESP:     {"esp", []field{{0, 4, "spi", kindNumber}}},
	unix.IPPROTO_AH: {
		"ah",
		[]field{{0, 1, "nexthdr", kindProtocol}, {4, 4, "spi", kindNumber}},
	},
}

// context is what a rule has made sure of so far: the IP version, 4 or 6, and the transport
// protocol; 0 for what it hasn't.
type context struct {
	version, protocol int
	ethernet          bool
}

// fields cuts bytes of a packet into fields. What isn't all fields, or the first bytes of an
// address, is one piece without a name.
func (x context) fields(p Payload) []value {
	header, prefix, says := etherHeader, "", context{}
	switch p.Base {
	case unix.NFT_PAYLOAD_LL_HEADER:
		says.ethernet = true
	case unix.NFT_PAYLOAD_NETWORK_HEADER:
		header = map[int][]field{4: ip4Header, 6: ip6Header}[x.version]
		says.version = x.version
	case unix.NFT_PAYLOAD_TRANSPORT_HEADER:
		t, ok := transports[x.protocol]
		header, prefix, says.protocol = t.header, t.name+" ", x.protocol
		if !ok {
			header, prefix = ports, "th "
		}
		// nft makes sure of the IP version before it looks at these.
		switch x.protocol {
		case unix.IPPROTO_ICMP:
			says.version = 4
		case unix.IPPROTO_ICMPV6:
			says.version = 6
		}
	default:
		header = nil
	}
	var out []value
	at, end := int(p.Offset), int(p.Offset)+int(p.Len)
	for _, f := range header {
		if f.at != at || at >= end {
			continue
		}
		size := min(f.size, end-at)
		if size < f.size && f.kind != kindIPv4 && f.kind != kindIPv6 {
			break
		}
		out = append(out, value{text: prefix + f.name, kind: f.kind, size: size, full: f.size,
			says: says, ofPacket: true})
		at += size
	}
	base := [...]string{"ll", "nh", "th", "ih"}[p.Base&3]
	raw := fmt.Sprintf("@%s,%d,%d", base, 8*uint64(p.Offset), 8*uint64(p.Len))
	if at != end || p.Len == 0 || p.Len > registerBytes {
		size := int(min(p.Len, registerBytes))
		return []value{{text: raw, size: size, full: size, says: context{version: says.version}}}
	}
	out[0].raw = raw
	return out
}

// metaKeys are nft's names for NFT_META_*, and the lengths of what they load (net/netfilter/
// nft_meta.c; nftables, src/meta.c).
var metaKeys = map[uint32]value{
	unix.NFT_META_LEN:         {text: "meta length", kind: kindHost, size: 4},
	unix.NFT_META_PROTOCOL:    {text: "meta protocol", kind: kindEtherType, size: 2},
	unix.NFT_META_PRIORITY:    {text: "meta priority", kind: kindMark, size: 4},
	unix.NFT_META_MARK:        {text: "meta mark", kind: kindMark, size: 4},
	unix.NFT_META_IIF:         {text: "iif", kind: kindHost, size: 4},
	unix.NFT_META_OIF:         {text: "oif", kind: kindHost, size: 4},
	unix.NFT_META_IIFNAME:     {text: "iifname", kind: kindName, size: 16},
	unix.NFT_META_OIFNAME:     {text: "oifname", kind: kindName, size: 16},
	unix.NFT_META_IIFTYPE:     {text: "meta iiftype", kind: kindHardware, size: 2},
	unix.NFT_META_OIFTYPE:     {text: "meta oiftype", kind: kindHardware, size: 2},
	unix.NFT_META_SKUID:       {text: "meta skuid", kind: kindHost, size: 4},
	unix.NFT_META_SKGID:       {text: "meta skgid", kind: kindHost, size: 4},
	unix.NFT_META_NFTRACE:     {text: "meta nftrace", kind: kindNumber, size: 1},
	unix.NFT_META_RTCLASSID:   {text: "meta rtclassid", kind: kindMark, size: 4},
	unix.NFT_META_SECMARK:     {text: "meta secmark", kind: kindMark, size: 4},
	unix.NFT_META_NFPROTO:     {text: "meta nfproto", kind: kindVersion, size: 1},
	unix.NFT_META_L4PROTO:     {text: "meta l4proto", kind: kindProtocol, size: 1},
	unix.NFT_META_BRI_IIFNAME: {text: "meta ibrname", kind: kindName, size: 16},
	unix.NFT_META_BRI_OIFNAME: {text: "meta obrname", kind: kindName, size: 16},
	unix.NFT_META_PKTTYPE:     {text: "meta pkttype", kind: kindPacket, size: 1},
	unix.NFT_META_CPU:         {text: "meta cpu", kind: kindHost, size: 4},
	unix.NFT_META_IIFGROUP:    {text: "iifgroup", kind: kindHost, size: 4},
	unix.NFT_META_OIFGROUP:    {text: "oifgroup", kind: kindHost, size: 4},
	unix.NFT_META_CGROUP:      {text: "meta cgroup", kind: kindHost, size: 4},
	unix.NFT_META_PRANDOM:     {text: "meta random", kind: kindHost, size: 4},
	25:                        {text: "meta ipsec", kind: kindExists, size: 1}, // NFT_META_SECPATH
	MetaIIFKind:               {text: "meta iifkind", kind: kindName, size: 16},
	27:                        {text: "meta oifkind", kind: kindName, size: 16}, // NFT_META_OIFKIND
	28:                        {text: "meta ibrpvid", kind: kindHost, size: 2},
	29:                        {text: "meta ibrvproto", kind: kindEtherType, size: 2},
	30:                        {text: "meta time", kind: kindTime, size: 8}, // NFT_META_TIME_NS
	31:                        {text: "meta day", kind: kindDay, size: 1},
	32:                        {text: "meta hour", kind: kindHour, size: 4},
	33:                        {text: "meta sdif", kind: kindHost, size: 4},
	MetaSDIFName:              {text: "meta sdifname", kind: kindName, size: 16},
	35:                        {text: "meta broute", kind: kindNumber, size: 1},
	36:                        {text: "meta ibrhwaddr", kind: kindEther, size: 6},
}

// Keys of Meta that x/sys/unix lacks.
const (
	MetaIIFKind  = 26 // NFT_META_IIFKIND: the kind of interface by which a packet came
	MetaSDIFName = 34 // NFT_META_SDIFNAME: the interface of a VRF by which it came
)

// ctKeys are nft's names for NFT_CT_* (net/netfilter/nft_ct.c; nftables, src/ct.c), without the
// direction.
var ctKeys = map[uint32]value{
	unix.NFT_CT_STATE:      {text: "state", kind: kindCTState, size: 4},
	unix.NFT_CT_DIRECTION:  {text: "direction", kind: kindDirection, size: 1},
	unix.NFT_CT_STATUS:     {text: "status", kind: kindCTStatus, size: 4},
	unix.NFT_CT_MARK:       {text: "mark", kind: kindMark, size: 4},
	unix.NFT_CT_SECMARK:    {text: "secmark", kind: kindMark, size: 4},
	unix.NFT_CT_EXPIRATION: {text: "expiration", kind: kindHost, size: 4},
	unix.NFT_CT_HELPER:     {text: "helper", kind: kindName, size: 16},
	unix.NFT_CT_L3PROTOCOL: {text: "l3proto", kind: kindVersion, size: 1},
	unix.NFT_CT_SRC:        {text: "saddr", kind: kindBytes, size: 16},
	unix.NFT_CT_DST:        {text: "daddr", kind: kindBytes, size: 16},
	unix.NFT_CT_PROTOCOL:   {text: "protocol", kind: kindProtocol, size: 1},
	unix.NFT_CT_PROTO_SRC:  {text: "proto-src", kind: kindNumber, size: 2},
	unix.NFT_CT_PROTO_DST:  {text: "proto-dst", kind: kindNumber, size: 2},
	unix.NFT_CT_LABELS:     {text: "label", kind: kindLabel, size: 16},
	unix.NFT_CT_PKTS:       {text: "packets", kind: kindHost, size: 8},
	unix.NFT_CT_BYTES:      {text: "bytes", kind: kindHost, size: 8},
	unix.NFT_CT_AVGPKT:     {text: "avgpkt", kind: kindHost, size: 8},
	unix.NFT_CT_ZONE:       {text: "zone", kind: kindHost, size: 2},
	unix.NFT_CT_EVENTMASK:  {text: "event", kind: kindMark, size: 4},
	unix.NFT_CT_SRC_IP:     {text: "ip saddr", kind: kindIPv4, size: 4},
	unix.NFT_CT_DST_IP:     {text: "ip daddr", kind: kindIPv4, size: 4},
	unix.NFT_CT_SRC_IP6:    {text: "ip6 saddr", kind: kindIPv6, size: 16},
	unix.NFT_CT_DST_IP6:    {text: "ip6 daddr", kind: kindIPv6, size: 16},
	unix.NFT_CT_ID:         {text: "id", kind: kindMark, size: 4},
}
