package nftables

import (
	"fmt"
	"strings"

	"github.com/portgrave/portgrave/firewall/exposure"
	"golang.org/x/sys/unix"
)

// Fields in nft's words, with what is done to them.

func keyText(key []exposure.Operand) string {
	var words []string
	for _, o := range key {
		words = append(words, operandText(o))
	}
	return strings.Join(words, " . ")
}

// operandText is a field in nft's words, with what is done to it.
func operandText(o exposure.Operand) string {
	if v, ok := o.IsConst(); ok {
		return v.String()
	}
	text := o.Field.String()
	switch o.Field {
	case exposure.FieldProtocol, exposure.FieldNFProto, exposure.FieldPacketType:
		text = "meta " + text
	case exposure.FieldUnknown:
		text = o.Text
	case exposure.FieldFib:
		text = fibText(o.Fib)
	case exposure.FieldRaw:
		text = rawText(o.Raw)
	case exposure.FieldMap:
		text = "map"
		if o.Lookup != nil && o.Lookup.In != nil {
			text = keyText(o.Lookup.Key) + " map " + setText(o.Lookup.In, o.Lookup.Key)
		}
	}
	switch {
	case o.Shift > 0:
		text += fmt.Sprintf(" << %d", o.Shift)
	case o.Shift < 0:
		text += fmt.Sprintf(" >> %d", -o.Shift)
	}
	set := o.Xor.And(o.Clear) == o.Xor // bits that are cleared first, and so set
	if !o.Clear.IsZero() && (!set || o.Xor != o.Clear) {
		text += fmt.Sprintf(" & %s", valueText(o.Field, exposure.Ones(o.Width()).AndNot(o.Clear)))
	}
	switch {
	case !o.Xor.IsZero() && set:
		text += " | " + valueText(o.Field, o.Xor)
	case !o.Xor.IsZero():
		text += " ^ " + valueText(o.Field, o.Xor)
	}
	return text
}

func fibText(f exposure.Fib) string {
	words := []string{[...]string{"saddr", "daddr"}[f.Of&1]}
	for _, w := range []struct {
		on   bool
		name string
	}{{f.ByMark, "mark"}, {f.ByIn, "iif"}, {f.ByOut, "oif"}} {
		if w.on {
			words = append(words, w.name)
		}
	}
	want := "?"
	if int(f.Want) < 5 {
		want = [...]string{"type", "oif", "oifname", "exists", "rpfilter"}[f.Want]
	}
	return "fib " + strings.Join(words, " . ") + " " + want
}

func rawText(r exposure.Raw) string {
	switch r.Base {
	case exposure.RawExtension:
		name := extensionName(r.Header)
		switch {
		case r.Present:
			return "exthdr " + strings.TrimPrefix(name, "exthdr ") + " exists"
		case r.Offset == 0 && r.Bits == 8:
			return name + " nexthdr"
		case r.Header == unix.IPPROTO_ROUTING && r.Offset == 16 && r.Bits == 8:
			return name + " type"
		}
		return fmt.Sprintf("%s @%d,%d", name, r.Offset, r.Bits)
	case exposure.RawIPOption:
		if r.Present {
			return fmt.Sprintf("ip option %d exists", r.Header)
		}
		return fmt.Sprintf("ip option %d @%d,%d", r.Header, r.Offset, r.Bits)
	case exposure.RawTCPOption:
		if r.Present {
			return fmt.Sprintf("tcp option %d exists", r.Header)
		}
		return fmt.Sprintf("tcp option %d @%d,%d", r.Header, r.Offset, r.Bits)
	}
	return fmt.Sprintf("@%s,%d,%d", baseName(r.Base), r.Offset, r.Bits)
}

var protocolNames = map[uint64]string{
	unix.IPPROTO_ICMP:    "icmp",
	unix.IPPROTO_TCP:     "tcp",
	unix.IPPROTO_UDP:     "udp",
	unix.IPPROTO_ICMPV6:  "icmpv6",
	unix.IPPROTO_SCTP:    "sctp",
	unix.IPPROTO_ESP:     "esp",
	unix.IPPROTO_AH:      "ah",
	unix.IPPROTO_GRE:     "gre",
	unix.IPPROTO_DCCP:    "dccp",
	unix.IPPROTO_UDPLITE: "udplite",
}

func protocolName(n uint64) string {
	if name, ok := protocolNames[n]; ok {
		return name
	}
	return fmt.Sprint(n)
}
