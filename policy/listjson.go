package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/theory/jsonpath/spec"
)

const (
	// maxHeld is how many bytes of a JSON document are held in memory at once: a string, or what a
	// filter or ".." is applied to. Values take about ten times that. The largest of Azure's service
	// tags has 500 KB, the whole of their document 5 MB.
	maxHeld = 8 << 20
	// maxDepth is how deep JSON may be nested. Published lists have five levels.
	maxDepth = 100
)

var (
	errHeld = fmt.Errorf("select would have to hold more than %d MiB of the document at once: "+
		"write the path out from the top, such as $.prefixes[*].cidr", maxHeld>>20)
	errDeep = fmt.Errorf("it is nested deeper than %d levels", maxDepth)
	errStop = errors.New("enough was read")
)

// place is where a value stands in the one around it: its key, or its index if that is not negative.
type place struct {
	name  string
	index int
}

// jsonList reads the selected strings of JSON documents: of one, or of one a line.
type jsonList struct {
	*listing
	in      *window
	decoder *json.Decoder
	path    []place // to the value that is being read
}

// readJSON reads a list that select takes from JSON.
func (l *listing) readJSON(in io.Reader) error {
	w := &window{from: in, line: 1}
	j := &jsonList{listing: l, in: w, decoder: json.NewDecoder(w)}
	err := j.documents()
	var syntax *json.SyntaxError
	at := Location{l.name, w.line, 1}
	switch {
	case err == nil || err == errStop:
		return nil
	case w.err != nil && w.err != errHeld:
		return w.err // the source's
	case errors.As(err, &syntax):
		at = w.locate(l.name, syntax.Offset-1)
		err = fmt.Errorf("this is not valid JSON (%v)", syntax)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		at = w.locate(l.name, w.base+int64(len(w.held)))
		err = errors.New("the JSON ends in the middle")
	}
	if l.secret && !errors.Is(err, errHeld) && !errors.Is(err, errDeep) {
		err = errSecret
	}
	l.report.at(at, "%v", err)
	return nil
}

// documents reads one document after the other.
func (j *jsonList) documents() error {
	for j.decoder.More() {
		if err := j.value(0); err != nil {
			return err
		}
	}
	if _, err := j.token(); err != io.EOF {
		return err
	}
	if j.content.entries == 0 && j.report.count() == 0 {
		j.report.at(Location{File: j.name}, "select %s finds nothing in it", inYAML(j.selects.text))
	}
	return nil
}

// token reads a token, and lets go of what was read before it.
func (j *jsonList) token() (json.Token, error) {
	j.in.advance(j.decoder.InputOffset())
	return j.decoder.Token()
}

// value reads a value that the path has led to, up to one of its steps.
func (j *jsonList) value(step int) error {
	switch steps := j.selects.steps; {
	case step < len(steps):
		return j.children(func(at place) error {
			if follows(steps[step], at) {
				return j.value(step + 1)
			}
			return j.skip()
		})
	case j.selects.each:
		return j.children(j.filtered)
	case j.selects.rest != nil:
		value, err := j.hold()
		if err != nil {
			return err
		}
		return j.pick(value)
	}
	t, err := j.token()
	if err != nil {
		return err
	}
	if err := j.add(t, j.path); err != nil {
		return err
	}
	return j.finish(t)
}

// children reads an object or array, and hands each value in it to use, which reads it. Anything
// else has none.
func (j *jsonList) children(use func(at place) error) error {
	t, err := j.token()
	if err != nil {
		return err
	}
	if t != json.Delim('{') && t != json.Delim('[') {
		return nil
	}
	for i := 0; j.decoder.More(); i++ {
		at := place{index: i}
		if t == json.Delim('{') {
			key, err := j.token()
			if err != nil {
				return err
			}
			name, _ := key.(string) // the decoder takes nothing else for a key
			at = place{name: name, index: -1}
		}
		j.path = append(j.path, at)
		if err := use(at); err != nil {
			return err
		}
		j.path = j.path[:len(j.path)-1]
	}
	_, err = j.token()
	return err
}

// skip reads a value that is not selected.
func (j *jsonList) skip() error {
	t, err := j.token()
	if err != nil {
		return err
	}
	return j.finish(t)
}

