package nftjson

import (
	"encoding/json"
	"slices"
	"strconv"

	"github.com/portgrave/portgrave/firewall/exposure"
)

// ruleReader turns one rule into statements.
type ruleReader struct {
	table *table
	out   []exposure.Statement
	// version is the only IP version that gets here, by the table or a match. FamilyInet and
	// others: any.
	version exposure.Family
	// protocol is the only transport protocol that gets here, +1; 0: any.
	protocol int
	absent   []string // sets that the rule names and that aren't there
	// wrong is why nft wouldn't load the rule; "" if nothing is known.
	wrong string
	// omits: the listing doesn't have all that the rule asks for.
	omits bool
}

func (r *ruleReader) add(s exposure.Statement) { r.out = append(r.out, s) }

// addImplied adds the match that an expression implies and nft's listing omits.
func (r *ruleReader) addImplied(version exposure.Family, protocol int) {
	if version != exposure.FamilyUnspec && r.version != version {
		r.add(
			exposure.In(
				exposure.Of(exposure.FieldNFProto), exposure.One(exposure.Number(uint64(version))),
			),
		)
		r.version = version
	}
	if protocol >= 0 && r.protocol != protocol+1 {
		r.add(
			exposure.In(
				exposure.Of(exposure.FieldProtocol),
				exposure.One(exposure.Number(uint64(protocol))),
			),
		)
		r.protocol = protocol + 1
	}
}

// read is an operand and the kind of its value, "" for a value without one.
type read struct {
	exposure.Operand
	kind string
}

// unknown is a value that can't be known.
func unknown(e any) read {
	return read{exposure.Operand{Field: exposure.FieldUnknown, Text: text(e)}, ""}
}

// operand reads an expression with one value. Implied matches are added first. Expressions without
// a model become FieldUnknown.
func (r *ruleReader) operand(e any) read {
	m, ok := e.(map[string]any)
	if !ok || len(m) != 1 {
		if v, ok := constant("", e); ok {
			return read{exposure.Const(v), ""}
		}
		return unknown(e)
	}
	for name, body := range m {
		args, _ := body.(map[string]any)
		switch name {
		case "payload":
			return r.payload(e, args)
		case "meta":
			if f, ok := metas[textOf(args["key"])]; ok {
				return f.read()
			}
		case "exthdr":
			return r.exthdr(e, args)
		case "ct":
			return r.ct(e, args)
		case "fib":
			return fib(e, args)
		case "numgen", "jhash", "symhash":
			return moduloOperand(e, args)
		case "map":
			return r.mapped(e, args)
		case "&", "|", "^", "<<", ">>":
			return r.operation(e, name, body)
		}
	}
	return unknown(e)
}

func (f field) read() read {
	return read{exposure.Operand{Field: f.at, Raw: f.raw}, f.kind}
}

func textOf(v any) string {
	s, _ := v.(string)
	return s
}

func intOf(v any) (int, bool) {
	n, ok := v.(json.Number)
	if !ok {
		return 0, false
	}
	i, err := strconv.Atoi(n.String())
	return i, err == nil
}

func (r *ruleReader) payload(e any, args map[string]any) read {
	if args["tunnel"] != nil { // the header of an encapsulated packet
		return unknown(e)
	}
	if name := textOf(args["protocol"]); name != "" {
		h, ok := headers[name]
		f, known := h.fields[textOf(args["field"])]
		if !ok {
			return unknown(e)
		}
		r.addImplied(h.version, h.protocol)
		if !known {
			return unknown(e)
		}
		return f.read()
	}
	base, ok := map[string]exposure.RawBase{"ll": link, "nh": network, "th": transport, "ih": exposure.RawInner}[textOf(args["base"])]
	offset, ok1 := intOf(args["offset"])
	length, ok2 := intOf(args["len"])
	if !ok || !ok1 || !ok2 || offset < 0 || offset > 1<<16 || length < 1 || length > 128 {
		return unknown(e)
	}
	raw := exposure.Raw{Base: base, Offset: offset, Bits: length}
	for _, known := range rawFields {
		if known.raw == raw && (known.version == 0 || known.version == r.version) {
			return read{exposure.Of(known.field.at), known.field.kind}
		}
	}
	if r.protocol == 6+1 && raw == (exposure.Raw{Base: transport, Offset: 104, Bits: 8}) {
		return read{exposure.Of(exposure.FieldTCPFlags), "tcp_flag"}
	}
	return read{exposure.Operand{Field: exposure.FieldRaw, Raw: raw}, "integer"}
}

// exthdr reads a field of an IPv6 extension header or, without a field, whether it is there.
func (r *ruleReader) exthdr(e any, args map[string]any) read {
	h, ok := extensions[textOf(args["name"])]
	if !ok || args["offset"] != nil {
		return unknown(e)
	}
	f, known := h.fields[textOf(args["field"])]
	if args["field"] == nil {
		f, known = bits(exposure.RawExtension, 0, 8, "boolean"), true
		f.raw.Present = true
	}
	if !known {
		return unknown(e)
	}
	r.addImplied(exposure.FamilyIPv6, -1)
	f.raw.Header = h.number
	return f.read()
}

