package policy

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// jsonScanner reads JSON documents value by value, without holding more of them than is asked for.
// It takes what json.Valid takes, and knows where it is. json.Decoder does the same ten times
// slower (1 M objects: 2.5 s), and holds a value of any length.
type jsonScanner struct {
	in           *bufio.Reader
	line, column int // of the next byte
	// capturing keeps what is read in captured, up to maxHeld.
	capturing bool
	captured  []byte
	word      []byte // the string or literal that was read last, without quotes
	escaped   bool   // it has escapes
}

const (
	// maxHeld is how many bytes of a JSON document are held in memory at once: what a filter or
	// ".." is applied to. Values take about ten times that. The largest of Azure's service tags has
	// 500 KB.
	maxHeld = 4 << 20
	// maxWord bounds a key, a selected string and a number.
	maxWord = 64 << 10
	// maxDepth is how deep JSON may be nested. Published lists have five levels.
	maxDepth = 32
)

// jsonError is what is wrong with a document.
type jsonError struct{ message string }

func (e jsonError) Error() string { return e.message }

var (
	errHeld = jsonError{fmt.Sprintf("select would have to hold more than %d MiB of the document at "+
		"once: write the path out from the top, such as $.prefixes[*].cidr", maxHeld>>20)}
	errWord = jsonError{fmt.Sprintf("a key, string or number is longer than %d KiB", maxWord>>10)}
	errDeep = jsonError{fmt.Sprintf("it is nested deeper than %d levels", maxDepth)}
	errCut  = jsonError{"the JSON ends in the middle"}
)

func notJSON(format string, args ...any) error {
	return jsonError{"this is not valid JSON: " + fmt.Sprintf(format, args...)}
}

// buffered is what can be read without waiting, at least a byte. The error is io.EOF at the end.
func (s *jsonScanner) buffered() ([]byte, error) {
	if s.in.Buffered() == 0 {
		if _, err := s.in.Peek(1); err != nil {
			return nil, err
		}
	}
	return s.in.Peek(s.in.Buffered())
}

// take reads what stands at the beginning of what is buffered. It keeps count of lines.
func (s *jsonScanner) take(read []byte) error {
	for _, c := range read {
		if s.column++; c == '\n' {
			s.line, s.column = s.line+1, 1
		}
	}
	if s.capturing {
		if len(s.captured)+len(read) > maxHeld {
			return errHeld
		}
		s.captured = append(s.captured, read...)
	}
	_, err := s.in.Discard(len(read))
	return err
}

// next reads a byte within a document.
func (s *jsonScanner) next() (byte, error) {
	text, err := s.buffered()
	if err != nil {
		return 0, withinDocument(err)
	}
	c := text[0]
	return c, s.take(text[:1])
}

// withinDocument is an error of reading where a document doesn't end.
func withinDocument(err error) error {
	if err == io.EOF {
		return errCut
	}
	return err
}

// peek is the next byte that isn't space; the error is io.EOF where the document ends.
func (s *jsonScanner) peek() (byte, error) {
	for {
		text, err := s.buffered()
		if err != nil {
			return 0, err
		}
		n := 0
		for n < len(text) && isSpace(text[n]) {
			n++
		}
		var c byte
		if n < len(text) {
			c = text[n]
		}
		if n > 0 {
			if err := s.take(text[:n]); err != nil {
				return 0, err
			}
		}
		if n < len(text) {
			return c, nil
		}
	}
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }

// expect is the next byte that isn't space, within a document.
func (s *jsonScanner) expect() (byte, error) {
	c, err := s.peek()
	return c, withinDocument(err)
}

// skip reads a value. Objects and arrays may be nested in it for so many levels.
func (s *jsonScanner) skip(levels int) error {
	c, err := s.expect()
	switch {
	case err != nil:
		return err
	case c == '"':
		return s.text(false)
	case c == '{' || c == '[':
		return s.members(levels, func(place) error { return s.skip(levels - 1) })
	}
	return s.literal()
}

// members reads an object or array. use reads each value in it.
func (s *jsonScanner) members(levels int, use func(at place) error) error {
	if levels == 0 {
		return errDeep
	}
	open, err := s.next()
	if err != nil {
		return err
	}
	end := byte(']')
	if open == '{' {
		end = '}'
	}
	for i := 0; ; i++ {
		c, err := s.expect()
		if err != nil {
			return err
		}
		if c == end && i == 0 {
			_, err := s.next()
			return err
		}
		at := place{index: i}
		if open == '{' {
			if at, err = s.key(); err != nil {
				return err
			}
		}
		if err := use(at); err != nil {
			return err
		}
		if c, err = s.expect(); err != nil {
			return err
		}
		if c != end && c != ',' {
			return notJSON("%q where a comma or %q belongs", c, end)
		}
		if _, err := s.next(); err != nil || c == end {
			return err
		}
	}
}

