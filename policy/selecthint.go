package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall/address"
)

// missingSelectHint says what select to write for JSON. text is the beginning of the document.
func (l *listing) missingSelectHint(text []byte) string {
	paths := addressPaths(text)
	what := "this is JSON"
	if isJSONLines(text, paths) {
		what = "this is JSON lines"
	}
	switch {
	case l.hideText:
		return what + ": add select: and the JSON path of its addresses"
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
	paths := addressPaths(head)
	if l.hideText || len(paths) == 0 {
		return ""
	}
	return "; it has addresses at " + strings.Join(paths, " and ")
}

// isJSONLines reports whether a document has one object a line. A single line counts as JSON lines
// if its addresses are in no array.
func isJSONLines(text []byte, paths []string) bool {
	line, rest, _ := bytes.Cut(text, []byte("\n"))
	if text[0] != '{' || !json.Valid(line) {
		return false
	}
	rest = bytes.TrimLeft(rest, " \t\r\n")
	return bytes.HasPrefix(rest, []byte("{")) ||
		len(rest) == 0 && len(paths) > 0 && !strings.Contains(paths[0], "[*]")
}

// maxPaths bounds the paths that addressPaths returns.
const maxPaths = 3

// addressPaths returns JSON paths of addresses in the beginning of a document. Entries of an array
// share a path.
func addressPaths(text []byte) (paths []string) {
	type level struct {
		array bool
		key   string
		isKey bool // a key comes next
	}
	var open []level
	decoder := json.NewDecoder(bytes.NewReader(text))
	for len(paths) < maxPaths && len(open) < maxDepth {
		t, err := decoder.Token()
		if err != nil {
			break // the beginning of a document may stop anywhere
		}
		switch t := t.(type) {
		case json.Delim:
			if t == '{' || t == '[' {
				open = append(open, level{array: t == '[', isKey: t == '{'})
				continue
			}
			open = open[:len(open)-1]
		case string:
			if len(open) == 0 {
				break
			}
			if last := &open[len(open)-1]; last.isKey {
				last.key, last.isKey = t, false
				continue
			}
			if !isEntry(t) {
				break
			}
			path := "$"
			for _, l := range open {
				if l.array {
					path += "[*]"
				} else {
					path += keyInPath(l.key)
				}
			}
			if !slices.Contains(paths, path) {
				paths = append(paths, path)
			}
		}
		if n := len(open); n > 0 {
			open[n-1].isKey = !open[n-1].array
		}
	}
	return paths
}

// isEntry reports whether a text can be an entry of a list.
func isEntry(text string) bool {
	var b address.Builder
	return addEntry(&b, []byte(text)) == nil
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
