package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp/syntax"
	"strings"

	"github.com/theory/jsonpath"
	"github.com/theory/jsonpath/spec"

	"github.com/portgrave/portgrave/firewall/pattern"
)

// selectPath is a JSON path (RFC 9535) that selects the strings of a list.
//
// Documents are too large to be decoded as a whole: AWS's has ten thousand objects, others have a
// million. The reader follows the first steps of the path, which are keys and indexes, in the
// stream. It decodes only the values they lead to, entry by entry if a filter comes next, and
// applies the rest of the path to them.
type selectPath struct {
	text  string
	steps []*spec.Segment // followed in the stream
	// rest is applied to the value at the end of steps; nil selects that value itself.
	rest *spec.PathQuery
	// perEntry is true if rest begins with a filter, which looks at one entry at a time.
	perEntry bool
}

// maxSelectBytes bounds a path, and so the depth of its nested filters.
const maxSelectBytes = 1000

// parseSelect reads the value of select. The error says what to write instead.
func parseSelect(text string) (*selectPath, error) {
	if len(text) > maxSelectBytes {
		return nil, fmt.Errorf("a JSON path may have %d bytes", maxSelectBytes)
	}
	path, err := jsonpath.Parse(text)
	if err != nil {
		reason := strings.TrimPrefix(err.Error(), "jsonpath: ")
		return nil, fmt.Errorf("%q is not a JSON path (%s)%s", text, reason, selectHint(text))
	}
	segments := path.Query().Segments()
	p := &selectPath{text: text}
	for len(p.steps) < len(segments) && canStream(segments[len(p.steps)]) {
		p.steps = append(p.steps, segments[len(p.steps)])
	}
	rest := segments[len(p.steps):]
	if len(rest) > 0 {
		p.rest, p.perEntry = spec.Query(true, rest...), isFilter(rest[0])
	}
	return p, p.check(rest)
}

// check refuses filters that need the whole document, and paths that take too much time.
func (p *selectPath) check(rest []*spec.Segment) error {
	text := outsideQuotes(spec.Query(false, rest...).String())
	switch {
	case strings.Contains(text, "$"):
		return errors.New("a filter looks at the entry alone: write @ instead of $ in it")
	case strings.Count(text, "..") > 1:
		return errors.New("a JSON path may have one .. in it: write out more of the path")
	}
	return checkExpressions(spec.Query(false, rest...).String())
}

// secondArgument matches the second argument of a function if it is a string. Only match and search
// have two.
var secondArgument = pattern.New(`, *("(?:[^"\\]|\\.)*")\)`)

// checkExpressions refuses regular expressions that match nothing because they are not valid.
func checkExpressions(path string) error {
	for _, found := range secondArgument.Regexp().FindAllStringSubmatch(path, -1) {
		var text string
		if json.Unmarshal([]byte(found[1]), &text) != nil {
			continue // not as JSON writes it
		}
		if _, err := syntax.Parse(text, syntax.Perl|syntax.DotNL); err != nil {
			reason := strings.TrimPrefix(err.Error(), "error parsing regexp: ")
			return fmt.Errorf("the regular expression %q is not valid (%s), and would find nothing",
				text, reason)
		}
	}
	return nil
}

// isWhole reports whether the path selects the document itself.
func (p *selectPath) isWhole() bool { return len(p.steps) == 0 && p.rest == nil }

// withoutNulls returns a path that passes over null and else selects the same; "" if there is none.
func (p *selectPath) withoutNulls() string {
	var found addressPath
	for _, s := range p.steps {
		step := s.String()
		if len(s.Selectors()) == 1 {
			switch selector := s.Selectors()[0].(type) {
			case spec.WildcardSelector:
				step = "[*]"
			case spec.Name:
				step = keyInPath(string(selector))
			}
		}
		found.steps = append(found.steps, step)
	}
	found.nulls = true
	text, ok := found.text()
	if !ok || p.rest != nil {
		return ""
	}
	return text
}

// outsideQuotes returns a path without its quoted names and strings.
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

// canStream reports whether a segment can be followed in a stream: it has keys and indexes only.
func canStream(s *spec.Segment) bool {
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

// isFilter reports whether a segment is a single filter.
func isFilter(s *spec.Segment) bool {
	if s.IsDescendant() || len(s.Selectors()) != 1 {
		return false
	}
	_, ok := s.Selectors()[0].(*spec.FilterSelector)
	return ok
}

// matchesStep reports whether a step leads to the member or entry at a place.
func matchesStep(s *spec.Segment, at place) bool {
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

// shorthand matches names behind a dot that need brackets and quotes instead: those with a dash, or
// a digit in front, and those in quotes, as in jq.
var shorthand = pattern.New(`\.("[^"'\\]+"|[A-Za-z0-9_-]+)`)

// selectHint returns the JSON path for a path in the syntax of jq, or with names that need quotes.
func selectHint(text string) string {
	path := strings.ReplaceAll(text, "[]", "[*]")
	if !strings.ContainsAny(path, "'?") { // text in quotes may look like a name
		path = shorthand.Regexp().ReplaceAllStringFunc(path, func(name string) string {
			return keyInPath(strings.Trim(name[1:], `"`))
		})
	}
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
	return "; write " + yamlScalar(path)
}
