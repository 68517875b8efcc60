package nfttext

import (
	"fmt"
	"sort"
	"strings"

	"github.com/portgrave/portgrave/firewall"
)

// kind is what a token is.
type kind uint8

const (
	end     kind = iota // of the text, or of the part
	newline             // or ";"
	word                // text without spaces and signs
	quoted              // without its quotes
	sign                // { } ( ) , = & | ^ ! < > << >> == != <= >= . : -
	remark              // a comment with content: "# handle 5", "# xt_recent"
)

// token is a piece of text and its offset.
type token struct {
	kind kind
	text string
	at   int
}

// is reports whether it is one of some words or signs.
func (t token) is(list ...string) bool {
	if t.kind != word && t.kind != sign {
		return false
	}
	for _, s := range list {
		if t.text == s {
			return true
		}
	}
	return false
}

// maxExpanded bounds the tokens of all defines, and of their replacements, in one file.
const maxExpanded = 1_000_000

// defines are the values that a script has named. A name may get a new value, which applies from
// there on.
type defines struct {
	values   map[string][]definition
	kept     int // tokens
	expanded int
	included []string // files that may define more, and aren't read
}

type definition struct {
	from   int // the offset from which it applies
	tokens []token
}

func (d *defines) find(name string, at int) ([]token, bool) {
	list := d.values[name] // in the order of the text
	behind := sort.Search(len(list), func(i int) bool { return list[i].from > at })
	if behind == 0 {
		return nil, false
	}
	return list[behind-1].tokens, true
}

// lexer cuts a part of a text into tokens.
type lexer struct {
	text    string
	start   int
	pos     int
	end     int
	defines *defines
	queue   []token // to return before the text at pos
	depth   int     // of parentheses and braces at this point
}

// positionError is an error at an offset.
type positionError struct {
	at  int
	err error
}

func (e *positionError) Error() string { return e.err.Error() }
func (e *positionError) Unwrap() error { return e.err }

func errorAt(at int, format string, args ...any) error {
	return &positionError{at, fmt.Errorf(format, args...)}
}

// unexpected is the error for a token where another one is required.
func unexpected(t token, want string) error {
	switch t.kind {
	case end:
		return errorAt(t.at, "it ends where %s has to be: is it cut off?", want)
	case newline:
		return errorAt(t.at, "the line ends where %s has to be", want)
	}
	return errorAt(t.at, "%q stands where %s has to be", firewall.Excerpt(t.text), want)
}

// peek returns the next token without taking it.
func (l *lexer) peek() (token, error) {
	t, err := l.next()
	if err == nil {
		l.push(t)
	}
	return t, err
}

// push gives a token back.
func (l *lexer) push(t token) {
	if t.kind != end {
		l.queue = append(l.queue, t)
	}
}

// next takes the next token. The queue is read from its end.
func (l *lexer) next() (token, error) {
	for len(l.queue) == 0 {
		t, err := l.scan()
		if err != nil || t.kind != word || t.text[0] != '$' {
			return t, err
		}
		if err := l.expand(t); err != nil {
			return t, err
		}
	}
	n := len(l.queue) - 1
	t := l.queue[n]
	l.queue = l.queue[:n]
	return t, nil
}

// expand replaces a word like "$ports" with its value.
func (l *lexer) expand(t token) error {
	tokens, ok := l.defines.find(t.text[1:], t.at)
	switch {
	case !ok && len(l.defines.included) > 0:
		return errorAt(
			t.at,
			"%s is not defined before: included files aren't read, so put them in here",
			t.text,
		)
	case !ok:
		return errorAt(t.at, "%s is not defined before", t.text)
	}
	if l.defines.expanded += len(tokens); l.defines.expanded > maxExpanded {
		return errorAt(
			t.at, "what is defined takes more than %d words where it is used", maxExpanded,
		)
	}
	for i := len(tokens) - 1; i >= 0; i-- {
		x := tokens[i]
		x.at = t.at
		l.queue = append(l.queue, x)
	}
	return nil
}

