package nfttext

import (
	"encoding/json"
	"errors"

	"github.com/portgrave/portgrave/firewall/exposure/nftjson"
)

// elements reads the elements up to the closing brace. The opening brace has been read.
func (l *lexer) elements(open token) ([]any, error) {
	out := []any{}
	err := l.eachElement(open, func(e any) bool {
		out = append(out, e)
		return true
	})
	return out, err
}

// errStopped says that the caller wants no more elements.
var errStopped = errors.New("no more elements are wanted")

// eachElement reads elements one by one, until yield returns false: then the error is errStopped. A
// set within a set, as from a define, counts as its elements.
func (l *lexer) eachElement(open token, yield func(any) bool) error {
	if err := l.deeper(open.at); err != nil {
		return err
	}
	defer func() { l.depth-- }()
	for {
		t, err := l.next()
		switch {
		case err != nil:
			return err
		case t.kind == end:
			return errorAt(open.at, "the brace is never closed: is something cut off?")
		case t.is("}"):
			return nil
		case t.kind == newline || t.kind == remark || t.is(","):
			continue
		case t.is("{"):
			if err := l.eachElement(t, yield); err != nil {
				return err
			}
			continue
		}
		l.push(t)
		e, err := l.element()
		if err != nil {
			return err
		}
		if !yield(e) {
			return errStopped
		}
		if t, err = l.peek(); err != nil {
			return err
		}
		if t.kind != newline && t.kind != end && !t.is(",", "}") {
			return unexpected(t, `"," or "}"`)
		}
	}
}

// element reads "key options : data".
func (l *lexer) element() (any, error) {
	key, err := l.values()
	if err != nil {
		return nil, err
	}
	if w, ok := key.(nftjson.Word); ok && w == "*" {
		key = "*"
	}
	notes, err := l.notes()
	if err != nil {
		return nil, err
	}
	if notes != nil {
		notes["val"] = key
		key = expr{"elem": notes}
	}
	mapped, err := l.accept(":")
	if err != nil || !mapped {
		return key, err
	}
	data, err := l.datum()
	if err != nil {
		return nil, err
	}
	more, err := l.notes()
	if more != nil && err == nil && notes == nil {
		more["val"] = key
		key = expr{"elem": more}
	}
	return []any{key, data}, err
}

// datum reads a map's data for an element.
func (l *lexer) datum() (any, error) {
	t, err := l.peek()
	if err != nil {
		return nil, err
	}
	if v, ok, err := l.verdict(t); ok || err != nil {
		return v, err
	}
	return l.values()
}

// notes reads the options after an element's key; nil if there are none.
func (l *lexer) notes() (expr, error) {
	var out expr
	for {
		t, err := l.peek()
		noted := t.is("timeout", "expires", "comment", "counter", "limit", "quota", "ct", "last")
		if err != nil || !noted {
			return out, err
		}
		if out == nil {
			out = expr{}
		}
		switch t.text {
		case "timeout", "expires", "comment":
			if _, err = l.next(); err != nil {
				return nil, err
			}
			s, err := l.name("a value")
			if err != nil {
				return nil, err
			}
			if out[t.text] = s; t.text != "comment" {
				out[t.text] = json.Number(s)
			}
		default:
			s, err := l.statement()
			if err != nil {
				return nil, err
			}
			for name, body := range s {
				out[name] = body
			}
		}
	}
}
