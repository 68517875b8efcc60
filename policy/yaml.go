package policy

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Limits on what a policy file may be. Aliases let a small file stand for a huge one, so what
// counts is its size with every alias written out.
const (
	maxFileBytes = 10 << 20
	maxNesting   = 64
	maxExpanded  = 3_000_000 // nodes
)

type kind int

const (
	kindNull kind = iota
	kindBool
	kindInteger
	kindFloat
	kindString
	kindList
	kindMapping
)

func (k kind) String() string {
	return [...]string{"nothing", "true or false", "a whole number", "a number with a fraction", "text", "a list", "a mapping"}[k]
}

// node is a YAML value with its place, aliases and merge keys resolved.
type node struct {
	kind   kind
	text   string // scalars, as written
	at     Location
	items  []*node
	fields []field
	size   int // nodes below and including this one, aliases written out
}

type field struct {
	key   string
	at    Location
	value *node
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

// parseYAML reads one document. Every mistake goes to the reporter; the node is nil if nothing can be used.
func parseYAML(file string, content []byte, r *reporter) (root *node) {
	whole := Location{File: file}
	switch {
	case len(content) > maxFileBytes:
		r.at(whole, "the file is larger than %d MiB; put long lists of networks into network files", maxFileBytes>>20)
		return nil
	case bytes.IndexByte(content, 0) >= 0 || !utf8.Valid(content):
		r.at(whole, "this is not text: a policy is YAML in UTF-8")
		return nil
	}
	defer func() {
		// The parser is somebody else's and hostile input is its daily bread; should it stumble,
		// the file is refused like any other that can't be read.
		if p := recover(); p != nil {
			r.at(whole, "the file can't be read as YAML (%v)", p)
			root = nil
		}
	}()
	tokens := lexer.Tokenize(string(content))
	if at, deep := tooDeep(tokens); deep {
		r.at(Location{file, at.Line, at.Column}, "nested deeper than %d levels", maxNesting)
		return nil
	}
	// Our own walk reports duplicate keys, all of them and with both places.
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
			r.at(placeOf(file, d.Body), "a second document: a policy file holds one; use a drop-in in policy.d for more")
			return nil
		}
		body = d.Body
	}
	if body == nil {
		r.at(whole, "the file is empty; the least that it can say is: version: 1")
		return nil
	}
	b := builder{file: file, report: r, anchors: map[string]*node{}}
	root = b.build(body, 0)
	if root != nil && root.size > maxExpanded {
		r.at(whole, "its aliases expand to more than %d values", maxExpanded)
		return nil
	}
	return root
}

// tooDeep looks at brackets and indentation before the parser does, whose time grows with the square of the depth.
func tooDeep(tokens token.Tokens) (token.Position, bool) {
	depth, run := 0, 0
	for _, t := range tokens {
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			depth++
		case token.SequenceEndType, token.MappingEndType:
			depth--
		}
		switch t.Type {
		case token.SequenceEntryType, token.MappingKeyType, token.AnchorType, token.TagType:
			run++
		default:
			run = 0
		}
		if t.Position != nil && (depth > maxNesting || run > maxNesting || t.Position.IndentNum > 16*maxNesting) {
			return *t.Position, true
		}
	}
	return token.Position{}, false
}

// syntaxProblem takes place and words out of the parser's error.
func syntaxProblem(file string, err error) Problem {
	p := Problem{File: file, Line: 1, Column: 1}
	var withToken interface{ GetToken() *token.Token }
	if errors.As(err, &withToken) {
		if t := withToken.GetToken(); t != nil && t.Position != nil {
			p.Line, p.Column = t.Position.Line, t.Position.Column
		}
	}
	message := err.Error()
	var withMessage interface{ GetMessage() string }
	if errors.As(err, &withMessage) {
		message = withMessage.GetMessage()
	}
	first, _, _ := strings.Cut(message, "\n")
	p.Message = "not valid YAML: " + first
	if strings.Contains(first, "tab") || strings.Contains(first, "found character") {
		p.Message += " (indent with spaces)"
	}
	return p
}

func placeOf(file string, n ast.Node) Location {
	l := Location{File: file, Line: 1, Column: 1}
	if m, ok := n.(*ast.MappingNode); ok && len(m.Values) > 0 && m.Start != nil && m.Start.Value != "{" {
		return placeOf(file, m.Values[0].Key) // a block mapping's own token is its first colon
	}
	if m, ok := n.(*ast.MappingValueNode); ok {
		return placeOf(file, m.Key)
	}
	if t := n.GetToken(); t != nil && t.Position != nil {
		l.Line, l.Column = t.Position.Line, t.Position.Column
	}
	return l
}

