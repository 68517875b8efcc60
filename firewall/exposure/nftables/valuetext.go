package nftables

import (
	"fmt"
	"net"

	"github.com/portgrave/portgrave/firewall/exposure"
	"go4.org/netipx"
)

// addressTypes are RTN_* (include/uapi/linux/rtnetlink.h), in nft's words.
var addressTypes = []string{
	"unspec",
	"unicast",
	"local",
	"broadcast",
	"anycast",
	"multicast",
	"blackhole",
	"unreachable",
	"prohibit",
}

// packetTypes are PACKET_* (include/uapi/linux/if_packet.h).
var packetTypes = []string{"host", "broadcast", "multicast", "other"}

// rangeText is a range of a field's values: a prefix, a name that ends in "*", "22", "1000-2000".
func rangeText(f exposure.Field, r exposure.Range) string {
	if r.From == r.To {
		return valueText(f, r.From)
	}
	switch kind(f) {
	case kindIPv4, kindIPv6:
		from, to := r.From.IPv4(), r.To.IPv4()
		if kind(f) == kindIPv6 {
			from, to = r.From.IPv6(), r.To.IPv6()
		}
		if p, ok := netipx.IPRangeFrom(from, to).Prefix(); ok {
			return p.String()
		}
	case kindName:
		for n := 0; n < 16; n++ {
			if prefix := r.From.Text(); len(prefix) == n && exposure.NamePrefix(prefix) == r {
				return fmt.Sprintf("%q", prefix+"*")
			}
		}
	}
	return valueText(f, r.From) + "-" + valueText(f, r.To)
}

func valueText(f exposure.Field, v exposure.Value) string {
	n, small := v.Uint64()
	switch kind(f) {
	case kindIPv4:
		return v.IPv4().String()
	case kindIPv6:
		return v.IPv6().String()
	case kindName:
		return fmt.Sprintf("%q", v.Text())
	case kindMAC:
		return net.HardwareAddr{
			byte(n >> 40),
			byte(n >> 32),
			byte(n >> 24),
			byte(n >> 16),
			byte(n >> 8),
			byte(n),
		}.String()
	case kindNumber:
		switch {
		case f == exposure.FieldProtocol || f == exposure.FieldCTProtocol:
			return protocolName(n)
		case f == exposure.FieldNFProto:
			return map[uint64]string{2: "ipv4", 10: "ipv6"}[n]
		case f == exposure.FieldPacketType && n < uint64(len(packetTypes)):
			return packetTypes[n]
		case f == exposure.FieldFib && n < uint64(len(addressTypes)):
			return addressTypes[n]
		case f == exposure.FieldCTDirection && n < 2:
			return [...]string{"original", "reply"}[n]
		}
		if name, ok := namesOf(f, n); ok {
			return name
		}
		if small {
			return fmt.Sprint(n)
		}
	}
	return v.String()
}

// valueKind is how values of a field are written.
type valueKind uint8

const (
	kindHex valueKind = iota
	kindNumber
	kindIPv4
	kindIPv6
	kindMAC
	kindName
)

func kind(f exposure.Field) valueKind {
	switch f {
	case exposure.FieldSource4,
		exposure.FieldDest4,
		exposure.FieldCTOrigSource4,
		exposure.FieldCTOrigDest4,
		exposure.FieldCTReplySource4,
		exposure.FieldCTReplyDest4:
		return kindIPv4
	case exposure.FieldSource6,
		exposure.FieldDest6,
		exposure.FieldCTOrigSource6,
		exposure.FieldCTOrigDest6,
		exposure.FieldCTReplySource6,
		exposure.FieldCTReplyDest6:
		return kindIPv6
	case exposure.FieldSourceMAC, exposure.FieldDestMAC:
		return kindMAC
	case exposure.FieldInName, exposure.FieldOutName, exposure.FieldPhysIn, exposure.FieldPhysOut:
		return kindName
	case exposure.FieldMark,
		exposure.FieldCTMark,
		exposure.FieldEtherType,
		exposure.FieldRaw,
		exposure.FieldMap,
		exposure.FieldNone:
		return kindHex
	}
	return kindNumber
}
