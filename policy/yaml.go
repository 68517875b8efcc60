package policy

import (
	"bytes"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// byteOrderMark begins UTF-8 text of some editors.
var byteOrderMark = []byte("\xef\xbb\xbf")

type kind int

const (
	kindNull kind = iota
	kindBool
	kindInteger
	kindFloat
	kindString
	kindList
	kindMapping
	kindInvalid // a mistake was reported already
)

func (k kind) String() string {
	return [...]string{
		"nothing", "true or false", "a whole number", "a number with a fraction", "text", "a list",
		"a mapping", "a mistake",
	}[k]
}

// node is a YAML value with its location, after aliases and merge keys were resolved.
type node struct {
	kind   kind
	text   string // scalars, as written
	at     Location
	items  []*node
	fields []field
	size   int // number of nodes including this one, with aliases expanded
}

type field struct {
	key   string
	at    Location
	value *node
}

// isSplitAddress reports whether the node is an IPv6 address that the parser took for a mapping.
// That happens to addresses that end in a colon, and in lists within braces. No key of the language
// looks like an address.
func (n *node) isSplitAddress() bool {
	if n.kind != kindMapping || len(n.fields) != 1 {
		return false
	}
	address, _, _ := strings.Cut(n.splitText(), "%")
	return strings.Count(address, ":") > 1 &&
		strings.Trim(address, "0123456789abcdefABCDEF:./-") == ""
}

// splitText is the text that the parser took for a mapping.
func (n *node) splitText() string { return n.fields[0].key + ":" + n.fields[0].value.text }

// splitHint says what else is wrong with such an address; "" if nothing is.
func (n *node) splitHint() string {
	if _, err := parseEntry(n.splitText()); err != nil {
		return "; " + err.Error()
	}
	return ""
}

func (n *node) get(key string) *node {
	if n == nil {
		return nil
	}
	for _, f := range n.fields {
		if f.key == key {
			return f.value
		}
	}
	return nil
}

// setText copies a string value; check has reported other kinds.
func setText[T ~string](n *node, key string, to *T) {
	if v := n.get(key); v != nil && v.kind == kindString {
		*to = T(v.text)
	}
}

// locationIn returns where the value of a key is, or a fallback if the mapping lacks the key.
func locationIn(n *node, key string, fallback Location) Location {
	if v := n.get(key); v != nil {
		return v.at
	}
	return fallback
}

// itemsOf returns the items of a list. A scalar counts as a list with one item.
func itemsOf(n *node) []*node {
	switch {
	case n == nil || n.kind == kindNull || n.kind == kindMapping:
		return nil
	case n.kind == kindList:
		return n.items
	}
	return []*node{n}
}

// isControl reports whether YAML forbids a character in text (YAML 1.2, §5.1).
func isControl(r rune) bool { return r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0x7f }

// parseYAML reads one document and reports every mistake. It returns nil if nothing can be used.
func parseYAML(file string, content []byte, r *reporter) (root *node) {
	whole := Location{File: file}
	content = bytes.TrimPrefix(content, byteOrderMark)
	switch {
	case len(content) > maxFileBytes:
		r.at(whole, "the file is larger than %d MiB; put long lists of networks into network files",
			maxFileBytes>>20)
		return nil
	case !utf8.Valid(content) || bytes.ContainsFunc(content, isControl):
		r.at(whole, "this is not text: a policy is YAML in UTF-8")
		return nil
	case tooManyValues(content):
		r.at(whole, "the file has too many values; put long lists of networks into network files")
		return nil
	}
	defer func() {
		// The parser is a dependency that reads hostile input. If it panics, refuse the file.
		if p := recover(); p != nil {
			r.at(whole, "the file can't be read as YAML (%v)", p)
			root = nil
		}
	}()
	tokens := lexer.Tokenize(string(content))
	var g guard
	if at, excess := g.check(tokens); at != nil {
		r.at(Location{file, at.Line, at.Column}, "%s", excess)
		return nil
	}
	// builder reports duplicate keys, with both locations.
	parsed, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		r.list = append(r.list, syntaxProblem(file, err))
		return nil
	}
	var body ast.Node
	for _, d := range parsed.Docs {
		if _, directive := d.Body.(*ast.DirectiveNode); directive || d.Body == nil {
			continue
		}
		if body != nil {
			r.at(locationOf(file, d.Body),
				"a second document: a policy file holds one; use a drop-in in policy.d for more")
			return nil
		}
		body = d.Body
	}
	if body == nil {
		r.at(whole, "the file is empty; the least that it can say is: version: 1")
		return nil
	}
	b := builder{file: file, report: r, anchors: map[string]*node{}, open: map[string]bool{}}
	root = b.build(body, 0)
	if root.size > maxExpandedNodes || b.mergedKeys > maxMergedKeys {
		r.at(whole, "its aliases and merge keys expand to more than a policy can hold")
		return nil
	}
	return root
}

// syntaxProblem turns the parser's error into a Problem.
func syntaxProblem(file string, err error) Problem {
	p := Problem{File: file, Line: 1, Column: 1}
	var withToken interface{ GetToken() *token.Token }
	if errors.As(err, &withToken) {
		if t := withToken.GetToken(); t != nil && t.Position != nil {
			p.Line, p.Column = t.Position.Line, t.Position.Column
		}
	}
	// Prefer GetMessage: Error quotes the source, which takes quadratic time for hostile input.
	var withMessage interface{ GetMessage() string }
	var message string
	if errors.As(err, &withMessage) {
		message = withMessage.GetMessage()
	} else {
		message = err.Error()
	}
	first, _, _ := strings.Cut(message, "\n")
	p.Message = "not valid YAML: " + first
	switch {
	case strings.Contains(first, "tab") || strings.Contains(first, "'\t'"):
		p.Message += "; indent with spaces"
	case strings.Contains(first, "mapping value is not allowed"):
		p.Message += `; put text that has ": " in it, or ends in a colon, in quotes`
	case strings.Contains(first, "invalid key for this map"):
		p.Message += "; put IPv6 addresses in quotes"
	}
	return p
}

func locationOf(file string, n ast.Node) Location {
	l := Location{File: file, Line: 1, Column: 1}
	m, ok := n.(*ast.MappingNode)
	if ok && len(m.Values) > 0 && m.Start != nil && m.Start.Value != "{" {
		return locationOf(file, m.Values[0].Key) // the token of a block mapping is its first colon
	}
	if m, ok := n.(*ast.MappingValueNode); ok {
		return locationOf(file, m.Key)
	}
	if t := n.GetToken(); t != nil && t.Position != nil {
		l.Line, l.Column = t.Position.Line, t.Position.Column
	}
	return l
}
