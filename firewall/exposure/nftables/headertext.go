package nftables

import (
	"fmt"

	"github.com/portgrave/portgrave/firewall/exposure"
	"golang.org/x/sys/unix"
)

// headerName is a field of the IP header by its place, as nft calls it.
type headerName struct {
	version      exposure.Family
	offset, bits int
	name         string
	protocol     bool // its values are protocols
	shift        int  // bits that come behind it in what is loaded, and aren't its own
}

// headerNames are those that rules ask for; the traffic class is loaded with its neighbours.
var headerNames = []headerName{
	{exposure.FamilyIPv4, 0, 8, "ip version", false, 4},
	{exposure.FamilyIPv4, 8, 8, "ip dscp", false, 2},
	{exposure.FamilyIPv4, 16, 16, "ip length", false, 0},
	{exposure.FamilyIPv4, 32, 16, "ip id", false, 0},
	{exposure.FamilyIPv4, 48, 16, "ip frag-off", false, 0},
	{exposure.FamilyIPv4, 64, 8, "ip ttl", false, 0},
	{exposure.FamilyIPv4, 80, 16, "ip checksum", false, 0},
	{exposure.FamilyIPv6, 32, 16, "ip6 length", false, 0},
	{exposure.FamilyIPv6, 48, 8, "ip6 nexthdr", true, 0},
	{exposure.FamilyIPv6, 56, 8, "ip6 hoplimit", false, 0},
}

// named says a match of a header field as nft does: "ip ttl 64" for "@nh,64,8 0x40".
func named(version exposure.Family, m exposure.Match) exposure.Statement {
	if len(m.Key) != 1 || m.Key[0].Field != exposure.FieldRaw || m.In == nil || m.In.Name != "" ||
		len(m.In.Keys) == 0 {
		return m
	}
	k := m.Key[0]
	if k != (exposure.Operand{Field: k.Field, Raw: k.Raw}) {
		return m
	}
	for _, h := range headerNames {
		if h.version != version ||
			k.Raw != (exposure.Raw{Base: exposure.RawNetwork, Offset: h.offset, Bits: h.bits}) {
			continue
		}
		shown := exposure.FieldPacketType // a plain number
		if h.protocol {
			shown = exposure.FieldProtocol
		}
		words := make([]string, 0, min(len(m.In.Keys), shownMost+1))
		for i, r := range m.In.Keys {
			if i == shownMost {
				words = append(words, fmt.Sprintf("… %d in all", len(m.In.Keys)))
				break
			}
			low := exposure.Ones(h.shift)
			if !r.From.And(low).IsZero() || r.To.Or(low) != r.To {
				return m // it isn't the whole field
			}
			r = exposure.Range{From: r.From.Shift(-h.shift), To: r.To.Shift(-h.shift)}
			top := exposure.Ones(h.bits - h.shift)
			if len(m.In.Keys) > 1 || m.Not {
				top = exposure.Ones(128) // in a set there are no signs
			}
			words = append(words, numberText(shown, r, top))
		}
		return exposure.NoEffect{Text: h.name + signOf(m.Not) + listText(words)}
	}
	return m
}

// numberText is a range of numbers: "5", "< 5", "5-9"; protocols by their names.
func numberText(shown exposure.Field, r exposure.Range, top exposure.Value) string {
	from, _ := r.From.Uint64()
	to, _ := r.To.Uint64()
	text := func(n uint64) string {
		if shown == exposure.FieldProtocol {
			return protocolName(n)
		}
		return fmt.Sprint(n)
	}
	switch {
	case from == to:
		return text(from)
	case from == 0 && top != exposure.Ones(128) && r.To != top:
		return "< " + text(to+1)
	case r.To == top && from > 0:
		return "> " + text(from-1)
	}
	return text(from) + "-" + text(to)
}

func signOf(not bool) string {
	if not {
		return " != "
	}
	return " "
}

// listText is one value, or a set of some.
func listText(words []string) string {
	if len(words) == 1 {
		return words[0]
	}
	out := "{ " + words[0]
	for _, w := range words[1:] {
		out += ", " + w
	}
	return out + " }"
}

// extensionName is nft's name for an IPv6 extension header.
func extensionName(n uint8) string {
	switch n {
	case unix.IPPROTO_HOPOPTS:
		return "hbh"
	case unix.IPPROTO_ROUTING:
		return "rt"
	case unix.IPPROTO_FRAGMENT:
		return "frag"
	case unix.IPPROTO_DSTOPTS:
		return "dst"
	case unix.IPPROTO_MH:
		return "mh"
	}
	return fmt.Sprintf("exthdr %d", n)
}
