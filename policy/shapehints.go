package policy

import (
	"fmt"
	"strings"
)

// Hints for values that have another shape than is wanted, but only by their quotes or brackets.

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