// builder turns the parser's tree into nodes.
type builder struct {
	file    string
	report  *reporter
	anchors map[string]*node // nil while its own content is being read
}

func (b *builder) build(n ast.Node, depth int) *node {
	at := placeOf(b.file, n)
	if depth > 2*maxNesting {
		b.report.at(at, "nested deeper than %d levels", maxNesting)
		return nil
	}
	switch n := n.(type) {
	case *ast.MappingNode:
		return b.mapping(n.Values, at, depth)
	case *ast.MappingValueNode:
		return b.mapping([]*ast.MappingValueNode{n}, at, depth)
	case *ast.SequenceNode:
		out := &node{kind: kindList, at: at, size: 1}
		for _, v := range n.Values {
			if item := b.build(v, depth+1); item != nil {
				out.items = append(out.items, item)
				out.size = addSizes(out.size, item.size)
			}
		}
		return out
	case *ast.AnchorNode:
		name := n.Name.GetToken().Value
		b.anchors[name] = nil
		value := b.build(n.Value, depth+1)
		b.anchors[name] = value
		return value
	case *ast.AliasNode:
		name := n.Value.GetToken().Value
		value, known := b.anchors[name]
		if value == nil {
			if known {
				b.report.at(at, "alias *%s stands inside what it stands for", name)
			} else {
				b.report.at(at, "alias *%s has no anchor &%s before it", name, name)
			}
			return nil
		}
		return value
	case *ast.TagNode:
		b.report.at(at, "tags like %s are not part of the language; write the plain value", n.GetToken().Value)
		return nil
	case *ast.NullNode:
		return &node{kind: kindNull, at: at, size: 1}
	case *ast.BoolNode:
		return scalar(kindBool, n, at)
	case *ast.IntegerNode:
		return scalar(kindInteger, n, at)
	case *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return scalar(kindFloat, n, at)
	case *ast.StringNode:
		return &node{kind: kindString, text: n.Value, at: at, size: 1}
	case *ast.LiteralNode:
		return &node{kind: kindString, text: n.Value.Value, at: at, size: 1}
	}
	b.report.at(at, "a %T is not part of the language", n)
	return nil
}

func scalar(k kind, n ast.Node, at Location) *node {
	return &node{kind: k, text: n.GetToken().Value, at: at, size: 1}
}

func addSizes(a, b int) int {
	if a > math.MaxInt32 || b > math.MaxInt32 {
		return math.MaxInt32
	}
	return a + b
}

// mapping reads keys and values; << takes over the keys of other mappings that this one lacks.
func (b *builder) mapping(values []*ast.MappingValueNode, at Location, depth int) *node {
	out := &node{kind: kindMapping, at: at, size: 1}
	own := map[string]Location{}
	var merged []*node
	for _, v := range values {
		keyAt := placeOf(b.file, v.Key)
		if _, merge := v.Key.(*ast.MergeKeyNode); merge {
			merged = append(merged, b.mergeSources(v.Value, depth)...)
			continue
		}
		key, ok := v.Key.(*ast.StringNode)
		name := v.Key.GetToken().Value
		if ok {
			name = key.Value
		} else if _, mapped := v.Key.(*ast.MappingKeyNode); mapped {
			b.report.at(keyAt, "keys written with ? are not part of the language")
			continue
		}
		if first, twice := own[name]; twice {
			b.report.at(keyAt, "key %q appears twice, first in line %d", name, first.Line)
			continue
		}
		own[name] = keyAt
		value := b.build(v.Value, depth+1)
		if value == nil {
			continue
		}
		if value.kind == kindNull {
			value.at = keyAt // an absent value has no place of its own
		}
		out.fields = append(out.fields, field{name, keyAt, value})
		out.size = addSizes(out.size, value.size)
	}
	for _, m := range merged {
		for _, f := range m.fields {
			if _, has := own[f.key]; !has {
				own[f.key] = f.at
				out.fields = append(out.fields, f)
				out.size = addSizes(out.size, f.value.size)
			}
		}
	}
	return out
}

func (b *builder) mergeSources(n ast.Node, depth int) []*node {
	value := b.build(n, depth+1)
	if value == nil {
		return nil
	}
	sources := []*node{value}
	if value.kind == kindList {
		sources = value.items
	}
	for _, s := range sources {
		if s.kind != kindMapping {
			b.report.at(placeOf(b.file, n), "<< takes a mapping or a list of mappings, not %s", s.kind)
			return nil
		}
	}
	return sources
}

// describe is a node for messages: `text "abc"`, `a list`.
func (n *node) describe() string {
	switch n.kind {
	case kindNull, kindList, kindMapping:
		return n.kind.String()
	case kindString:
		return fmt.Sprintf("text %q", n.text)
	}
	return fmt.Sprintf("%s (%s)", n.kind, n.text)
}
