package nfttext

import (
	"slices"
	"strconv"
	"strings"

	"github.com/portgrave/portgrave/firewall/exposure/nftjson"
)

// rule reads the statements up to the end of the part. From the first that isn't understood, the
// rest is one Unparsed statement.
func (l *lexer) rule(out *nftjson.Rule) {
	for {
		t, err := l.peek()
		if err == nil && t.kind == end {
			return
		}
		if err == nil {
			l.depth = 0
			err = l.one(t, out)
		}
		if err == nil {
			continue
		}
		at := t.at
		if at < l.start || at >= l.end { // the value of a define
			at = l.start
		}
		text := strings.TrimSpace(l.text[at:l.end])
		out.Expr = append(out.Expr, expr{nftjson.Unparsed: text})
		return
	}
}

// one reads a statement, or what separates and follows them.
func (l *lexer) one(t token, out *nftjson.Rule) error {
	number, isHandle := strings.CutPrefix(t.text, "handle ")
	switch {
	case t.kind == newline:
	case t.kind == remark && isHandle:
		out.Handle, _ = strconv.ParseUint(number, 10, 64)
	case t.kind == remark: // "# xt_recent": old versions print unknown expressions so
		out.Expr = append(out.Expr, expr{nftjson.Unparsed: t.text})
	case t.is("comment"):
		if _, err := l.next(); err != nil {
			return err
		}
		comment, err := l.name("a comment")
		out.Comment = comment
		return err
	default:
		s, err := l.statement()
		if err == nil {
			out.Expr = append(out.Expr, s)
		}
		return err
	}
	_, err := l.next()
	return err
}

// verdicts without arguments.
var verdicts = []string{"accept", "drop", "continue", "return"}

// verdict reads a verdict; false if there is none.
func (l *lexer) verdict(t token) (expr, bool, error) {
	switch {
	case t.kind == word && slices.Contains(verdicts, t.text):
		_, err := l.next()
		return expr{t.text: nil}, true, err
	case t.is("jump", "goto"):
		if _, err := l.next(); err != nil {
			return nil, true, err
		}
		target, err := l.name("a chain")
		return expr{t.text: expr{"target": target}}, true, err
	}
	return nil, false, nil
}

// statement reads one statement.
func (l *lexer) statement() (expr, error) {
	t, err := l.peek()
	if err != nil {
		return nil, err
	}
	if v, ok, err := l.verdict(t); ok || err != nil {
		return v, err
	}
	if t.kind == word {
		if read, ok := effects[t.text]; ok {
			if t, err = l.next(); err != nil {
				return nil, err
			}
			return read(l, t)
		}
		if t.text == "ct" || t.text == "tcp" {
			if s, ok, err := l.twoWords(); ok || err != nil {
				return s, err
			}
		}
	}
	left, err := l.tuple()
	if err != nil {
		return nil, err
	}
	if isConstant(left) { // it may be an unknown statement, which may do anything
		return nil, unexpected(t, "a statement")
	}
	switch t, err = l.peek(); {
	case err != nil:
		return nil, err
	case t.is("vmap"):
		if _, err := l.next(); err != nil {
			return nil, err
		}
		data, err := l.mapping()
		return expr{"vmap": expr{"key": left, "data": data}}, err
	case t.is("map"):
		data, err := l.mapped(left)
		if err != nil {
			return nil, err
		}
		return l.relational(data)
	case t.is("set"):
		if _, err := l.next(); err != nil {
			return nil, err
		}
		value, err := l.assigned()
		return expr{"mangle": expr{"key": left, "value": value}}, err
	}
	return l.relational(left)
}

// isConstant reports whether an expression, or a part of a tuple, doesn't read the packet.
func isConstant(v any) bool {
	m, ok := v.(expr)
	if !ok {
		return true
	}
	if list, ok := m["concat"].([]any); ok {
		return slices.ContainsFunc(list, isConstant)
	}
	for _, op := range []string{"|", "^", "&", "<<", ">>"} {
		if list, ok := m[op].([]any); ok {
			return !slices.ContainsFunc(list, func(v any) bool { return !isConstant(v) })
		}
	}
	return false
}

func (l *lexer) mapped(left any) (any, error) {
	if err := l.expect("map"); err != nil {
		return nil, err
	}
	data, err := l.mapping()
	return expr{"map": expr{"key": left, "data": data}}, err
}

// assigned reads the value that a field is set to: an expression, or a list of flags.
func (l *lexer) assigned() (any, error) {
	first, err := l.key()
	if err != nil {
		return nil, err
	}
	list, err := l.joined(first, ",")
	if err != nil {
		return nil, err
	}
	if len(list) == 1 {
		return first, nil
	}
	return list, nil
}

// twoWords reads the statements that begin like an expression: "ct count", "ct helper set". It is
// false for an expression.
func (l *lexer) twoWords() (expr, bool, error) {
	first, err := l.next()
	if err != nil {
		return nil, false, err
	}
	second, err := l.next()
	if err != nil {
		return nil, false, err
	}
	third, err := l.peek()
	if err != nil {
		return nil, false, err
	}
	if first.text == "ct" {
		switch {
		case second.is("count"):
			over, err := l.accept("over")
			if err != nil {
				return nil, true, err
			}
			n, err := l.integer("a number of connections")
			body := expr{"val": n}
			if over {
				body["inv"] = true
			}
			return expr{"ct count": body}, true, err
		case second.is("helper", "timeout", "expectation") && third.is("set"):
			if _, err := l.next(); err != nil {
				return nil, true, err
			}
			name, err := l.name("a name")
			return expr{"ct " + second.text: name}, true, err
		}
	}
	l.push(second)
	l.push(first)
	return nil, false, nil
}
