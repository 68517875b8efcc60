package nftjson

import (
	"encoding/json"
	"slices"

	"github.com/portgrave/portgrave/firewall/exposure"
)

// match translates {"match": {"op": …, "left": …, "right": …}}. A comparison without a model
// becomes an Unknown match, after the implied matches.
func (r *ruleReader) match(whole any, args map[string]any) {
	left, right, op := args["left"], args["right"], textOf(args["op"])
	key := r.key(left)
	m, ok := r.compare(key, op, right)
	if ok {
		r.add(m)
		r.recordImplied(key, m)
		return
	}
	r.fail(impossibleTuple(kindsOf(key), right))
	r.add(exposure.Unknown{Text: text(whole)})
}

// recordImplied records a match that leaves only one IP version or transport protocol.
func (r *ruleReader) recordImplied(key []read, m exposure.Match) {
	if len(key) != 1 || m.Not || m.In.Len() != 1 || m.In.Unknown != "" {
		return
	}
	box := m.In.Element(0)[0]
	v, _ := box.From.Uint64()
	if box.From != box.To || m.Key[0] != exposure.Of(m.Key[0].Field) {
		return
	}
	switch m.Key[0].Field {
	case exposure.FieldNFProto:
		r.version = exposure.Family(v)
	case exposure.FieldEtherType:
		switch v {
		case 0x0800:
			r.version = exposure.FamilyIPv4
		case 0x86dd:
			r.version = exposure.FamilyIPv6
		}
	case exposure.FieldProtocol:
		r.protocol = int(v) + 1
	}
}

func (r *ruleReader) compare(key []read, op string, right any) (exposure.Match, bool) {
	not := op == "!="
	if name := textOf(right); len(name) > 1 && name[0] == '@' && (op == "==" || not || op == "in") {
		s := r.table.sets[name[1:]]
		if s == nil {
			r.missing(name[1:])
			return exposure.Match{}, false
		}
		return lookIn(key, s.model, not)
	}
	if m, ok := right.(map[string]any); ok && (op == "==" || not || op == "in") {
		if list, ok := m["set"]; ok {
			s := &set{model: &exposure.Set{Width: len(key)}, kinds: kindsOf(key)}
			s.fill(slices.Values(listOf(list)))
			r.fail(s.wrong)
			return lookIn(key, s.model, not)
		}
		if _, ok := m["concat"]; ok {
			s := &set{model: &exposure.Set{Width: len(key)}, kinds: kindsOf(key)}
			s.fill(slices.Values([]any{right}))
			r.fail(s.wrong)
			return lookIn(key, s.model, not)
		}
	}
	if len(key) != 1 {
		return exposure.Match{}, false
	}
	return compareOne(adaptOperand(key[0], right), op, right)
}

// lookIn looks a tuple up. It is false if the set's width differs from the key's.
func lookIn(key []read, s *exposure.Set, not bool) (exposure.Match, bool) {
	return exposure.Match{Key: operandsOf(key), In: s, Not: not}, s.Width == len(key)
}

// adaptOperand adapts an operand to the other side of its comparison: interfaces by number, if nft
// had no name, and routes that only have to exist.
func adaptOperand(o read, right any) read {
	_, isNumber := right.(json.Number)
	_, isBool := right.(bool)
	if o.kind != "iface_index" && !(o.Field == exposure.FieldFib && isBool) {
		return o
	}
	switch {
	case isBool && o.Field == exposure.FieldFib:
		o.Fib.Want, o.kind = exposure.FibExists, "boolean"
	case isNumber && o.Field == exposure.FieldFib:
		o.Fib.Want, o.kind = exposure.FibOutIndex, "integer"
	case isNumber && o.Field == exposure.FieldInName:
		o.Field, o.kind = exposure.FieldInIndex, "integer"
	case isNumber && o.Field == exposure.FieldOutName:
		o.Field, o.kind = exposure.FieldOutIndex, "integer"
	}
	return o
}

func compareOne(o read, op string, right any) (exposure.Match, bool) {
	is := func(o exposure.Operand, not bool, ranges ...exposure.Range) (exposure.Match, bool) {
		m := exposure.In(o, ranges...)
		m.Not = not
		return m, true
	}
	list, isList := right.([]any)
	switch op {
	case "in", "!": // any of some bits, none of some bits
		v, ok := constant(o.kind, right)
		if !ok && isList {
			v, ok = combined(o.kind, "|", list)
		}
		if !ok {
			return exposure.Match{}, false
		}
		return is(o.And(v), op == "in", exposure.One(exposure.Value{}))
	case "==", "!=":
		rng, ok := rangeOf(o.kind, right)
		if !ok || isList && !bitmasks[o.kind] {
			return exposure.Match{}, false
		}
		return is(o.Operand, op == "!=", rng)
	}
	v, ok := constant(o.kind, right)
	if !ok || isList {
		return exposure.Match{}, false
	}
	top := exposure.Ones(o.Width())
	from := exposure.NewRanges(exposure.Range{From: v, To: exposure.Ones(128)}).
		Intersect(exposure.NewRanges(exposure.Range{To: top}))
	all := exposure.NewRanges(exposure.Range{To: top})
	exact := exposure.NewRanges(exposure.One(v))
	switch op {
	case ">=":
		return is(o.Operand, false, from.List()...)
	case ">":
		return is(o.Operand, false, from.Minus(exact).List()...)
	case "<":
		return is(o.Operand, false, all.Minus(from).List()...)
	case "<=":
		return is(o.Operand, false, all.Minus(from.Minus(exact)).List()...)
	}
	return exposure.Match{}, false
}
