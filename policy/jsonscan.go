package policy

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// jsonScanner reads JSON documents value by value and holds no more of them than asked. It accepts
// what json.Valid accepts, and knows its line and column. json.Decoder takes ten times as long (1 M
// objects: 2.5 s), and holds values of any length.
type jsonScanner struct {
	in           *bufio.Reader
	line, column int // of the next byte
	// capturing keeps what is read in captured, up to maxHeldBytes.
	capturing bool
	captured  []byte
	word      []byte // the last string or literal, without quotes
	escaped   bool   // word has escapes
}

const (
	// maxHeldBytes bounds the part of a JSON document held in memory at once: the input of a filter
	// or "..". Decoded values take about ten times that. The largest entry of Azure's service tags
	// has 500 KB.
	maxHeldBytes = 4 << 20
	// maxWordBytes bounds a key, a selected string and a number.
	maxWordBytes = 64 << 10
	// maxDepth bounds the nesting of JSON. Published lists have five levels.
	maxDepth = 32
)

// jsonError is a mistake in a document.
type jsonError struct{ message string }

func (e jsonError) Error() string { return e.message }

var (
	errTooMuchHeld = jsonError{fmt.Sprintf("select would have to hold more than %d MiB of the "+
		"document at once: write the path out from the top, such as $.prefixes[*].cidr",
		maxHeldBytes>>20)}
	errWordTooLong = jsonError{fmt.Sprintf("a key, string or number is longer than %d KiB",
		maxWordBytes>>10)}
	errTooDeep   = jsonError{fmt.Sprintf("it is nested deeper than %d levels", maxDepth)}
	errTruncated = jsonError{"the JSON ends in the middle"}
)

func notJSON(format string, args ...any) error {
	return jsonError{"this is not valid JSON: " + fmt.Sprintf(format, args...)}
}

// buffered returns at least one byte that can be read without waiting. The error is io.EOF at the
// end.
func (s *jsonScanner) buffered() ([]byte, error) {
	if s.in.Buffered() == 0 {
		if _, err := s.in.Peek(1); err != nil {
			return nil, err
		}
	}
	return s.in.Peek(s.in.Buffered())
}

// take consumes the beginning of the buffer and advances line and column.
func (s *jsonScanner) take(read []byte) error {
	for _, c := range read {
		if s.column++; c == '\n' {
			s.line, s.column = s.line+1, 1
		}
	}
	if s.capturing {
		if len(s.captured)+len(read) > maxHeldBytes {
			return errTooMuchHeld
		}
		s.captured = append(s.captured, read...)
	}
	_, err := s.in.Discard(len(read))
	return err
}

// next reads one byte inside a document.
func (s *jsonScanner) next() (byte, error) {
	text, err := s.buffered()
	if err != nil {
		return 0, withinDocument(err)
	}
	c := text[0]
	return c, s.take(text[:1])
}

// withinDocument turns io.EOF into an error, for reads inside a document.
func withinDocument(err error) error {
	if err == io.EOF {
		return errTruncated
	}
	return err
}

// peek returns the next byte that isn't space. The error is io.EOF at the end of the input.
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

// expect is peek inside a document.
func (s *jsonScanner) expect() (byte, error) {
	c, err := s.peek()
	return c, withinDocument(err)
}

// skip reads a value that has at most levels nested objects and arrays.
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

// members reads an object or array. It calls use for each value, and use must read that value.
func (s *jsonScanner) members(levels int, use func(at place) error) error {
	if levels == 0 {
		return errTooDeep
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

// key reads the key of an object's member and the colon after it.
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

// text reads a string. If keep, it stores the string in word.
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
			n++ // include the quote, backslash or invalid character
		}
		if keep {
			s.word = append(s.word, text[:n]...)
		}
		err = s.take(text[:n])
		switch {
		case err != nil:
		case len(s.word) > maxWordBytes:
			err = errWordTooLong
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

// escape reads what follows a backslash.
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

// unescaped returns the string that text has stored.
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
		if s.word = append(s.word, text[0]); len(s.word) > maxWordBytes {
			return errWordTooLong
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

// isLiteral reports whether a byte occurs in numbers, true, false and null.
func isLiteral(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' ||
		c == '-' || c == '+' || c == '.'
}

// decodeValue reads a value into memory.
func (s *jsonScanner) decodeValue() (value any, err error) {
	s.capturing, s.captured = true, s.captured[:0]
	err = s.skip(maxDepth)
	s.capturing = false
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(s.captured, &value); err != nil {
		return nil, notJSON("%v", err) // for example a number too large for a float64
	}
	return value, nil
}

// isJSONError reports whether the document is wrong, as opposed to reading it having failed.
func isJSONError(err error) bool {
	var j jsonError
	return errors.As(err, &j)
}
