package policy

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/portgrave/portgrave/firewall/pattern"
)

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
