package policy

import (
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/portgrave/portgrave/firewall/pattern"
)

// shape says what a value may look like. Reader and JSON Schema are both driven by shapes, so they
// accept the same documents. What needs more than one value to judge is checked later.
type shape interface {
	// accepts reports whether the node is of this shape's kind, not whether it is right throughout.
	accepts(n *node) bool
	// check reports every mistake below the node.
	check(n *node, r *reporter)
	// wants is the shape in words: "a list of networks".
	wants() string
	// schema is the shape as JSON Schema.
	schema() map[string]any
}

// check reports what is wrong with a node that shall have a shape.
func check(n *node, s shape, r *reporter) {
	switch {
	case n.kind == kindBroken: // reported already
	case n.splitAddress():
		r.at(n.at, "put an IPv6 address in quotes; without them YAML splits it at a colon")
	case s.accepts(n):
		s.check(n, r)
	default:
		r.at(n.at, "expected %s, not %s%s", s.wants(), n.describe(), quoteHint(n, s))
	}
}

// quoteHint says when quotes, brackets, or their absence, are all that is wrong.
func quoteHint(n *node, s shape) string {
	right := func(other node) bool {
		var r reporter
		other.size = 1
		if s.accepts(&other) {
			s.check(&other, &r)
		}
		return s.accepts(&other) && len(r.list) == 0
	}
	_, number := decimal(n)
	switch {
	case n.kind == kindNull && right(node{kind: kindList}):
		return "; write [] for an empty list"
	case n.kind == kindNull && right(node{kind: kindMapping}):
		return "; write {} for an empty mapping"
	case n.kind == kindString && number && right(node{kind: kindInteger, text: n.text}),
		n.kind == kindString && (n.text == "true" || n.text == "false") && right(node{kind: kindBool, text: n.text}):
		return "; write it without quotes"
	case n.text != "" && n.kind != kindString && right(node{kind: kindString, text: n.text}):
		return "; put it in quotes if you mean it"
	}
	if hint := scalarHint(n, s); hint != "" {
		return hint
	}
	return bracketHint(n, right)
}

// scalarHint says which mapping a text is short for.
func scalarHint(n *node, s shape) string {
	switch s := s.(type) {
	case mapping:
		if n.kind == kindString && s.scalar != nil {
			return s.scalar(n.text)
		}
	case oneOf:
		for _, x := range s {
			if hint := scalarHint(n, x); hint != "" {
				return hint
			}
		}
	}
	return ""
}

// bracketHint says when an entry stands where a list of such belongs, or a list of one for the
// entry. right reports whether a value would do.
func bracketHint(n *node, right func(node) bool) string {
	list := node{kind: kindList, items: []*node{n}}
	switch {
	case n.kind == kindList && len(n.items) == 1 && right(*n.items[0]):
		one := n.items[0]
		if one.text == "" {
			return "; one dash or pair of brackets is too many"
		}
		return "; one dash or pair of brackets is too many: write " + one.inYAML()
	case n.kind == kindMapping && right(list):
		return "; begin it with a dash, as an entry of a list"
	case n.kind == kindString && strings.Contains(n.text, ","):
		list.items = nil
		var words []string
		for _, word := range splitTrimmed(n.text) {
			item := &node{kind: kindString, text: word, size: 1}
			list.items, words = append(list.items, item), append(words, item.inYAML())
		}
		if right(list) {
			return fmt.Sprintf("; write [%s]", strings.Join(words, ", "))
		}
	case n.text != "" && right(list):
		return fmt.Sprintf("; write [%s]", n.inYAML())
	}
	return ""
}

// inYAML is a scalar as a policy writes it.
func (n *node) inYAML() string {
	if n.kind != kindString {
		return n.text
	}
	return plainOrQuoted(n.text)
}

// text is a YAML string that matches pattern (anchored), described by words.
type text struct {
	pattern *pattern.Pattern // nil: any text but the empty one
	words   string
	// loose is for the schema where there is no pattern: what decoding, which can say what is wrong
	// more exactly, never accepts does not match it.
	loose *pattern.Pattern
	not   string // a word that decoding refuses although the patterns match; "" is none
	// hint says what to write instead of a text that doesn't match, beginning with a semicolon; nil
	// has no hints.
	hint func(text string) string
}

