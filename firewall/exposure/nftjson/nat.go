package nftjson

import (
	"strings"

	"github.com/portgrave/portgrave/firewall/exposure"
)

// nat translates {"dnat": {"addr": …, "port": …, "family": …, "flags": …}}, snat, masquerade and
// redirect.
func (r *ruleReader) nat(name string, args map[string]any) {
	n := exposure.NAT{
		Kind: map[string]exposure.NATKind{"dnat": exposure.NATDestination, "redirect": exposure.NATRedirect, "snat": exposure.NATSource,
			"masquerade": exposure.NATMasquerade}[name],
		Family: r.natFamily(args),
	}
	var flags []string
	netmap := false
	for _, f := range listOf(args["flags"]) {
		flags = append(flags, textOf(f))
		netmap = netmap || f == "netmap"
	}
	n.Text = strings.Join(flags, ",")
	if args["addr"] != nil {
		r.natAddress(&n, args["addr"], netmap)
	}
	if args["port"] != nil {
		n.Port, n.PortMax = r.valueOrRange(args["port"], "inet_service", 16)
	}
	r.add(n)
}

// natFamily is the translation's family: its own, or the table's.
func (r *ruleReader) natFamily(args map[string]any) exposure.Family {
	if f, ok := exposure.ParseFamily(textOf(args["family"])); ok {
		return f
	}
	switch r.table.Family {
	case exposure.FamilyIPv4, exposure.FamilyIPv6:
		return r.table.Family
	}
	return exposure.FamilyInet
}

func (r *ruleReader) natAddress(n *exposure.NAT, v any, netmap bool) {
	kind, width := "", 128
	switch n.Family {
	case exposure.FamilyIPv4:
		kind, width = "ipv4_addr", 32
	case exposure.FamilyIPv6:
		kind = "ipv6_addr"
	}
	m, _ := v.(map[string]any)
	if args, ok := m["map"].(map[string]any); ok {
		r.natMap(n, v, args, width)
		return
	}
	p, isPrefix := m["prefix"].(map[string]any)
	if !isPrefix || !netmap || kind == "" {
		n.Addr, n.AddrMax = r.valueOrRange(v, kind, width)
		return
	}
	// netmap keeps the host part: the address is the network's, and its prefix length says how much
	// is replaced.
	rng, ok := prefixOf(kind, p)
	if !ok {
		n.Addr = unknownOperand(v, width)
		return
	}
	field := map[bool]map[exposure.Family]exposure.Field{
		false: {exposure.FamilyIPv4: exposure.FieldDest4, exposure.FamilyIPv6: exposure.FieldDest6},
		true:  {exposure.FamilyIPv4: exposure.FieldSource4, exposure.FamilyIPv6: exposure.FieldSource6},
	}[n.Kind == exposure.NATSource][n.Family]
	o := exposure.Of(field).And(rng.To.Xor(rng.From)).XorWith(rng.From)
	n.Addr = &o
}

// natMap takes the address, and the port if the values are concatenations, from a map. A range
// means one of its addresses. For netmap the host part decides, but the model keeps all of them
// possible.
func (r *ruleReader) natMap(n *exposure.NAT, v any, args map[string]any, width int) {
	key, in, _ := r.lookup(args)
	if in == nil || in.Width != len(key) || in.DataWidth == 0 {
		n.Addr = unknownOperand(v, width)
		return
	}
	column := func(c int) *exposure.Operand {
		return &exposure.Operand{
			Field:  exposure.FieldMap,
			Lookup: &exposure.Lookup{Key: key, In: in, Column: c},
		}
	}
	switch parts := partsOf(in, r.table, args); {
	case parts == 1 && in.DataWidth == 1:
		n.Addr = column(0)
	case parts == 1 && in.DataWidth == 2:
		n.Addr, n.AddrMax = column(0), column(1)
	case parts == 2 && in.DataWidth == 2:
		n.Addr, n.Port = column(0), column(1)
	case parts == 2 && in.DataWidth == 4:
		n.Addr, n.AddrMax, n.Port, n.PortMax = column(0), column(1), column(2), column(3)
	default:
		n.Addr, n.Port = unknownOperand(v, width), unknownOperand(v, 16)
	}
}

// partsOf is the number of parts of a map's values: 2 for address and port.
func partsOf(in *exposure.Set, t *table, args map[string]any) int {
	if name := textOf(args["data"]); name != "" {
		return len(t.sets[name[1:]].dataKinds)
	}
	m, _ := args["data"].(map[string]any)
	for _, e := range listOf(m["set"]) {
		if pair, ok := e.([]any); ok && len(pair) == 2 {
			if value, ok := pair[1].(map[string]any); ok {
				if list, ok := value["concat"].([]any); ok {
					return len(list)
				}
			}
			return 1
		}
	}
	return 0
}

// unknownOperand is an unknown address or port.
func unknownOperand(v any, width int) *exposure.Operand {
	o := unknown(v).Operand
	o.Max = exposure.Ones(width)
	return &o
}

// valueOrRange is a value, or the first and last of a range.
func (r *ruleReader) valueOrRange(v any, kind string, width int) (first, last *exposure.Operand) {
	if rng, ok := rangeOf(kind, v); ok {
		from, to := exposure.Const(rng.From), exposure.Const(rng.To)
		if rng.From == rng.To {
			return &from, nil
		}
		return &from, &to
	}
	r.fail(impossible(kind, v))
	o := r.operand(v)
	if o.Field == exposure.FieldUnknown && o.Max.IsZero() {
		o.Max = exposure.Ones(width)
	}
	return &o.Operand, nil
}

// tproxy hands the packet to a local socket; nft goes on with the next statement.
func (r *ruleReader) tproxy(args map[string]any) {
	t := exposure.TProxy{Family: r.natFamily(args)}
	kind, width := map[exposure.Family]string{exposure.FamilyIPv4: "ipv4_addr", exposure.FamilyIPv6: "ipv6_addr"}[t.Family], 128
	if args["addr"] != nil {
		t.Addr, _ = r.valueOrRange(args["addr"], kind, width)
	}
	if args["port"] != nil {
		t.Port, _ = r.valueOrRange(args["port"], "inet_service", 16)
	}
	r.add(t)
}
