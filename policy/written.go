package policy

import (
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/policydiff"
)

// Written is how the policy writes its services, for who compares it with another one. contents is
// what networks hold, as far as the caller knows: those of Compiled. Networks that stand in the
// policy itself need not be in it.
func (p *Policy) Written(contents map[string]address.Set) *policydiff.Written {
	w := &policydiff.Written{
		Services: make(map[string]policydiff.Service, len(p.services)),
		Networks: make(map[string]address.Set, len(contents)),
	}
	for name, set := range builtIn {
		w.Networks[name] = set
	}
	for _, net := range p.used() { // each network comes after those it names
		set, known := contents[net.name]
		if !known && !net.external() {
			set, known = union(net.entries, w.Networks)
		}
		if known {
			w.Networks[net.name] = set
		}
	}
	for _, s := range p.services {
		written := policydiff.Service{Allow: entriesOf(s.allow), Except: entriesOf(s.except),
			Lines: p.linesOf(s)}
		for _, r := range s.enforced.Ports {
			written.Ports = append(written.Ports, r.String())
		}
		w.Services[s.enforced.Name] = written
	}
	return w
}

// union is what entries of a network hold; false if one of them names a network that is not known.
func union(entries []source, known map[string]address.Set) (address.Set, bool) {
	var inline address.Builder
	var sets []address.Set
	for _, e := range entries {
		if e.network == "" {
			if inline.Add(e.prefix) != nil {
				return address.Set{}, false
			}
			continue
		}
		set, is := known[e.network]
		if !is {
			return address.Set{}, false
		}
		sets = append(sets, set)
	}
	return address.Union(append(sets, inline.Set())...), true
}

func entriesOf(sources []source) []policydiff.Entry {
	entries := make([]policydiff.Entry, 0, len(sources))
	for _, s := range sources {
		entries = append(entries,
			policydiff.Entry{Network: s.network, Prefix: s.prefix, Expires: s.expires,
				At: placeOf(s.at)})
	}
	return entries
}

func placeOf(l Location) policydiff.Place { return policydiff.Place{File: l.File, Line: l.Line} }

// linesOf are the lines about a service but for its entries of allow and except.
func (p *Policy) linesOf(s service) []policydiff.Line {
	lines := slices.Clone(s.lines)
	named := map[string]bool{}
	for _, e := range slices.Concat(s.allow, s.except) {
		net := p.networks[e.network]
		if net == nil || named[net.name] {
			continue
		}
		named[net.name] = true
		lines = append(lines, policydiff.Line{
			Key: "networks." + net.name, Text: net.text(), Place: placeOf(net.at),
		})
	}
	return lines
}

// maxLineText is how much of a value a line shows, in bytes.
const maxLineText = 200

// text is what a network is, in a line.
func (n *network) text() string {
	if n.external() {
		return n.sourceForPeople()
	}
	items := make([]*node, 0, len(n.entries))
	for _, e := range n.entries {
		word := policydiff.Entry{Network: e.network, Prefix: e.prefix}.String()
		items = append(items, &node{kind: kindString, text: word})
		if len(items)*len("0.0.0.0") > maxLineText {
			break // lineText cuts it anyway
		}
	}
	return lineText(&node{kind: kindList, items: items})
}

// serviceLines are the keys of a service but for allow and except, whose entries have places of
// their own.
func serviceLines(n *node) (lines []policydiff.Line) {
	for _, f := range n.fields {
		if f.key != "allow" && f.key != "except" {
			lines = append(lines,
				policydiff.Line{Key: f.key, Text: lineText(f.value), Place: placeOf(f.at)})
		}
	}
	return lines
}

// lineText is a value in a line, cut short.
func lineText(n *node) string {
	var b strings.Builder
	writeLineText(&b, n)
	if text := b.String(); len(text) > maxLineText {
		return strings.ToValidUTF8(text[:maxLineText], "") + "…"
	}
	return b.String()
}

func writeLineText(b *strings.Builder, n *node) {
	if b.Len() > maxLineText {
		return
	}
	switch n.kind {
	case kindList:
		b.WriteByte('[')
		for i, x := range n.items {
			if i > 0 {
				b.WriteString(", ")
			}
			if writeLineText(b, x); b.Len() > maxLineText {
				return
			}
		}
		b.WriteByte(']')
	case kindMapping:
		b.WriteByte('{')
		for i, f := range n.fields {
			if i > 0 {
				b.WriteString(", ")
			}
			b.WriteString(f.key + ": ")
			if writeLineText(b, f.value); b.Len() > maxLineText {
				return
			}
		}
		b.WriteByte('}')
	default:
		b.WriteString(printable(strings.TrimSuffix(n.text, "\n")))
	}
}