// signs end a word.
const signs = "{}(),=&|^!<>"

// scan cuts off the next token.
func (l *lexer) scan() (token, error) {
	for l.pos < l.end {
		c := l.text[l.pos]
		switch {
		case c == ' ' || c == '\t' || c == '\r':
			l.pos++
		case c == '\\' && l.pos+1 < l.end && l.text[l.pos+1] == '\n':
			l.pos += 2
		case c == '\\' && strings.HasPrefix(l.text[l.pos:l.end], "\\\r\n"):
			l.pos += 3
		case c == '#':
			at := l.pos
			if n := strings.IndexByte(l.text[at:l.end], '\n'); n >= 0 {
				l.pos += n
			} else {
				l.pos = l.end
			}
			text := strings.TrimSpace(l.text[at+1 : l.pos])
			if strings.HasPrefix(text, "handle ") || strings.HasPrefix(text, "xt_") {
				return token{remark, text, at}, nil
			}
		case c == '\n' || c == ';':
			l.pos++
			return token{newline, l.text[l.pos-1 : l.pos], l.pos - 1}, nil
		case c == '"' || c == '\'':
			return l.quote(c)
		case strings.IndexByte(signs, c) >= 0:
			return l.sign()
		default:
			return l.word(), nil
		}
	}
	return token{end, "", l.end}, nil
}

func (l *lexer) quote(c byte) (token, error) {
	at := l.pos
	n := strings.IndexByte(l.text[at+1:l.end], c)
	if n < 0 || strings.IndexByte(l.text[at+1:at+1+n], '\n') >= 0 {
		return token{}, errorAt(at, "the quote is never closed: is the line cut off?")
	}
	l.pos = at + n + 2
	return token{quoted, l.text[at+1 : at+1+n], at}, nil
}

func (l *lexer) sign() (token, error) {
	at := l.pos
	for _, two := range []string{"<<", ">>", "==", "!=", "<=", ">="} {
		if strings.HasPrefix(l.text[at:l.end], two) {
			l.pos += 2
			return token{sign, two, at}, nil
		}
	}
	l.pos++
	return token{sign, l.text[at:l.pos], at}, nil
}

func (l *lexer) word() token {
	at := l.pos
	for l.pos < l.end {
		c := l.text[l.pos]
		if c <= ' ' || c == ';' || c == '#' || c == '"' || c == '\'' ||
			strings.IndexByte(signs, c) >= 0 {
			break
		}
		if c == '\\' && l.pos+1 < l.end && (l.text[l.pos+1] == '\n' || l.text[l.pos+1] == '\r') {
			break
		}
		l.pos++
	}
	if l.pos == at { // a control character
		l.pos++
	}
	text := l.text[at:l.pos]
	// "eth0: accept" is a key and a colon. An address may end in two colons.
	if n := len(text) - 1; n > 0 && text[n] == ':' && text[n-1] != ':' {
		l.pos--
		text = text[:n]
	}
	if text == "." || text == ":" || text == "-" {
		return token{sign, text, at}
	}
	return token{word, text, at}
}

// expect takes the next token, which must be the given sign or word.
func (l *lexer) expect(text string) error {
	t, err := l.next()
	if err == nil && !t.is(text) {
		err = unexpected(t, fmt.Sprintf("%q", text))
	}
	return err
}

// accept takes the next token if it is one of some signs or words.
func (l *lexer) accept(list ...string) (bool, error) {
	t, err := l.peek()
	if err != nil || !t.is(list...) {
		return false, err
	}
	_, err = l.next()
	return true, err
}

// name takes a word or quoted text.
func (l *lexer) name(what string) (string, error) {
	t, err := l.next()
	if err == nil && t.kind != word && t.kind != quoted {
		err = unexpected(t, what)
	}
	return t.text, err
}

// maxDepth bounds the nesting of parentheses and braces.
const maxDepth = 16

func (l *lexer) deeper(at int) error {
	if l.depth++; l.depth > maxDepth {
		return errorAt(at, "nested deeper than nft nests")
	}
	return nil
}
