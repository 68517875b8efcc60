package nftables

import (
	"fmt"
	"strings"

	"github.com/portgrave/portgrave/firewall/exposure"
)

// What NAT and assignments set, in nft's words.

// valuesText is what a field is set to.
func valuesText(to exposure.Field, values []exposure.Operand) string {
	var words []string
	for _, v := range values {
		if c, ok := v.IsConst(); ok {
			words = append(words, valueText(to, c))
			continue
		}
		words = append(words, operandText(v))
	}
	return strings.Join(words, " ^ ")
}

func natStatementText(n exposure.NAT) string {
	return strings.TrimSpace(
		n.Kind.String() + toText(n.Family, n.Addr, n.AddrMax, n.Port, n.PortMax) + " " + n.Text,
	)
}

// toText is " to address-address:port-port". What comes from one element of a map is written once.
func toText(f exposure.Family, addr, addrMax, port, portMax *exposure.Operand) string {
	var parts []string
	last := ""
	columns := map[int]exposure.Field{}
	dest := exposure.FieldDest4
	if f == exposure.FamilyIPv6 {
		dest = exposure.FieldDest6
	}
	for _, o := range []*exposure.Operand{addr, addrMax, port, portMax} {
		if o == nil || o.Field != exposure.FieldMap || o.Lookup == nil {
			continue
		}
		if columns[o.Lookup.Column] = dest; o == port || o == portMax {
			columns[o.Lookup.Column] = exposure.FieldDport
		}
	}
	for _, p := range []struct {
		sign    string
		operand *exposure.Operand
		address bool
	}{{"", addr, true}, {"-", addrMax, true}, {":", port, false}, {"-", portMax, false}} {
		if p.operand == nil {
			continue
		}
		text := endText(f, *p.operand, p.address)
		l := p.operand.Lookup
		if l != nil && l.In != nil &&
			*p.operand == (exposure.Operand{Field: exposure.FieldMap, Lookup: l}) {
			text = keyText(l.Key) + " map " + mapText(l.In, l.Key, columns)
		}
		if text != last {
			parts = append(parts, p.sign+text)
		}
		if p.operand.Field == exposure.FieldMap {
			last = text
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return " to " + strings.Join(parts, "")
}

// endText is an address or a port that is translated to.
func endText(f exposure.Family, o exposure.Operand, address bool) string {
	v, ok := o.IsConst()
	switch n, small := v.Uint64(); {
	case !ok:
		return operandText(o)
	case !address:
		return fmt.Sprint(n)
	case f == exposure.FamilyIPv4 || f == exposure.FamilyInet && small && n < 1<<32: // of both families: no IPv6 address that low is of use
		return v.IPv4().String()
	}
	return "[" + v.IPv6().String() + "]"
}
