package nftables

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/bits"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// kind says how nft writes the values of a field.
type kind uint8

const (
	kindBytes     kind = iota // 0x0a0b
	kindNumber                // in network byte order
	kindHost                  // a number in the host's byte order
	kindMark                  // the same, always in hex
	kindIPv4                  // an address, or its first bytes
	kindIPv6                  //
	kindEther                 //
	kindEtherType             //
	kindProtocol              // of the transport
	kindVersion               // NFPROTO_*
	kindName                  // of an interface: 16 bytes, or those before "*"
	kindCTState               // flags in the host's byte order
	kindCTStatus              //
	kindTCPFlags              //
	kindLabel                 // a bit of a connection's label
	kindDirection             //
	kindRoute                 // type of a route
	kindPacket                // NFPROTO's PACKET_*
	kindICMP                  // type of a message
	kindICMPv6                //
	kindExists                // whether there is such a thing
	kindHardware              // type of an interface: ARPHRD_*
	kindTime                  // nanoseconds since 1970
	kindDay                   // of the week
	kindHour                  // seconds since midnight UTC
)

// Bits and numbers that nft writes as words (nftables, src/ct.c, src/proto.c, src/fib.c).
var (
	ctStates = []string{0: "invalid", 1: "established", 2: "related", 3: "new", 6: "untracked"}
	ctStatus = []string{0: "expected", 1: "seen-reply", 2: "assured", 3: "confirmed", 4: "snat",
		5: "dnat", 9: "dying"}
	tcpFlags = []string{"fin", "syn", "rst", "psh", "ack", "urg", "ecn", "cwr"}

	routeTypes = []string{"unspec", "unicast", "local", "broadcast", "anycast", "multicast",
		"blackhole", "unreachable", "prohibit"}
	packetTypes = []string{"host", "broadcast", "multicast", "other"}
	directions  = []string{"original", "reply"}
	existence   = []string{"missing", "exists"}
	icmpTypes   = []string{0: "echo-reply", 3: "destination-unreachable", 4: "source-quench",
		5: "redirect",
		8: "echo-request", 9: "router-advertisement", 10: "router-solicitation", 11: "time-exceeded",
		12: "parameter-problem", 13: "timestamp-request", 14: "timestamp-reply", 15: "info-request",
		16: "info-reply", 17: "address-mask-request", 18: "address-mask-reply"}
	icmpv6Types = []string{1: "destination-unreachable", 2: "packet-too-big", 3: "time-exceeded",
		4: "parameter-problem", 128: "echo-request", 129: "echo-reply", 130: "mld-listener-query",
		131: "mld-listener-report", 132: "mld-listener-done", 133: "nd-router-solicit",
		134: "nd-router-advert", 135: "nd-neighbor-solicit", 136: "nd-neighbor-advert",
		137: "nd-redirect", 138: "router-renumbering", 141: "ind-neighbor-solicit",
		142: "ind-neighbor-advert", 143: "mld2-listener-report"}
)

// Protocols that nft knows without the host's /etc/protocols are written by name, others by number,
// so that the text loads on any host.
var protocolNames = map[uint64]string{unix.IPPROTO_TCP: "tcp", unix.IPPROTO_UDP: "udp",
	unix.IPPROTO_SCTP: "sctp"}

// moreProtocols are those and others, for people.
var moreProtocols = map[uint64]string{unix.IPPROTO_TCP: "tcp", unix.IPPROTO_UDP: "udp",
	unix.IPPROTO_SCTP: "sctp", unix.IPPROTO_ICMP: "icmp", unix.IPPROTO_ICMPV6: "icmpv6",
	unix.IPPROTO_IGMP: "igmp", unix.IPPROTO_ESP: "esp", unix.IPPROTO_AH: "ah",
	unix.IPPROTO_GRE: "gre", unix.IPPROTO_DCCP: "dccp", unix.IPPROTO_UDPLITE: "udplite"}

var versionNames = map[uint64]string{unix.NFPROTO_IPV4: "ipv4", unix.NFPROTO_IPV6: "ipv6"}

var etherTypes = map[uint64]string{unix.ETH_P_IP: "ip", unix.ETH_P_IPV6: "ip6",
	unix.ETH_P_ARP:   "arp",
	unix.ETH_P_8021Q: "8021q", unix.ETH_P_8021AD: "8021ad"}

// word is the n-th of a list, or the number.
func word(list []string, n uint64) string {
	if n < uint64(len(list)) && list[n] != "" {
		return list[n]
	}
	return strconv.FormatUint(n, 10)
}

func named(names map[uint64]string, n uint64, otherwise string) string {
	if name, ok := names[n]; ok {
		return name
	}
	return fmt.Sprintf(otherwise, n)
}

// ICMPType is nft's word for a type of an ICMP or ICMPv6 message.
func ICMPType(n uint64, six bool) string {
	if six {
		return word(icmpv6Types, n)
	}
	return word(icmpTypes, n)
}

// hostOrder reports whether numbers of the kind are in the byte order of the host.
func (k kind) hostOrder() bool {
	switch k {
	case kindHost, kindMark, kindCTState, kindCTStatus, kindRoute, kindExists, kindHardware,
		kindTime, kindHour:
		return true
	}
	return false
}

