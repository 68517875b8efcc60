package policy

import (
	"fmt"
	"math"

	"github.com/goccy/go-yaml/ast"
)

// builder turns the parser's tree into nodes. It turns values that it can't use into nodes of
// kindInvalid, so that one mistake is reported once.
type builder struct {
	file    string
	report  *reporter
	anchors map[string]*node
	open    map[string]bool // anchors whose content is being read
	// mergedKeys is the number of keys copied by <<. Other uses of aliases cost no memory.
	mergedKeys int
}

// invalid reports a mistake and returns a node that stands for the value.
func (b *builder) invalid(at Location, format string, args ...any) *node {
	b.report.at(at, format, args...)
	return &node{kind: kindInvalid, at: at, size: 1}
}

func (b *builder) build(n ast.Node, depth int) *node {
	at := locationOf(b.file, n)
	if depth > 2*maxNesting {
		return b.invalid(at, "nested deeper than %d levels", maxNesting)
	}
	switch n := n.(type) {
	case *ast.MappingNode:
		return b.mapping(n.Values, at, depth)
	case *ast.MappingValueNode:
		return b.mapping([]*ast.MappingValueNode{n}, at, depth)
	case *ast.SequenceNode:
		out := &node{kind: kindList, at: at, size: 1}
		for _, v := range n.Values {
			item := b.build(v, depth+1)
			out.items = append(out.items, item)
			out.size = addSizes(out.size, item.size)
		}
		return out
	case *ast.AnchorNode:
		name := n.Name.GetToken().Value
		b.open[name] = true
		value := b.build(n.Value, depth+1)
		b.open[name] = false
		b.anchors[name] = value
		return value
	case *ast.AliasNode:
		name := n.Value.GetToken().Value
		if b.open[name] {
			return b.invalid(at, "alias *%s stands inside what it stands for", name)
		}
		value := b.anchors[name]
		if value == nil {
			return b.invalid(at, "alias *%s has no anchor &%s before it%s",
				name, name, suggest(b.report, name, b.anchors))
		}
		return value
	case *ast.TagNode:
		return b.invalid(at, "tags like %s are not part of the language; write the plain value",
			n.GetToken().Value)
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
	return b.invalid(at, "this kind of YAML value is not part of the language")
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

// mapping reads keys and values; << adds the keys of other mappings that this one lacks.
func (b *builder) mapping(values []*ast.MappingValueNode, at Location, depth int) *node {
	out := &node{kind: kindMapping, at: at, size: 1}
	own := map[string]Location{}
	var merged []*node
	for _, v := range values {
		keyAt := locationOf(b.file, v.Key)
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
			b.report.at(keyAt, "key %q appears twice, first at %s", name, first)
			continue
		}
		own[name] = keyAt
		value := b.build(v.Value, depth+1)
		if value.kind == kindNull {
			value.at = keyAt // an absent value has no location
		}
		out.fields = append(out.fields, field{name, keyAt, value})
		out.size = addSizes(out.size, value.size)
	}
	for _, m := range merged {
		if b.mergedKeys += len(m.fields); b.mergedKeys > maxMergedKeys {
			break // parseYAML refuses the file
		}
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
	sources := []*node{value}
	if value.kind == kindList {
		sources = value.items
	}
	for _, s := range sources {
		if s.kind == kindInvalid {
			return nil
		}
		if s.kind != kindMapping {
			at := locationOf(b.file, n)
			b.report.at(at, "<< takes a mapping or a list of mappings, not %s", s.kind)
			return nil
		}
	}
	return sources
}

// describe returns the node for messages: `text "abc"`, `a list`.
func (n *node) describe() string {
	switch n.kind {
	case kindNull, kindList, kindMapping:
		return n.kind.String()
	case kindString:
		return fmt.Sprintf("text %q", n.text)
	}
	return fmt.Sprintf("%s (%s)", n.kind, n.text)
}
