package policy

import (
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/pattern"
)

// shape says what a value may look like. The reader and the JSON Schema both use shapes, so they
// accept the same documents. The decoder and finish check what depends on more than one value.
type shape interface {
	// accepts reports whether the node has this shape's kind. Its content may still be wrong.
	accepts(n *node) bool
	// check reports every mistake in the node and below.
	check(n *node, r *reporter)
	// wants describes the shape: "a list of networks".
	wants() string
	// schema returns the shape as JSON Schema.
	schema() map[string]any
}

// check reports the mistakes of a node that should have a shape.
func check(n *node, s shape, r *reporter) {
	switch {
	case n.kind == kindInvalid: // reported already
	case n.isSplitAddress():
		r.at(n.at, "put an IPv6 address in quotes; without them YAML splits it at a colon%s",
			n.splitHint())
	case s.accepts(n):
		s.check(n, r)
	default:
		r.at(n.at, "expected %s, not %s%s", s.wants(), n.describe(), quoteHint(n, s))
	}
}

// quoteHint returns a hint if the node is only wrong in its quotes or brackets.
func quoteHint(n *node, s shape) string {
	valid := func(other node) bool {
		var r reporter
		other.size = 1
		if s.accepts(&other) {
			s.check(&other, &r)
		}
		return s.accepts(&other) && len(r.list) == 0
	}
	_, number := decimal(n)
	switch {
	case n.kind == kindNull && valid(node{kind: kindList}):
		return "; write [] for an empty list"
	case n.kind == kindNull && valid(node{kind: kindMapping}):
		return "; write {} for an empty mapping"
	case n.kind == kindString && number && valid(node{kind: kindInteger, text: n.text}),
		n.kind == kindString && (n.text == "true" || n.text == "false") &&
			valid(node{kind: kindBool, text: n.text}):
		return "; write it without quotes"
	case n.text != "" && n.kind != kindString && valid(node{kind: kindString, text: n.text}):
		return "; put it in quotes if you mean it"
	}
	if hint := scalarHint(n, s); hint != "" {
		return hint
	}
	return bracketHint(n, valid)
}

