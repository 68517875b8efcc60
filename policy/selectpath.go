package policy

import (
	"errors"
	"fmt"
	"strings"

	"github.com/theory/jsonpath"
	"github.com/theory/jsonpath/spec"
)

// selectPath is a JSON path (RFC 9535) that says which strings of a JSON document are a list.
//
// The document is not read as a whole: AWS's has ten thousand objects, others a million. The
// beginning of the path, as far as it names keys and entries, is followed while the document
// streams by. What stands there is held in memory, entry by entry where a filter comes next, and
// the rest of the path is applied to it.
type selectPath struct {
	text  string
	steps []*spec.Segment // followed in the stream
	// rest is applied to what stands at the end of the steps; nil if that is selected itself.
	rest *spec.PathQuery
	// each: rest begins with a filter, which judges one entry at a time.
	each bool
}

// maxSelect is how long a path may be, in bytes. It bounds the depth of its nested filters, too.
const maxSelect = 1000

// parseSelect reads the value of select. The error says what to write instead.
func parseSelect(text string) (*selectPath, error) {
	if len(text) > maxSelect {
		return nil, fmt.Errorf("a JSON path may have %d bytes", maxSelect)
	}
	path, err := jsonpath.Parse(text)
	if err != nil {
		reason := strings.TrimPrefix(err.Error(), "jsonpath: ")
		return nil, fmt.Errorf("%q is not a JSON path (%s)%s", text, reason, selectHint(text))
	}
	segments := path.Query().Segments()
	p := &selectPath{text: text}
	for len(p.steps) < len(segments) && streams(segments[len(p.steps)]) {
		p.steps = append(p.steps, segments[len(p.steps)])
	}
	rest := segments[len(p.steps):]
	if len(rest) > 0 {
		p.rest, p.each = spec.Query(true, rest...), filters(rest[0])
	}
	return p, p.check(rest)
}

// check refuses what can't be judged piece by piece, or takes time beyond measure.
func (p *selectPath) check(rest []*spec.Segment) error {
	text := outsideQuotes(spec.Query(false, rest...).String())
	switch {
	case strings.Contains(text, "$"):
		return errors.New("a filter looks at the entry alone: write @ instead of $ in it")
	case strings.Count(text, "..") > 1:
		return errors.New("a JSON path may have one .. in it: write out more of the path")
	}
	return nil
}

// outsideQuotes is the text of a path without the names and strings in it.
func outsideQuotes(path string) string {
	var out strings.Builder
	quoted := false
	for i := 0; i < len(path); i++ {
		switch c := path[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case !quoted:
			out.WriteByte(c)
		}
	}
	return out.String()
}

// streams reports whether a segment names keys and entries that can be told one by one.
func streams(s *spec.Segment) bool {
	for _, selector := range s.Selectors() {
		switch selector := selector.(type) {
		case spec.Name, spec.WildcardSelector:
		case spec.Index:
			if selector < 0 {
				return false
			}
		default:
			return false
		}
	}
	return !s.IsDescendant()
}

// filters reports whether a segment is one filter.
func filters(s *spec.Segment) bool {
	if s.IsDescendant() || len(s.Selectors()) != 1 {
		return false
	}
	_, ok := s.Selectors()[0].(*spec.FilterSelector)
	return ok
}

// follows reports whether a step leads to a member of an object, or to an entry of an array.
func follows(s *spec.Segment, at place) bool {
	for _, selector := range s.Selectors() {
		switch selector := selector.(type) {
		case spec.WildcardSelector:
			return true
		case spec.Name:
			if at.index < 0 && string(selector) == at.name {
				return true
			}
		case spec.Index:
			if int(selector) == at.index {
				return true
			}
		}
	}
	return false
}

// selectHint tells people who think of jq what to write.
func selectHint(text string) string {
	path := strings.ReplaceAll(text, "[]", "[*]")
	switch {
	case strings.HasPrefix(path, "$"):
	case strings.HasPrefix(path, ".") || strings.HasPrefix(path, "["):
		path = "$" + path
	default:
		path = "$." + path
	}
	if _, err := jsonpath.Parse(path); path == text || err != nil {
		return ""
	}
	return "; write " + plainOrQuoted(path)
}