// finish reads the rest of a value that begins with a token.
func (j *jsonList) finish(begin json.Token) error {
	for depth := 0; ; {
		switch begin {
		case json.Delim('{'), json.Delim('['):
			if depth++; depth > maxDepth {
				return errDeep
			}
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 0 {
			return nil
		}
		var err error
		if begin, err = j.token(); err != nil {
			return err
		}
	}
}

// hold reads a value into memory.
func (j *jsonList) hold() (value any, err error) {
	j.in.advance(j.decoder.InputOffset())
	if err := j.decoder.Decode(&value); err != nil {
		return nil, err
	}
	if deeper(value, maxDepth) {
		return nil, errDeep
	}
	return value, nil
}

// deeper reports whether a value is nested deeper than so many levels.
func deeper(value any, levels int) bool {
	switch value := value.(type) {
	case []any:
		for _, v := range value {
			if levels == 0 || deeper(v, levels-1) {
				return true
			}
		}
	case map[string]any:
		for _, v := range value {
			if levels == 0 || deeper(v, levels-1) {
				return true
			}
		}
	}
	return false
}

// filtered reads one entry for a filter.
func (j *jsonList) filtered(place) error {
	value, err := j.hold()
	if err != nil {
		return err
	}
	return j.pick([]any{value})
}

// pick adds what the rest of the path selects from a value.
func (j *jsonList) pick(value any) error {
	for _, x := range j.selects.rest.Select(nil, value) {
		if err := j.add(x, nil); err != nil {
			return err
		}
	}
	return nil
}

// add adds a selected value. path is where it stands, if that is known exactly.
func (j *jsonList) add(value any, path []place) error {
	at := func() Location { return j.in.locate(j.name, j.in.base) }
	if !j.count(at) {
		return errStop
	}
	var err error
	if text, ok := value.(string); ok {
		err = addEntry(&j.prefixes, []byte(strings.TrimSpace(text)))
	} else {
		err = fmt.Errorf("%s is not an address, a CIDR or a range", describeJSON(value))
	}
	switch {
	case err != nil && j.secret:
		j.report.at(at(), "%v", errSecret)
	case err != nil && path != nil:
		j.report.at(at(), "%s: %v", normalized(path), err)
	case err != nil:
		j.report.at(at(), "selected in %s: %v", normalized(j.path), err)
	}
	return nil
}

// describeJSON names a value that is not a string.
func describeJSON(value any) string {
	switch value := value.(type) {
	case nil:
		return "null"
	case bool, float64:
		return fmt.Sprint(value)
	case []any:
		return "an array"
	case json.Delim:
		if value == '[' {
			return "an array"
		}
	}
	return "an object"
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

// window is the part of a document that its reader has read ahead. It fails rather than growing
// beyond maxHeld, and knows lines and columns.
type window struct {
	from      io.Reader
	held      []byte
	base      int64 // where held begins
	line      int   // of base
	lineStart int64 // where that line begins
	err       error
}

func (w *window) Read(p []byte) (int, error) {
	if len(w.held) > maxHeld {
		w.err = errHeld
		return 0, errHeld
	}
	n, err := w.from.Read(p)
	w.held = append(w.held, p[:n]...)
	if err != nil && err != io.EOF {
		w.err = err
	}
	return n, err
}

// advance lets go of what stands before an offset.
func (w *window) advance(to int64) {
	gone := w.held[:min(to-w.base, int64(len(w.held)))]
	if n := bytes.Count(gone, []byte("\n")); n > 0 {
		w.line += n
		w.lineStart = w.base + int64(bytes.LastIndexByte(gone, '\n')) + 1
	}
	w.held, w.base = w.held[len(gone):], to
}

// locate is where the value stands that begins at an offset, behind what separates it.
func (w *window) locate(name string, offset int64) Location {
	line, start := w.line, w.lineStart
	i := 0
	for ; i < len(w.held); i++ {
		if w.base+int64(i) >= offset && bytes.IndexByte([]byte(" \t\r\n:,"), w.held[i]) < 0 {
			break
		}
		if w.held[i] == '\n' {
			line, start = line+1, w.base+int64(i)+1
		}
	}
	return Location{name, line, int(w.base+int64(i)-start) + 1}
}