// scalarHint returns the mapping or list to write instead of a text, or of a mapping.
func scalarHint(n *node, s shape) string {
	switch s := s.(type) {
	case mapping:
		if n.kind == kindString && s.scalarHint != nil {
			return s.scalarHint(n.text)
		}
	case list:
		if n.kind == kindString && s.scalarHint != nil {
			return s.scalarHint(n.text)
		}
		if n.kind == kindMapping && s.mappingHint != nil {
			return s.mappingHint(n)
		}
	case text:
		if n.kind == kindMapping && s.mappingHint != nil {
			return s.mappingHint(n)
		}
	case integer:
		if s.otherHint != nil {
			return s.otherHint(n)
		}
	case mapOf:
		if s.valueHint != nil {
			return s.valueHint(n)
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

// bracketHint returns a hint if the node lacks brackets or a dash, or has too many. valid reports
// whether a value would be accepted in the node's place.
func bracketHint(n *node, valid func(node) bool) string {
	list := node{kind: kindList, items: []*node{n}}
	switch {
	case n.kind == kindList && len(n.items) == 1 && valid(*n.items[0]):
		one := n.items[0]
		if one.text == "" {
			return "; one dash or pair of brackets is too many"
		}
		return "; one dash or pair of brackets is too many: write " + one.yaml()
	case n.kind == kindMapping && len(bracedWords(n)) > 0:
		list.items = bracedWords(n)
		if valid(list) {
			return fmt.Sprintf("; write [%s], in brackets", yamlNodes(list.items))
		}
	case n.kind == kindMapping && valid(list):
		return "; begin it with a dash, as an entry of a list"
	case n.kind == kindString && strings.Contains(n.text, ","):
		list.items = nil
		for _, word := range splitTrimmed(n.text) {
			list.items = append(list.items, &node{kind: kindString, text: word, size: 1})
		}
		if valid(list) {
			return fmt.Sprintf("; write [%s]", yamlNodes(list.items))
		}
	case n.text != "" && valid(list):
		return fmt.Sprintf("; write [%s]", n.yaml())
	}
	return ""
}

// bracedWords returns the keys of a mapping without values: {22, 80} for [22, 80].
func bracedWords(n *node) (words []*node) {
	for _, f := range n.fields {
		if f.value.kind != kindNull {
			return nil
		}
		word := &node{kind: kindString, text: f.key, size: 1}
		if isDigits([]byte(f.key)) {
			word.kind = kindInteger
		}
		words = append(words, word)
	}
	return words
}

// yamlNodes returns scalars as entries of a list in a policy.
func yamlNodes(items []*node) string {
	words := make([]string, len(items))
	for i, item := range items {
		words[i] = item.yaml()
	}
	return strings.Join(words, ", ")
}

// yaml returns a scalar as a policy writes it.
func (n *node) yaml() string {
	if n.kind != kindString {
		return n.text
	}
	return yamlScalar(n.text)
}

// text is the shape of a string.
type text struct {
	pattern *pattern.Pattern // anchored; nil accepts any text but ""
	words   string           // describes the text
	// loose replaces a nil pattern in the schema. The decoder gives better messages than a pattern,
	// and never accepts text that loose doesn't match.
	loose *pattern.Pattern
	not   string // a word that the decoder refuses although it matches; "" for none
	// verify says what else is wrong with a text; nil finds nothing.
	verify func(text string) error
	// hint returns what to write instead of a text that doesn't match. It begins with a semicolon;
	// nil has no hints.
	hint func(text string) string
	// mappingHint is that of a list.
	mappingHint func(n *node) string
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
	case s.verify != nil:
		if err := s.verify(n.text); err != nil {
			r.at(n.at, "%v", err)
		}
	}
}

// checkRemark is firewall.CheckRemark for a text in YAML, where a block ends in a newline.
func checkRemark(text string) error {
	return firewall.CheckRemark(strings.TrimSuffix(text, "\n"))
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

// choice is the shape of a word from a list.
type choice []string

func (s choice) accepts(n *node) bool { return n.kind == kindString }
func (s choice) wants() string        { return "one of " + strings.Join(s, ", ") }
func (s choice) check(n *node, r *reporter) {
	if !slices.Contains(s, n.text) {
		r.at(n.at, "%q is not %s%s", n.text, s.wants(), didYouMean(n.text, s))
	}
}
func (s choice) schema() map[string]any { return map[string]any{"enum": []string(s)} }

// hintedChoice is a choice with hints for words of other programs.
type hintedChoice struct {
	choice
	hint func(text string) string // begins with a semicolon; "" if it doesn't know the word
}

func (s hintedChoice) check(n *node, r *reporter) {
	if hint := s.hint(n.text); hint != "" && !slices.Contains(s.choice, n.text) {
		r.at(n.at, "%q is not %s%s", n.text, s.wants(), hint)
		return
	}
	s.choice.check(n, r)
}

// integer is the shape of a whole decimal number within bounds.
type integer struct {
	min, max int
	words    string
	// otherHint returns what to write for a text, or a list, in place of the number. It begins with
	// a semicolon; nil has no hints.
	otherHint func(n *node) string
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

// decimal reads an integer that is written in plain decimal, as opposed to 0x…, octal or 1_000.
func decimal(n *node) (int, bool) {
	v, err := strconv.Atoi(n.text)
	if err != nil || strconv.Itoa(v) != n.text {
		return 0, false
	}
	return v, true
}

// boolean is the shape of true and false.
type boolean struct{}

func (boolean) accepts(n *node) bool   { return n.kind == kindBool }
func (boolean) wants() string          { return "true or false" }
func (boolean) check(*node, *reporter) {}
func (boolean) schema() map[string]any { return map[string]any{"type": "boolean"} }

// list is the shape of a list whose items all have one shape.
type list struct {
	of    shape
	words string
	min   int // number of items
	// scalarHint is that of a mapping. mappingHint returns what to write for a mapping in place of
	// the list.
	scalarHint  func(text string) string
	mappingHint func(n *node) string
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

// oneOf is the shape of a value with one of several shapes. No two of them accept the same kind.
type oneOf []shape

func (s oneOf) accepts(n *node) bool {
	return slices.ContainsFunc(s, func(x shape) bool { return x.accepts(n) })
}
func (s oneOf) wants() string {
	var words []string
	for _, x := range s {
		if n := len(words); n > 0 && strings.HasPrefix(x.wants(), words[n-1]) {
			words[n-1] = x.wants() // repeats the words before and adds to them
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
	// doc says what the key is for, as part of a sentence, because messages include it. more adds
	// whole sentences for editors and the manual.
	doc, more string
	required  bool
	// initial is the default that the manual shows; nil shows none.
	initial any
}

// description returns doc and more as sentences, for editors and the manual.
func (k key) description() string {
	first, size := utf8.DecodeRuneInString(k.doc)
	text := string(unicode.ToUpper(first)) + k.doc[size:] + "."
	if k.more != "" {
		text += " " + k.more
	}
	return text
}

// mapping is the shape of a mapping with known keys.
type mapping struct {
	words string
	keys  []key
	// exactlyOne names keys that exclude each other. If it is set, one of them must be present.
	exactlyOne []string
	// instead may replace the keys in exactlyOne; nil replaces none.
	instead *alternative
	// elsewhere maps keys that belong in another place to a hint that says so.
	elsewhere map[string]string
	// keyHint returns what to write instead of a key of another program, "" if it doesn't know the
	// key; nil knows none.
	keyHint func(n *node, f field) string
	// scalarHint returns what to write for a text in place of the mapping, "" if it doesn't know;
	// nil never knows.
	scalarHint func(text string) string
}

// alternative is a combination of other keys that replaces the keys in exactlyOne.
type alternative struct {
	given  func(n *node) bool
	schema map[string]any
}

func (s mapping) accepts(n *node) bool { return n.kind == kindMapping }
func (s mapping) wants() string        { return s.words + " (keys and values)" }

// knows reports whether the language has this key, here or elsewhere.
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
		case s.keyHint != nil && s.keyHint(n, f) != "":
			r.at(f.at, "unknown key %q in %s; %s", f.key, s.words, s.keyHint(n, f))
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
	var properties orderedProperties
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

// mapOf is the shape of a mapping whose keys the administrator chooses.
type mapOf struct {
	words   string
	pattern *pattern.Pattern
	of      shape
	// valueHint returns what to write for a value in place of the mapping; nil has no hints.
	valueHint func(n *node) string
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

// sortedNames returns the keys of a map in order.
func sortedNames[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}