// key reads the key of an object's member, and the colon behind it.
func (s *jsonScanner) key() (place, error) {
	c, err := s.expect()
	if err == nil && c != '"' {
		err = notJSON("%q where a key belongs", c)
	}
	if err == nil {
		err = s.text(true)
	}
	if err != nil {
		return place{}, err
	}
	name, err := s.unescaped()
	if err != nil {
		return place{}, err
	}
	if c, err = s.expect(); err == nil && c != ':' {
		err = notJSON("%q where a colon belongs", c)
	}
	if err == nil {
		_, err = s.next()
	}
	return place{name: name, index: -1}, err
}

// text reads a string, and keeps it in word if that is wanted.
func (s *jsonScanner) text(keep bool) error {
	_, err := s.next() // the quote
	s.word, s.escaped = s.word[:0], false
	for err == nil {
		var text []byte
		if text, err = s.buffered(); err != nil {
			return withinDocument(err)
		}
		n := 0
		for n < len(text) && text[n] >= ' ' && text[n] != '"' && text[n] != '\\' {
			n++
		}
		var end byte
		if n < len(text) {
			end = text[n]
			n++ // a quote, a backslash, or what doesn't belong there
		}
		if keep {
			s.word = append(s.word, text[:n]...)
		}
		err = s.take(text[:n])
		switch {
		case err != nil:
		case len(s.word) > maxWord:
			err = errWord
		case end == '"':
			if keep {
				s.word = s.word[:len(s.word)-1]
			}
			return nil
		case end == '\\':
			s.escaped = true
			err = s.escape(keep)
		case end != 0 || n > 0 && text[n-1] == 0:
			err = notJSON("%q in a string", end)
		}
	}
	return err
}

// escape reads what stands behind a backslash.
func (s *jsonScanner) escape(keep bool) error {
	for digits, first := 0, true; first || digits > 0; first = false {
		c, err := s.next()
		switch {
		case err != nil:
			return err
		case first && c == 'u':
			digits = 5
		case first && !strings.ContainsRune(`"\/bfnrt`, rune(c)):
			return notJSON(`%q behind a \`, c)
		case digits > 0:
			if _, hex := hexDigit(c); !hex {
				return notJSON(`%q in a \u escape`, c)
			}
		}
		if digits > 0 {
			digits--
		}
		if keep {
			s.word = append(s.word, c)
		}
	}
	return nil
}

// unescaped is the string that text has kept.
func (s *jsonScanner) unescaped() (string, error) {
	if !s.escaped {
		return string(s.word), nil
	}
	var text string
	if err := json.Unmarshal([]byte(`"`+string(s.word)+`"`), &text); err != nil {
		return "", notJSON("%v", err)
	}
	return text, nil
}

// literal reads a number, true, false or null into word.
func (s *jsonScanner) literal() error {
	s.word = s.word[:0]
	for {
		text, err := s.buffered()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if !isLiteral(text[0]) {
			if len(s.word) == 0 {
				return notJSON("%q where a value belongs", text[0])
			}
			break
		}
		if s.word = append(s.word, text[0]); len(s.word) > maxWord {
			return errWord
		}
		if err := s.take(text[:1]); err != nil {
			return err
		}
	}
	if !json.Valid(s.word) {
		return notJSON("%.40q is not a value", s.word)
	}
	return nil
}

// isLiteral reports whether numbers, true, false and null have a byte.
func isLiteral(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' ||
		c == '-' || c == '+' || c == '.'
}

// hold reads a value into memory.
func (s *jsonScanner) hold() (value any, err error) {
	s.capturing, s.captured = true, s.captured[:0]
	err = s.skip(maxDepth)
	s.capturing = false
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(s.captured, &value); err != nil {
		return nil, notJSON("%v", err) // such as a number beyond what a float64 holds
	}
	return value, nil
}

// isJSONError reports whether the document is at fault, and not the reader.
func isJSONError(err error) bool {
	var j jsonError
	return errors.As(err, &j)
}