func (s text) accepts(n *node) bool { return n.kind == kindString }
func (s text) wants() string        { return s.words }
func (s text) check(n *node, r *reporter) {
	switch {
	case n.text == "":
		r.at(n.at, "expected %s, not an empty text", s.words)
	case s.pattern != nil && !s.pattern.MatchString(n.text):
		hint := ""
		if s.hint != nil {
			hint = s.hint(n.text)
		}
		r.at(n.at, "%q is not %s%s", n.text, s.words, hint)
	}
}
func (s text) schema() map[string]any {
	m := map[string]any{"title": s.words, "type": "string", "minLength": 1}
	switch {
	case s.pattern != nil:
		m["pattern"] = s.pattern.String()
	case s.loose != nil:
		m["pattern"] = s.loose.String()
	}
	if s.not != "" {
		m["not"] = map[string]any{"const": s.not}
	}
	return m
}

// choice is one of some words.
type choice []string

func (s choice) accepts(n *node) bool { return n.kind == kindString }
func (s choice) wants() string        { return "one of " + strings.Join(s, ", ") }
func (s choice) check(n *node, r *reporter) {
	if !slices.Contains(s, n.text) {
		r.at(n.at, "%q is not %s%s", n.text, s.wants(), didYouMean(n.text, s))
	}
}
func (s choice) schema() map[string]any { return map[string]any{"enum": []string(s)} }

// integer is a whole decimal number within bounds.
type integer struct {
	min, max int
	words    string
}

func (s integer) accepts(n *node) bool { return n.kind == kindInteger }
func (s integer) wants() string        { return s.words }
func (s integer) check(n *node, r *reporter) {
	if v, ok := decimal(n); !ok {
		r.at(n.at, "%s: write the number in plain decimal digits", n.text)
	} else if v < s.min || v > s.max {
		r.at(n.at, "%s is not %s", n.text, s.words)
	}
}
func (s integer) schema() map[string]any {
	return map[string]any{"title": s.words, "type": "integer", "minimum": s.min, "maximum": s.max}
}

// decimal reads an integer that YAML did not turn into another one (0x…, octal, underscores).
func decimal(n *node) (int, bool) {
	v, err := strconv.Atoi(n.text)
	if err != nil || strconv.Itoa(v) != n.text {
		return 0, false
	}
	return v, true
}

// boolean is true or false.
type boolean struct{}

func (boolean) accepts(n *node) bool   { return n.kind == kindBool }
func (boolean) wants() string          { return "true or false" }
func (boolean) check(*node, *reporter) {}
func (boolean) schema() map[string]any { return map[string]any{"type": "boolean"} }

// list is any number of items of one shape.
type list struct {
	of    shape
	words string
	min   int
}

func (s list) accepts(n *node) bool { return n.kind == kindList }
func (s list) wants() string        { return s.words }
func (s list) check(n *node, r *reporter) {
	if len(n.items) < s.min {
		r.at(n.at, "expected %s, with at least one entry", s.words)
	}
	for _, item := range n.items {
		check(item, s.of, r)
	}
}
func (s list) schema() map[string]any {
	m := map[string]any{"title": s.words, "type": "array", "items": s.of.schema()}
	if s.min > 0 {
		m["minItems"] = s.min
	}
	return m
}

// oneOf is the first shape that accepts the node's kind; no two accept the same kind.
type oneOf []shape

func (s oneOf) accepts(n *node) bool {
	return slices.ContainsFunc(s, func(x shape) bool { return x.accepts(n) })
}
func (s oneOf) wants() string {
	var words []string
	for _, x := range s {
		if n := len(words); n > 0 && strings.HasPrefix(x.wants(), words[n-1]) {
			words[n-1] = x.wants() // says the same and more
			continue
		}
		words = append(words, x.wants())
	}
	return strings.Join(words, ", or ")
}
func (s oneOf) check(n *node, r *reporter) {
	for _, x := range s {
		if x.accepts(n) {
			x.check(n, r)
			return
		}
	}
}
func (s oneOf) schema() map[string]any {
	alternatives := make([]any, len(s))
	for i, x := range s {
		alternatives[i] = x.schema()
	}
	return map[string]any{"anyOf": alternatives}
}

// key is one key of a mapping.
type key struct {
	name  string
	shape shape
	// doc says what it is for, in half a sentence that fits into a message; more goes on in whole
	// ones. Editors and the manual show both.
	doc, more string
	required  bool
	// initial is the value in force when the key is absent, for the manual; nil if there is none.
	initial any
}

// description is all that editors and the manual say of a key.
func (k key) description() string {
	first, size := utf8.DecodeRuneInString(k.doc)
	text := string(unicode.ToUpper(first)) + k.doc[size:] + "."
	if k.more != "" {
		text += " " + k.more
	}
	return text
}