// number reads up to eight bytes.
func (k kind) number(s string) (uint64, bool) {
	if len(s) == 0 || len(s) > 8 {
		return 0, false
	}
	var b [8]byte
	if k.hostOrder() && isLittleEndian {
		copy(b[:], s)
		return binary.LittleEndian.Uint64(b[:]), true
	}
	copy(b[8-len(s):], s)
	return binary.BigEndian.Uint64(b[:]), true
}

var isLittleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// write is a value in nft's words. full is the length of the whole field.
func (k kind) write(s string, full int) string {
	switch k {
	case kindIPv4, kindIPv6:
		if a, ok := address(s, full); ok {
			if len(s) < full {
				return netip.PrefixFrom(a, 8*len(s)).String()
			}
			return a.String()
		}
	case kindName:
		return interfaceName(s)
	case kindEther:
		return net.HardwareAddr(s).String()
	case kindLabel:
		if bit, ok := labelBit(s); ok {
			return strconv.Itoa(bit)
		}
	}
	n, ok := k.number(s)
	if !ok {
		return inHex(s)
	}
	switch k {
	case kindNumber, kindHost, kindHardware:
		return strconv.FormatUint(n, 10)
	case kindMark:
		return fmt.Sprintf("0x%08x", n)
	case kindEtherType:
		return named(etherTypes, n, "0x%04x")
	case kindProtocol:
		return named(protocolNames, n, "%d")
	case kindVersion:
		return named(versionNames, n, "%d")
	case kindDirection:
		return word(directions, n)
	case kindRoute:
		return word(routeTypes, n)
	case kindPacket:
		return word(packetTypes, n)
	case kindExists:
		return word(existence, n)
	case kindICMP:
		return word(icmpTypes, n)
	case kindICMPv6:
		return word(icmpv6Types, n)
	case kindDay:
		if n < 7 {
			return strconv.Quote(time.Weekday(n).String())
		}
		return strconv.FormatUint(n, 10)
	case kindTime, kindHour:
		return timeText(k, n)
	}
	if flags := k.flags(); flags != nil {
		if names, ok := flagNames(flags, n); ok {
			return strings.Join(names, ",")
		}
	}
	return inHex(s)
}

// timeText is a time or a time of day, in the local time, as nft writes it.
func timeText(k kind, n uint64) string {
	if k == kindTime {
		return strconv.Quote(time.Unix(0, int64(n)).Format(time.DateTime))
	}
	const day = 24 * 60 * 60
	_, offset := time.Now().Zone()
	seconds := ((int(n%day)+offset)%day + day) % day
	text := fmt.Sprintf("%02d:%02d", seconds/3600, seconds/60%60)
	if seconds%60 != 0 {
		text += fmt.Sprintf(":%02d", seconds%60)
	}
	return strconv.Quote(text)
}

func inHex(s string) string {
	digits := strings.TrimLeft(hex.EncodeToString([]byte(s)), "0")
	return "0x" + cmp.Or(digits, "0")
}

// flags are the names of a kind's bits; nil for other kinds.
func (k kind) flags() []string {
	switch k {
	case kindCTState:
		return ctStates
	case kindCTStatus:
		return ctStatus
	case kindTCPFlags:
		return tcpFlags
	}
	return nil
}

// flagNames are the names of bits; false if some have none, or none is set.
func flagNames(flags []string, n uint64) (names []string, ok bool) {
	for i, name := range flags {
		if n&(1<<i) != 0 && name != "" {
			names = append(names, name)
			n &^= 1 << i
		}
	}
	return names, n == 0 && len(names) > 0
}

// address is an address of so many bytes; s has the first ones.
func address(s string, full int) (netip.Addr, bool) {
	if len(s) > full {
		return netip.Addr{}, false
	}
	b := make([]byte, full)
	copy(b, s)
	return netip.AddrFromSlice(b)
}

// interfaceName is a name in quotes. What doesn't end with a zero byte is what a name begins with.
func interfaceName(s string) string {
	name, _, whole := strings.Cut(s, "\x00")
	if !whole && len(s) < unix.IFNAMSIZ {
		name += "*"
	}
	return strconv.Quote(name)
}

// labelBit is the number of the only bit that is set. Bit N is bit N%8 of byte N/8.
func labelBit(s string) (bit int, ok bool) {
	for i := range len(s) {
		switch bits.OnesCount8(s[i]) {
		case 0:
		case 1:
			if ok {
				return 0, false
			}
			bit, ok = 8*i+bits.TrailingZeros8(s[i]), true
		default:
			return 0, false
		}
	}
	return bit, ok
}

// PrefixBits is how many bits a mask has in front, if it has no others.
func PrefixBits(mask string) (int, bool) {
	n := 0
	for n < len(mask) && mask[n] == 0xff {
		n++
	}
	length := 8 * n
	if n < len(mask) {
		ones := bits.LeadingZeros8(^mask[n])
		if mask[n]<<ones != 0 {
			return 0, false
		}
		length += ones
		n++
	}
	return length, strings.Trim(mask[n:], "\x00") == ""
}
