package policy

import (
	"slices"
	"sort"
	"strconv"
	"strings"

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

// sortedNames returns the keys of a map in order.
func sortedNames[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}
