package nfttext

import (
	"encoding/json"

	"github.com/portgrave/portgrave/firewall/exposure/nftjson"
)

// right reads the right side of a comparison: a set, or values.
func (l *lexer) right() (any, error) {
	t, err := l.peek()
	switch {
	case err != nil:
		return nil, err
	case t.is("{"):
		if t, err = l.next(); err != nil {
			return nil, err
		}
		list, err := l.elements(t)
		return expr{"set": list}, err
	case t.kind == word && len(t.text) > 1 && t.text[0] == '@':
		_, err = l.next()
		return t.text, err
	}
	first, err := l.values()
	if err != nil {
		return nil, err
	}
	list := []any{first}
	for { // "established,related"
		more, err := l.accept(",")
		if err != nil {
			return nil, err
		}
		if !more {
			break
		}
		next, err := l.values()
		if err != nil {
			return nil, err
		}
		list = append(list, next)
	}
	if len(list) == 1 {
		return first, nil
	}
	return list, nil
}

// values reads constants with dots between them.
func (l *lexer) values() (any, error) {
	first, err := l.interval()
	if err != nil {
		return nil, err
	}
	var list []any
	for {
		more, err := l.accept(".")
		if err != nil {
			return nil, err
		}
		if !more {
			break
		}
		if list == nil {
			list = []any{first}
		}
		next, err := l.interval()
		if err != nil {
			return nil, err
		}
		list = append(list, next)
	}
	if list != nil {
		return expr{"concat": list}, nil
	}
	return first, nil
}

// interval reads a constant, or two with a dash between them.
func (l *lexer) interval() (any, error) {
	from, err := l.constants(0)
	if err != nil {
		return nil, err
	}
	ranged, err := l.accept("-")
	if err != nil || !ranged {
		return from, err
	}
	to, err := l.constants(0)
	return expr{"range": []any{from, to}}, err
}

// constants reads a constant with its operations: "fin|syn", "(syn|ack)".
func (l *lexer) constants(level int) (any, error) {
	if level == len(operators) {
		return l.constant()
	}
	left, err := l.constants(level + 1)
	var list []any
	op := ""
	for err == nil {
		var t token
		if t, err = l.peek(); err != nil {
			break
		}
		name, ok := operators[level][t.text]
		if !ok || t.kind != word && t.kind != sign {
			break
		}
		if op != "" && name != op || len(list) > 64 {
			return nil, errorAt(t.at, "too many operations on one value")
		}
		op = name
		if _, err = l.next(); err != nil {
			break
		}
		if list == nil {
			list = []any{left}
		}
		var right any
		if right, err = l.constants(level + 1); err == nil {
			list = append(list, right)
		}
	}
	if list != nil {
		left = expr{op: list}
	}
	return left, err
}

// constant reads one value.
func (l *lexer) constant() (any, error) {
	t, err := l.next()
	if err != nil {
		return nil, err
	}
	switch {
	case t.is("("):
		if err := l.deeper(t.at); err != nil {
			return nil, err
		}
		v, err := l.right()
		if err == nil {
			err = l.expect(")")
		}
		l.depth--
		return v, err
	case t.kind == quoted:
		return t.text, nil
	case t.kind != word || t.text[0] == '@':
		return nil, unexpected(t, "a value")
	case t.text == "exists" || t.text == "missing":
		return t.text == "exists", nil
	case isNumber(t.text):
		return json.Number(t.text), nil
	}
	return nftjson.Word(t.text), nil
}
