package policy

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/portgrave/portgrave/firewall/pattern"
)

// listSource remembers why reading failed, so that a broken download is not taken for JSON that
// ends early or for damaged gzip data.
type listSource struct {
	from io.Reader
	err  error
}

func (s *listSource) Read(p []byte) (int, error) {
	n, err := s.from.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// gzipMagic begins gzip data.
var gzipMagic = []byte("\x1f\x8b")

// open returns the list, unpacked if it is gzip data.
func (l *listing) open(from io.Reader) (*bufio.Reader, error) {
	in := bufio.NewReaderSize(from, readBufferSize)
	if head, err := in.Peek(len(gzipMagic)); err != nil || !bytes.Equal(head, gzipMagic) {
		return in, nil // entries gets the same error and handles it
	}
	unpacked, err := gzip.NewReader(in)
	if err != nil {
		return nil, err
	}
	l.size = 0 // the packed size says little about the number of entries
	if l.unpack == 0 {
		l.unpack = maxListBytes
	}
	return bufio.NewReaderSize(&limitedReader{unpacked, l.unpack}, readBufferSize), nil
}

// reportUnpackError reports why gzip data could not be unpacked.
func (l *listing) reportUnpackError(err error) {
	if errors.Is(err, errTooLarge) {
		l.report.at(Location{File: l.name}, "unpacked, it is larger than %d MiB", l.unpack>>20)
		return
	}
	l.report.at(Location{File: l.name}, "its gzip data is damaged or cut off (%v)", err)
}

// unreadableFormats lists formats that are not supported, by their first bytes.
var unreadableFormats = []struct{ magic, message string }{
	{"%PDF", "this is a PDF document: write its addresses into a text file, one a line"},
	{"PK\x03\x04", "this is a zip archive" + unpackIt},
	{"\xfd7zXZ\x00", "this is packed with xz" + unpackIt},
	{"\x28\xb5\x2f\xfd", "this is packed with zstd" + unpackIt},
	{"BZh", "this is packed with bzip2" + unpackIt},
	{"7z\xbc\xaf\x27\x1c", "this is a 7z archive" + unpackIt},
	{"\x04\x22\x4d\x18", "this is packed with lz4" + unpackIt},
	{"LZIP", "this is packed with lzip" + unpackIt},
	{"\x1f\x9d", "this is packed with compress" + unpackIt},
	{"\x1f\x8b", "this is packed with gzip twice: unpack it once"},
	{"\x7fELF", "this is a program, not a list"},
	{"SQLite format 3\x00", "this is an SQLite database: export its addresses, one a line"},
}

const (
	unpackIt    = ": unpack it first; of packed lists only gzip is read"
	htmlMessage = "this is an HTML page, not a list: name the file that the page links to, " +
		"or look at what the server wants first"
	xmlMessage = "this is XML: write its addresses into a text file, one a line"
)

// xmlBeginning matches what XML and HTML begin with. A conflict of git merge begins with <<.
var xmlBeginning = pattern.New(`^<[A-Za-z!?]`)

// tarMagic is the marker of a tar archive, and tarMagicAt its offset in bytes (POSIX ustar header).
const (
	tarMagic   = "ustar"
	tarMagicAt = 257
)

// unreadableFormat says why the format of a list can't be read, and what to write; "" if it can be
// read. head is the beginning of the list, after the byte order mark.
func (l *listing) unreadableFormat(head []byte) string {
	if encoding := wideEncoding(head); encoding != "" {
		return fmt.Sprintf("this is %s: convert it to UTF-8 with iconv -f %[1]s -t UTF-8", encoding)
	}
	for _, f := range unreadableFormats {
		if bytes.HasPrefix(head, []byte(f.magic)) {
			return f.message
		}
	}
	if len(head) > tarMagicAt && bytes.HasPrefix(head[tarMagicAt:], []byte(tarMagic)) {
		return "this is a tar archive" + unpackIt
	}
	if bytes.IndexByte(head, 0) >= 0 {
		return "this is not text: a list has one address or CIDR a line"
	}
	text := bytes.TrimLeft(head, " \t\r\n")
	if xmlBeginning.MatchString(string(text[:min(len(text), 2)])) {
		beginning := strings.ToLower(string(text[:min(len(text), 512)]))
		if strings.HasPrefix(beginning, "<!doctype html") || strings.Contains(beginning, "<html") ||
			strings.HasPrefix(beginning, "<head") || strings.HasPrefix(beginning, "<body") {
			return htmlMessage
		}
		return xmlMessage
	}
	document, commented := pastComments(text)
	isPath := l.selects != nil && len(text) > 0 && text[0] != '{' && text[0] != '['
	switch {
	case commented && (looksLikeJSON(document) ||
		isPath && len(document) > 0 && (document[0] == '{' || document[0] == '[')):
		return "this is JSON behind comments, which JSON does not have: delete the lines before " +
			"it" + l.selectFor(document)
	case l.selects == nil && looksLikeJSON(text):
		return l.missingSelectHint(text)
	case isPath && isJSONString(text) && l.selects.isWhole():
	case isPath && isJSONString(text):
		return "these are strings, one a line: write select: $"
	case isPath:
		return "this is not JSON, and select is for JSON alone: leave select out"
	}
	return ""
}

// byteOrderMarks begin text in encodings other than UTF-8, longer ones first: iconv takes the byte
// order from the mark.
var byteOrderMarks = []struct{ mark, encoding string }{
	{"\xff\xfe\x00\x00", "UTF-32"},
	{"\x00\x00\xfe\xff", "UTF-32"},
	{"\xff\xfe", "UTF-16"},
	{"\xfe\xff", "UTF-16"},
}

// wideEncoding is the name that iconv has for the encoding of text with two or four bytes a
// character; "" if it is another, or no text.
func wideEncoding(head []byte) string {
	for _, m := range byteOrderMarks {
		if bytes.HasPrefix(head, []byte(m.mark)) {
			return m.encoding
		}
	}
	switch {
	case isWide(head, 4, 0):
		return "UTF-32LE"
	case isWide(head, 4, 3):
		return "UTF-32BE"
	case isWide(head, 2, 0):
		return "UTF-16LE"
	case isWide(head, 2, 1):
		return "UTF-16BE"
	}
	return ""
}

// isWide reports whether text begins with ASCII characters of width bytes: all are zero but the one
// at offset.
func isWide(head []byte, width, offset int) bool {
	n := min(len(head), 64) / width * width
	for i, c := range head[:n] {
		if (c != 0) != (i%width == offset) {
			return false
		}
	}
	return n > 0
}

// pastComments returns what follows the comments at the beginning of a list. found is false if it
// has none.
func pastComments(text []byte) (rest []byte, found bool) {
	for len(text) > 0 && (text[0] == '#' || text[0] == ';' || bytes.HasPrefix(text, []byte("//"))) {
		_, text, _ = bytes.Cut(text, []byte("\n"))
		text, found = bytes.TrimLeft(text, " \t\r\n"), true
	}
	return text, found
}

// isJSONString reports whether the first line of a text is a string in JSON, and not the quoted
// columns of CSV.
func isJSONString(text []byte) bool {
	line, _, _ := bytes.Cut(text, []byte("\n"))
	return text[0] == '"' && json.Valid(line)
}

// looksLikeJSON reports whether text begins like a JSON object, or an array of objects, arrays or
// strings. An IPv6 address in brackets does not.
func looksLikeJSON(text []byte) bool {
	if len(text) == 0 {
		return false
	}
	switch text[0] {
	case '{': // nftables and Bash have braces, too
		rest := bytes.TrimLeft(text[1:], " \t\r\n")
		return len(rest) == 0 || rest[0] == '"' || rest[0] == '}'
	case '[':
		rest := bytes.TrimLeft(text[1:], " \t\r\n")
		return len(rest) == 0 || strings.IndexByte(`"{[]`, rest[0]) >= 0
	}
	return false
}
