package nfttext

import (
	"encoding/json"
	"slices"

	"github.com/portgrave/portgrave/firewall/exposure/nftjson"
)

// expr is an expression in the form of nft's JSON.
type expr = map[string]any

// key reads a tuple, "ip saddr . tcp dport", and its look-up in a map.
func (l *lexer) key() (any, error) {
	out, err := l.tuple()
	for err == nil {
		var mapped bool
		if mapped, err = l.accept("map"); err != nil || !mapped {
			break
		}
		var data any
		if data, err = l.mapping(); err == nil {
			out = expr{"map": expr{"key": out, "data": data}}
		}
	}
	return out, err
}

// joined reads the operands that follow the first one, each after a sign.
func (l *lexer) joined(first any, sign string) ([]any, error) {
	list := []any{first}
	for {
		more, err := l.accept(sign)
		if err != nil || !more {
			return list, err
		}
		next, err := l.operand(0)
		if err != nil {
			return nil, err
		}
		list = append(list, next)
	}
}

// tuple reads operands with dots between them.
func (l *lexer) tuple() (any, error) {
	first, err := l.operand(0)
	if err != nil {
		return nil, err
	}
	list, err := l.joined(first, ".")
	if err != nil {
		return nil, err
	}
	if len(list) == 1 {
		return first, nil
	}
	return expr{"concat": list}, nil
}

// mapping reads the map of "map" and "vmap": a name, or elements.
func (l *lexer) mapping() (any, error) {
	t, err := l.next()
	switch {
	case err != nil:
		return nil, err
	case t.kind == word && len(t.text) > 1 && t.text[0] == '@':
		return t.text, nil
	case t.is("{"):
		list, err := l.elements(t)
		return expr{"set": list}, err
	}
	return nil, unexpected(t, "a map")
}

// operators by precedence, the weakest first, with their names in nft's JSON.
var operators = []map[string]string{
	{"|": "|", "or": "|"},
	{"^": "^", "xor": "^"},
	{"&": "&", "and": "&"},
	{"<<": "<<", "lshift": "<<", ">>": ">>", "rshift": ">>"},
}

// operand reads a value of the packet or a constant, with its operations.
func (l *lexer) operand(level int) (any, error) {
	if level == len(operators) {
		return l.primary()
	}
	left, err := l.operand(level + 1)
	for n := 0; err == nil; n++ {
		var t token
		if t, err = l.peek(); err != nil {
			break
		}
		op, ok := operators[level][t.text]
		if !ok || t.kind != word && t.kind != sign {
			break
		}
		if n == maxDepth {
			return nil, errorAt(t.at, "too many operations on one value")
		}
		if _, err = l.next(); err != nil {
			break
		}
		var right any
		if right, err = l.operand(level + 1); err == nil {
			left = expr{op: []any{left, right}}
		}
	}
	return left, err
}

// comparisons are the signs and words between both sides, with their names in JSON.
var comparisons = map[string]string{
	"==": "==", "eq": "==", "!=": "!=", "ne": "!=", "<": "<", "lt": "<", ">": ">", "gt": ">",
	"<=": "<=", "le": "<=", ">=": ">=", "ge": ">=", "!": "!",
}

// relational reads the right side of a comparison: "== 5", "{ 1, 2 }", "syn / syn,ack".
func (l *lexer) relational(left any) (expr, error) {
	op := ""
	t, err := l.peek()
	if err != nil {
		return nil, err
	}
	if name, ok := comparisons[t.text]; ok && (t.kind == sign || t.kind == word) {
		op = name
		if _, err := l.next(); err != nil {
			return nil, err
		}
	}
	right, err := l.right()
	if err != nil {
		return nil, err
	}
	masked, err := l.accept("/")
	if err != nil {
		return nil, err
	}
	list, isList := right.([]any)
	switch {
	case masked: // nft's short form of "tcp flags & mask == flags"
		mask, err := l.right()
		if err != nil {
			return nil, err
		}
		if op == "" {
			op = "=="
		}
		if op != "==" && op != "!=" {
			return nil, errorAt(t.at, "a mask with %q", op)
		}
		left = expr{"&": []any{left, mask}}
	case isFlags(left) && op == "" && isValue(right):
		op = "in" // any of the flags
	case isFlags(left) && len(setOf(right)) == 1:
		// nft turns a set with one value into that value: any of its flags. Only one state is ever
		// set.
		c, _ := left.(expr)["ct"].(expr)
		if c["key"] != "state" || op != "" || !isValue(setOf(right)[0]) {
			return nil, errorAt(t.at, "a set of one flag")
		}
		op, right = "in", setOf(right)[0]
	case isFlags(left) && isList && len(list) > 1 && op != "!":
		// For nft, an exact comparison with a list sometimes means all flags and sometimes any.
		return nil, errorAt(t.at, "a list of flags with %q", op)
	case op == "":
		op = "=="
	}
	if op == "==" && isBits(left) && t.text != "==" && t.text != "eq" && !masked && isValue(right) {
		return nil, errorAt(t.at, "some flags compared without a sign")
	}
	return expr{"match": expr{"op": op, "left": left, "right": right}}, nil
}

// isValue reports whether the right side is neither a set nor a range.
func isValue(right any) bool {
	switch v := right.(type) {
	case string:
		return len(v) == 0 || v[0] != '@'
	case expr:
		return v["set"] == nil && v["range"] == nil && v["concat"] == nil
	}
	return true
}

// setOf returns the elements if the right side is an anonymous set.
func setOf(right any) []any {
	m, _ := right.(expr)
	list, _ := m["set"].([]any)
	return list
}

// isFlags reports whether the left side is just a field of flags: compared without a sign, any of
// the flags matches.
func isFlags(left any) bool {
	m, _ := left.(expr)
	if c, ok := m["ct"].(expr); ok {
		return slices.Contains([]any{"state", "status", "event", "label"}, c["key"])
	}
	p, ok := m["payload"].(expr)
	return ok && p["protocol"] == "tcp" && p["field"] == "flags"
}

// isBits reports whether the left side is a mask of such a field.
func isBits(left any) bool {
	m, _ := left.(expr)
	for _, op := range []string{"&", "|", "^"} {
		if list, ok := m[op].([]any); ok && len(list) > 0 && (isFlags(list[0]) || isBits(list[0])) {
			return true
		}
	}
	return false
}

// number converts a value to a number if it looks like one.
func number(s string) any {
	if isNumber(s) {
		return json.Number(s)
	}
	return nftjson.Word(s)
}

func isNumber(s string) bool {
	if len(s) > 2 && s[0] == '0' && (s[1] == 'x' || s[1] == 'X') {
		for _, c := range s[2:] {
			if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
				return false
			}
		}
		return true
	}
	for _, c := range s {
		if c < '0' || c > '9' {
			return false
		}
	}
	return s != ""
}

// integer reads a number.
func (l *lexer) integer(what string) (json.Number, error) {
	t, err := l.next()
	if err == nil && (t.kind != word || !isNumber(t.text)) {
		err = unexpected(t, what)
	}
	return json.Number(t.text), err
}