// mapping has known keys. exactlyOne, if set, names keys of which one and only one must be there.
type mapping struct {
	words      string
	keys       []key
	exactlyOne []string
	// instead, if set, may stand for them all.
	instead *alternative
	// elsewhere explains keys that belong somewhere else: a hint instead of "unknown key".
	elsewhere map[string]string
	// slip says what to write instead of a key of another program, "" if it knows none; nil knows none.
	slip func(n *node, f field) string
	// scalar says what to write for a text that stands in the mapping's place, "" if it knows
	// nothing; nil knows none.
	scalar func(text string) string
}

// alternative is a value of other keys that replaces those of exactlyOne.
type alternative struct {
	given  func(n *node) bool
	schema map[string]any
}

func (s mapping) accepts(n *node) bool { return n.kind == kindMapping }
func (s mapping) wants() string        { return s.words + " (keys and values)" }

// knows reports whether a key has a meaning here, or elsewhere.
func (s mapping) knows(key string) bool {
	return s.elsewhere[key] != "" || slices.Contains(s.names(), key)
}

func (s mapping) names() []string {
	names := make([]string, len(s.keys))
	for i, k := range s.keys {
		names[i] = k.name
	}
	return names
}

func (s mapping) check(n *node, r *reporter) {
	for _, f := range n.fields {
		i := slices.IndexFunc(s.keys, func(k key) bool { return k.name == f.key })
		switch hint := s.elsewhere[f.key]; {
		case i >= 0:
			check(f.value, s.keys[i].shape, r)
		case hint != "":
			r.at(f.at, "%q %s", f.key, hint)
		case s.slip != nil && s.slip(n, f) != "":
			r.at(f.at, "unknown key %q in %s; %s", f.key, s.words, s.slip(n, f))
		default:
			r.at(
				f.at,
				"unknown key %q in %s%s; known are %s",
				f.key,
				s.words,
				didYouMean(f.key, append(s.names(), sortedNames(s.elsewhere)...)),
				strings.Join(s.names(), ", "),
			)
		}
	}
	for _, k := range s.keys {
		if k.required && n.get(k.name) == nil {
			r.at(n.at, "%s lacks the key %q (%s)", s.words, k.name, k.doc)
		}
	}
	if len(s.exactlyOne) > 0 {
		var have []string
		for _, name := range s.exactlyOne {
			if n.get(name) != nil {
				have = append(have, name)
			}
		}
		if len(have) != 1 && (len(have) > 0 || s.instead == nil || !s.instead.given(n)) {
			r.at(
				n.at,
				"%s has exactly one of %s, not %d of them",
				s.words,
				strings.Join(s.exactlyOne, ", "),
				len(have),
			)
		}
	}
}

func (s mapping) schema() map[string]any {
	var properties ordered
	var required []string
	for _, k := range s.keys {
		p := k.shape.schema()
		p["description"] = k.description()
		if k.initial != nil {
			p["default"] = k.initial
		}
		properties = append(properties, property{k.name, p})
		if k.required {
			required = append(required, k.name)
		}
	}
	m := map[string]any{
		"title":                s.words,
		"type":                 "object",
		"properties":           properties,
		"additionalProperties": false,
	}
	if len(required) > 0 {
		m["required"] = required
	}
	if len(s.exactlyOne) > 0 {
		var alternatives []any
		for _, name := range s.exactlyOne {
			alternatives = append(alternatives, map[string]any{"required": []string{name}})
		}
		if s.instead != nil {
			alternatives = append(alternatives, s.instead.schema)
		}
		m["oneOf"] = alternatives
	}
	return m
}

// mapOf has keys that the administrator names.
type mapOf struct {
	words   string
	pattern *pattern.Pattern
	of      shape
}

func (s mapOf) accepts(n *node) bool { return n.kind == kindMapping }
func (s mapOf) wants() string        { return s.words }
func (s mapOf) check(n *node, r *reporter) {
	for _, f := range n.fields {
		if !s.pattern.MatchString(f.key) {
			r.at(f.at, "%q is not %s", f.key, anyName.words)
		}
		check(f.value, s.of, r)
	}
}
func (s mapOf) schema() map[string]any {
	return map[string]any{
		"title":                s.words,
		"type":                 "object",
		"patternProperties":    map[string]any{s.pattern.String(): s.of.schema()},
		"additionalProperties": false,
	}
}

// sortedNames lists the keys of a map in order.
func sortedNames[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}
