package nftjson

import "github.com/portgrave/portgrave/firewall/exposure"

// mangle translates {"mangle": {"key": …, "value": …}}.
func (r *ruleReader) mangle(s any, args map[string]any) {
	key, _ := args["key"].(map[string]any)
	to := r.operand(args["key"])
	switch to.Field {
	case exposure.FieldCTLabel:
		if bits, ok := constant(to.kind, args["value"]); ok && to.Operand == exposure.Of(to.Field) {
			r.add(exposure.SetLabel(bits))
			return
		}
		r.add(exposure.Assign{To: to.Field, Value: r.values(to, args["value"])})
		return
	case exposure.FieldMark, exposure.FieldCTMark, exposure.FieldCTZone, exposure.FieldDest4,
		exposure.FieldDest6, exposure.FieldDport, exposure.FieldSource4, exposure.FieldSource6,
		exposure.FieldSport:
		if to.Operand == exposure.Of(to.Field) {
			r.add(exposure.Assign{To: to.Field, Value: r.values(to, args["value"])})
			return
		}
	case exposure.FieldRaw:
		if harmless(key) {
			r.add(exposure.NoEffect{Text: text(s), Header: key["payload"] != nil})
			return
		}
		r.add(
			exposure.Assign{To: exposure.FieldRaw, Raw: to.Raw, Value: r.values(to, args["value"])},
		)
		return
	}
	if harmless(key) {
		r.add(exposure.NoEffect{Text: text(s), Header: key["payload"] != nil})
		return
	}
	r.add(exposure.Unknown{Text: text(s), Effect: true})
}

// harmlessKeys can be set without changing a first packet's way.
var harmlessKeys = map[string]map[string]bool{
	"meta":       {"priority": true, "nftrace": true, "secmark": true, "rtclassid": true},
	"ct":         {"event": true, "secmark": true, "helper": true},
	"ct helper":  nil,
	"tcp option": {"size": true},
}

func harmless(key map[string]any) bool {
	for name, body := range key {
		args, _ := body.(map[string]any)
		if harmlessKeys[name][textOf(args["key"])] || harmlessKeys[name][textOf(args["field"])] {
			return true
		}
		if protocol := textOf(args["protocol"]); name == "payload" &&
			(protocol == "ip" || protocol == "ip6") {
			switch textOf(args["field"]) {
			case "dscp", "ecn", "ttl", "hoplimit", "flowlabel":
				return true
			}
		}
	}
	return false
}

// values are the operands whose exclusive or is assigned.
func (r *ruleReader) values(to read, v any) []exposure.Operand {
	if c, ok := constant(to.kind, v); ok {
		return []exposure.Operand{exposure.Const(c)}
	}
	if m, ok := v.(map[string]any); ok && len(m) == 1 {
		if list, ok := m["^"].([]any); ok && len(list) == 2 {
			a, b := r.operand(list[0]), r.operand(list[1])
			if o := r.operand(v); o.Field != exposure.FieldUnknown {
				return []exposure.Operand{o.Operand}
			}
			if a.Field != exposure.FieldUnknown && b.Field != exposure.FieldUnknown {
				return []exposure.Operand{a.Operand, b.Operand}
			}
		}
	}
	o := r.operand(v)
	if o.Field == exposure.FieldUnknown && o.Max.IsZero() {
		o.Max = exposure.Ones(to.Width())
	}
	return []exposure.Operand{o.Operand}
}
