package policy

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/theory/jsonpath/spec"
)

// errTooManyEntries stops reading a list that has too many entries.
var errTooManyEntries = errors.New("the list has too many entries")

// place is where a value stands in the one around it: its key if index is negative, else its index.
type place struct {
	name  string
	index int
}

// jsonList reads the selected strings of JSON documents: of one document, or of JSON lines.
type jsonList struct {
	*listing
	jsonScanner
	head []byte   // the beginning of the list
	path []place  // of the value that is being read
	at   Location // the beginning of the selected value
}

// readJSON reads a list that select takes from JSON.
func (l *listing) readJSON(in *bufio.Reader, head []byte) error {
	j := &jsonList{listing: l, head: slices.Clone(head)}
	j.jsonScanner = jsonScanner{in: in, line: 1, column: 1}
	err := j.documents()
	switch {
	case err == nil || err == errTooManyEntries:
		return nil
	case !isJSONError(err):
		return err
	case l.hideText && err != errTooMuchHeld && err != errTooDeep:
		err = errHiddenText
	}
	at := j.here()
	if err == errTooMuchHeld {
		at = j.at // the beginning of the value that is too long
	}
	l.report.at(at, "%v", err)
	return nil
}

// here returns the location of the next byte.
func (j *jsonList) here() Location { return Location{j.name, j.jsonScanner.line, j.column} }

// documents reads all documents.
func (j *jsonList) documents() error {
	for {
		_, err := j.peek()
		if err == io.EOF {
			break
		}
		if err == nil {
			err = j.followPath(0)
		}
		if err != nil {
			return err
		}
	}
	if j.content.entries == 0 && j.report.count() == 0 {
		j.report.at(Location{File: j.name}, "select %s finds nothing in it%s",
			yamlScalar(j.selects.text), j.otherPathsHint(j.head))
	}
	return nil
}

// followPath reads the value that the first step steps of the path have led to.
func (j *jsonList) followPath(step int) error {
	switch steps := j.selects.steps; {
	case step < len(steps):
		return j.children(func(at place) error {
			if matchesStep(steps[step], at) {
				return j.followPath(step + 1)
			}
			return j.skip(maxDepth)
		})
	case j.selects.perEntry:
		return j.children(j.filterEntry)
	case j.selects.rest != nil:
		return j.selectFromValue(func(value any) any { return value })
	}
	return j.selectedValue()
}

// children calls use for each value in an object or array, and use must read that value. Other
// values have no children.
func (j *jsonList) children(use func(at place) error) error {
	c, err := j.expect()
	if err != nil {
		return err
	}
	if c != '{' && c != '[' {
		return j.skip(maxDepth)
	}
	return j.members(maxDepth, func(at place) error {
		j.path = append(j.path, at)
		err := use(at)
		j.path = j.path[:len(j.path)-1]
		return err
	})
}

// filterEntry reads one entry and applies a filter to it. A filter takes an array.
func (j *jsonList) filterEntry(place) error {
	return j.selectFromValue(func(value any) any { return []any{value} })
}

// selectFromValue reads a value, wraps it, and adds what the rest of the path selects from it.
func (j *jsonList) selectFromValue(wrap func(any) any) error {
	if _, err := j.expect(); err != nil {
		return err
	}
	j.at = j.here()
	value, err := j.decodeValue()
	if err != nil {
		return err
	}
	for _, x := range j.selects.rest.Select(nil, wrap(value)) {
		if text, ok := x.(string); ok {
			err = j.add(text, "selected in ")
		} else {
			err = j.refuse(describeJSON(x), "selected in ")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// selectedValue reads a value that the path itself selects.
func (j *jsonList) selectedValue() error {
	c, err := j.expect()
	if err != nil {
		return err
	}
	j.at = j.here()
	if c != '"' {
		what := map[byte]string{'{': "an object", '[': "an array"}[c]
		if err := j.skip(maxDepth); err != nil {
			return err
		}
		if what == "" {
			what = string(j.word)
		}
		return j.refuse(what, "")
	}
	if err := j.text(true); err != nil {
		return err
	}
	if !j.escaped { // parse its bytes and make no string of them
		if addFast(&j.prefixes, j.word) {
			return j.countEntry()
		}
	}
	text, err := j.unescaped()
	if err != nil {
		return err
	}
	return j.add(text, "")
}

// countEntry counts an entry.
func (j *jsonList) countEntry() error {
	if !j.count(func() Location { return j.at }) {
		return errTooManyEntries
	}
	return nil
}

// add adds a selected string. Messages print where before the path of the string.
func (j *jsonList) add(text, where string) error {
	if err := j.countEntry(); err != nil {
		return err
	}
	if j.refused >= maxRefused {
		j.report.dropped++
		return nil
	}
	if err := addEntry(&j.prefixes, []byte(strings.TrimSpace(text))); err != nil {
		j.reportEntry(where, err)
	}
	return nil
}

// refuse reports a selected value that is not a string.
func (j *jsonList) refuse(what, where string) error {
	if err := j.countEntry(); err != nil {
		return err
	}
	if j.refused >= maxRefused {
		j.report.dropped++
		return nil
	}
	hint := ""
	if what == "null" && j.report.count() < maxProblems {
		if path := j.selects.withoutNulls(); path != "" {
			hint = "; select: " + yamlScalar(path) + " passes over it"
		}
	}
	j.reportEntry(where, fmt.Errorf("%.40s is not an address, a CIDR or a range%s", what, hint))
	return nil
}

// reportEntry reports a mistake in a selected value.
func (j *jsonList) reportEntry(where string, err error) {
	defer j.countRefused(j.at)
	if j.hideText {
		j.report.at(j.at, "%v", errHiddenText)
		return
	}
	j.report.at(j.at, "%s%s: %v", where, normalized(j.path), err)
}

// describeJSON names a value that is not a string.
func describeJSON(value any) string {
	switch value := value.(type) {
	case map[string]any:
		return "an object"
	case []any:
		return "an array"
	default:
		text, _ := json.Marshal(value) // null, true, false and numbers always encode
		return string(text)
	}
}

// normalized returns a path as RFC 9535 writes it.
func normalized(path []place) string {
	var out spec.NormalizedPath
	for _, p := range path {
		if p.index < 0 {
			out = append(out, spec.Name(p.name))
		} else {
			out = append(out, spec.Index(p.index))
		}
	}
	return out.String()
}