func (r *ruleReader) ct(e any, args map[string]any) read {
	key, direction := textOf(args["key"]), textOf(args["dir"])
	if direction == "" {
		if f, ok := cts[key]; ok {
			return f.read()
		}
		return unknown(e)
	}
	if key == "saddr" || key == "daddr" {
		family := textOf(args["family"])
		if family == "" {
			family = r.version.String()
		}
		key = family + " " + key
	}
	f, ok := directed[direction][key]
	if !ok {
		return unknown(e)
	}
	// the kernel ends the rule for a connection of the other version (nft_ct_get_eval)
	switch f.kind {
	case "ipv4_addr":
		r.addImplied(exposure.FamilyIPv4, -1)
	case "ipv6_addr":
		r.addImplied(exposure.FamilyIPv6, -1)
	}
	return f.read()
}

func fib(e any, args map[string]any) read {
	var f exposure.Fib
	for _, flag := range listOf(args["flags"]) {
		switch flag {
		case "saddr":
			f.Of = exposure.FibSource
		case "daddr":
			f.Of = exposure.FibDest
		case "mark":
			f.ByMark = true
		case "iif":
			f.ByIn = true
		case "oif":
			f.ByOut = true
		default:
			return unknown(e)
		}
	}
	kind := ""
	switch textOf(args["result"]) {
	case "type":
		f.Want, kind = exposure.FibType, "fib_addrtype"
	case "oif":
		f.Want, kind = exposure.FibOutName, "iface_index"
	case "oifname":
		f.Want, kind = exposure.FibOutName, "ifname"
	case "check":
		f.Want, kind = exposure.FibExists, "boolean"
	default:
		return unknown(e)
	}
	return read{exposure.Operand{Field: exposure.FieldFib, Fib: f}, kind}
}

// moduloOperand is an unknown number below a modulus.
func moduloOperand(e any, args map[string]any) read {
	o := unknown(e)
	mod, ok1 := intOf(args["mod"])
	offset, ok2 := intOf(args["offset"])
	if args["offset"] == nil {
		ok2 = true
	}
	if ok1 && ok2 && mod > 0 && offset >= 0 {
		o.Max = exposure.Number(uint64(offset) + uint64(mod) - 1)
	}
	o.kind = "integer"
	return o
}

// operation reads an operation on a value and constants.
func (r *ruleReader) operation(e any, op string, body any) read {
	list, ok := body.([]any)
	if !ok || len(list) < 2 {
		return unknown(e)
	}
	if v, ok := constant("", e); ok {
		return read{exposure.Const(v), ""}
	}
	// The constant may precede the value, except in shifts.
	if _, first := constant("", list[0]); first && op != "<<" && op != ">>" {
		list = append(append([]any(nil), list[1:]...), list[0])
	}
	o := r.operand(list[0])
	if o.Field == exposure.FieldUnknown {
		return unknown(e)
	}
	for _, x := range list[1:] {
		kind := o.kind
		if op == "<<" || op == ">>" {
			kind = ""
		}
		v, ok := constant(kind, x)
		if list, isList := x.([]any); !ok && isList {
			v, ok = combined(kind, "|", list) // nft prints the mask of tcp flags as a list
		}
		n, small := v.Uint64()
		switch {
		case !ok:
			return unknown(e)
		case op == "&":
			o.Operand = o.And(v)
		case op == "|":
			o.Operand = o.Or(v)
		case op == "^":
			o.Operand = o.XorWith(v)
		case op == "<<" && small && n < 128:
			o.Operand = o.ShiftBy(int(n))
		case op == ">>" && small && n < 128:
			o.Operand = o.ShiftBy(-int(n))
		default:
			return unknown(e)
		}
	}
	return o
}

// key reads an expression that is a tuple: a concatenation, or one value.
func (r *ruleReader) key(e any) []read {
	if m, ok := e.(map[string]any); ok {
		if inner, ok := m["elem"].(map[string]any); ok {
			return r.key(inner["val"])
		}
		if list, ok := m["concat"].([]any); ok && len(list) > 0 {
			var out []read
			for _, x := range list {
				out = append(out, r.operand(x))
			}
			return out
		}
	}
	return []read{r.operand(e)}
}

func operandsOf(key []read) []exposure.Operand {
	out := make([]exposure.Operand, len(key))
	for i, k := range key {
		out[i] = k.Operand
	}
	return out
}

func kindsOf(key []read) []string {
	out := make([]string, len(key))
	for i, k := range key {
		out[i] = k.kind
	}
	return out
}

// mapped is the first column of a map's data for a key.
func (r *ruleReader) mapped(e any, args map[string]any) read {
	key, in, dataKinds := r.lookup(args)
	if in == nil || in.DataWidth == 0 || in.Width != len(key) {
		return unknown(e)
	}
	kind := ""
	if len(dataKinds) > 0 {
		kind = dataKinds[0]
	}
	return read{
		exposure.Operand{Field: exposure.FieldMap, Lookup: &exposure.Lookup{Key: key, In: in}},
		kind,
	}
}

// lookup reads {"key": …, "data": …}: the key, and a named or anonymous map.
func (r *ruleReader) lookup(args map[string]any) ([]exposure.Operand, *exposure.Set, []string) {
	key := r.key(args["key"])
	if name := textOf(args["data"]); len(name) > 1 && name[0] == '@' {
		s := r.table.sets[name[1:]]
		if s == nil {
			r.missing(name[1:])
			return nil, nil, nil
		}
		return operandsOf(key), s.model, s.dataKinds
	}
	m, _ := args["data"].(map[string]any)
	if m["set"] == nil {
		return nil, nil, nil
	}
	s := &set{model: &exposure.Set{Width: len(key)}, kinds: kindsOf(key), isMap: true}
	s.fill(slices.Values(listOf(m["set"])))
	r.fail(s.wrong)
	return operandsOf(key), s.model, s.dataKinds
}
