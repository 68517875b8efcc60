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

// errStop ends the reading of a list that has too many entries.
var errStop = errors.New("the list has too many entries")

// place is where a value stands in the one around it: its key, or its index if that is not
// negative.
type place struct {
	name  string
	index int
}

// jsonList reads the selected strings of JSON documents: of one, or of one a line.
type jsonList struct {
	*listing
	jsonScanner
	head []byte   // how the list begins
	path []place  // to the value that is being read
	at   Location // where it begins, once it is selected
}

// readJSON reads a list that select takes from JSON.
func (l *listing) readJSON(in *bufio.Reader, head []byte) error {
	j := &jsonList{listing: l, head: slices.Clone(head)}
	j.jsonScanner = jsonScanner{in: in, line: 1, column: 1}
	err := j.documents()
	switch {
	case err == nil || err == errStop:
		return nil
	case !isJSONError(err):
		return err
	case l.secret && err != errHeld && err != errDeep:
		err = errSecret
	}
	at := j.here()
	if err == errHeld {
		at = j.at // where what is held begins
	}
	l.report.at(at, "%v", err)
	return nil
}

// here is the place of the next byte.
func (j *jsonList) here() Location { return Location{j.name, j.jsonScanner.line, j.column} }

// documents reads one document after the other.
func (j *jsonList) documents() error {
	for {
		_, err := j.peek()
		if err == io.EOF {
			break
		}
		if err == nil {
			err = j.value(0)
		}
		if err != nil {
			return err
		}
	}
	if j.content.entries == 0 && j.report.count() == 0 {
		j.report.at(Location{File: j.name}, "select %s finds nothing in it%s",
			plainOrQuoted(j.selects.text), j.elsewhere(j.head))
	}
	return nil
}

// value reads a value that the path has led to, up to one of its steps.
func (j *jsonList) value(step int) error {
	switch steps := j.selects.steps; {
	case step < len(steps):
		return j.children(func(at place) error {
			if follows(steps[step], at) {
				return j.value(step + 1)
			}
			return j.skip(maxDepth)
		})
	case j.selects.each:
		return j.children(j.filtered)
	case j.selects.rest != nil:
		return j.picked(func(value any) any { return value })
	}
	return j.selected()
}

// children reads an object or array, and hands each value in it to use, which reads it. Anything
// else has none.
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

// filtered reads one entry for a filter, which looks into an array.
func (j *jsonList) filtered(place) error {
	return j.picked(func(value any) any { return []any{value} })
}

// picked reads a value, and adds what the rest of the path selects from it in its shell.
func (j *jsonList) picked(shell func(any) any) error {
	if _, err := j.expect(); err != nil {
		return err
	}
	j.at = j.here()
	value, err := j.hold()
	if err != nil {
		return err
	}
	for _, x := range j.selects.rest.Select(nil, shell(value)) {
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

// selected reads a value that is selected itself.
func (j *jsonList) selected() error {
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
	if !j.escaped { // its bytes are the entry, and no string is made of them
		if addFast(&j.prefixes, j.word) {
			return j.one()
		}
	}
	text, err := j.unescaped()
	if err != nil {
		return err
	}
	return j.add(text, "")
}

// one counts an entry.
func (j *jsonList) one() error {
	if !j.count(func() Location { return j.at }) {
		return errStop
	}
	return nil
}

// add adds a selected string. where says what stands before its path in messages.
func (j *jsonList) add(text, where string) error {
	if err := j.one(); err != nil {
		return err
	}
	if err := addEntry(&j.prefixes, []byte(strings.TrimSpace(text))); err != nil {
		j.wrong(where, err)
	}
	return nil
}

// refuse reports a selected value that is not a string.
func (j *jsonList) refuse(what, where string) error {
	if err := j.one(); err != nil {
		return err
	}
	j.wrong(where, fmt.Errorf("%.40s is not an address, a CIDR or a range", what))
	return nil
}

// wrong reports a selected value.
func (j *jsonList) wrong(where string, err error) {
	if j.secret {
		j.report.at(j.at, "%v", errSecret)
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

// normalized is a path as RFC 9535 writes it.
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
