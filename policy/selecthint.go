package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// missingSelectHint says what select to write for JSON. text is the beginning of the document.
func (l *listing) missingSelectHint(text []byte) string {
	found := outlineOf(text).findAll()
	paths := found.texts()
	what := "this is JSON"
	if isJSONLines(text, found) {
		what = "this is JSON lines"
	}
	switch {
	case l.hideText:
		return what + ": add select: and the JSON path of its addresses"
	case len(paths) == 0 && len(found.apart) > 0:
		return fmt.Sprintf("%s, and what is one CIDR or range stands apart in it, at %s: write "+
			"its CIDRs and ranges into a text file, one a line", what, found.apartText())
	case len(paths) == 0 && len(found.mixed)+len(found.paths) > 0:
		mixed := append(found.mixed, found.paths...)[0]
		return fmt.Sprintf("%s, and has other values beside the addresses at $%s: write its "+
			"addresses into a text file, one a line", what, strings.Join(mixed.steps, ""))
	case len(paths) == 0:
		return what + ": add select: and the JSON path of its addresses, such as " +
			`"$.prefixes[*].cidr"`
	case len(paths) == 1:
		return fmt.Sprintf("%s: add select: %s", what, yamlScalar(paths[0]))
	}
	return fmt.Sprintf("%s: add select: %s (it has addresses at %s, too)",
		what, yamlScalar(paths[0]), strings.Join(paths[1:], " and "))
}

// selectFor says what select to add for a document; "" if there is one.
func (l *listing) selectFor(document []byte) string {
	if l.selects != nil {
		return ""
	}
	_, add, _ := strings.Cut(l.missingSelectHint(document), ": ")
	return ", and " + add
}

// otherPathsHint says where a document has addresses that select does not find.
func (l *listing) otherPathsHint(head []byte) string {
	paths := outlineOf(head).findAll().texts()
	if l.hideText || len(paths) == 0 {
		return ""
	}
	return "; it has addresses at " + strings.Join(paths, " and ")
}

// isJSONLines reports whether a document has one object a line. A single line counts as JSON lines
// if its addresses are members of the object itself.
func isJSONLines(text []byte, found findings) bool {
	line, rest, _ := bytes.Cut(text, []byte("\n"))
	if text[0] != '{' || !json.Valid(line) {
		return false
	}
	rest = bytes.TrimLeft(rest, " \t\r\n")
	if len(rest) > 0 || len(found.paths) == 0 {
		return bytes.HasPrefix(rest, []byte("{"))
	}
	steps := found.paths[0].steps
	return len(steps) == 1 && steps[0] != ".*"
}

// maxPaths bounds the paths that a hint names.
const maxPaths = 3

// findAll looks for addresses in a document.
func (o *outline) findAll() findings {
	f := o.findHere() // strings, one a line
	f.merge(o.find(0, false))
	return f
}

// apartText names the paths to what is one entry together.
func (f findings) apartText() string {
	var texts []string
	for _, p := range f.apart[:min(len(f.apart), maxPaths)] {
		texts = append(texts, "$"+strings.Join(p.steps, ""))
	}
	return strings.Join(texts, " and ")
}

// texts returns the paths that select works with.
func (f findings) texts() (texts []string) {
	for _, p := range f.paths {
		if text, ok := p.text(); ok && len(texts) < maxPaths {
			texts = append(texts, text)
		}
	}
	return texts
}

// keyInPath returns a key as a step of a JSON path.
func keyInPath(key string) string {
	for i, c := range key {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return normalized([]place{{name: key, index: -1}})[1:]
		}
	}
	if key == "" {
		return "['']"
	}
	return "." + key
}
