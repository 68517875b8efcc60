package policy

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"strings"
)

// listSource is where a list comes from. It remembers why reading failed: a download that breaks
// off must not be taken for JSON that ends early, or for damaged gzip data.
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

// gzipMagic begins what gzip has packed.
var gzipMagic = []byte("\x1f\x8b")

// open unpacks a list that is packed with gzip.
func (l *listing) open(from io.Reader) (*bufio.Reader, error) {
	in := bufio.NewReaderSize(from, readBuffer)
	if head, err := in.Peek(len(gzipMagic)); err != nil || !bytes.Equal(head, gzipMagic) {
		return in, nil // entries meets the error again
	}
	unpacked, err := gzip.NewReader(in)
	if err != nil {
		return nil, err
	}
	l.size = 0 // that is the packed size, which says little about the number of entries
	if l.unpack == 0 {
		l.unpack = maxList
	}
	return bufio.NewReaderSize(&bounded{unpacked, l.unpack}, readBuffer), nil
}

// unpackedBadly reports why gzip data could not be unpacked.
func (l *listing) unpackedBadly(err error) {
	if errors.Is(err, errTooLarge) {
		l.report.at(Location{File: l.name}, "unpacked, it is larger than %d MiB", l.unpack>>20)
		return
	}
	l.report.at(Location{File: l.name}, "its gzip data is damaged or cut off (%v)", err)
}

// foreignFormats are formats that are not read, by how they begin.
var foreignFormats = []struct{ magic, message string }{
	{"\xff\xfe", utf16Message},
	{"\xfe\xff", utf16Message},
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
	unpackIt     = ": unpack it first; of packed lists only gzip is read"
	utf16Message = "this is UTF-16: convert it to UTF-8 with iconv -f UTF-16 -t UTF-8"
	htmlMessage  = "this is an HTML page, not a list: name the file that the page links to, " +
		"or look at what the server wants first"
	xmlMessage = "this is XML: write its addresses into a text file, one a line"
)

// tarMagic is where and how a tar archive says that it is one.
const (
	tarMagic   = "ustar"
	tarMagicAt = 257
)

// refusal says why a list can't be read in the format that it has, and what to write; "" if it can
// be. head is how the list begins, after the byte order mark.
func (l *listing) refusal(head []byte) string {
	for _, f := range foreignFormats {
		if bytes.HasPrefix(head, []byte(f.magic)) {
			return f.message
		}
	}
	if len(head) > tarMagicAt && bytes.HasPrefix(head[tarMagicAt:], []byte(tarMagic)) {
		return "this is a tar archive" + unpackIt
	}
	if zero := bytes.IndexByte(head, 0); zero >= 0 {
		if isUTF16(head) {
			return utf16Message
		}
		return "this is not text: a list has one address or CIDR a line"
	}
	text := bytes.TrimLeft(head, " \t\r\n")
	if bytes.HasPrefix(text, []byte("<")) {
		beginning := strings.ToLower(string(text[:min(len(text), 512)]))
		if strings.HasPrefix(beginning, "<!doctype html") || strings.Contains(beginning, "<html") ||
			strings.HasPrefix(beginning, "<head") || strings.HasPrefix(beginning, "<body") {
			return htmlMessage
		}
		return xmlMessage
	}
	switch {
	case l.selects == nil && looksLikeJSON(text):
		return l.selectMissing(text)
	case l.selects != nil && len(text) > 0 && text[0] != '{' && text[0] != '[':
		return "this is not JSON, and select is for JSON alone: leave select out"
	}
	return ""
}

// isUTF16 reports whether text has a zero in every other byte, as ASCII has in UTF-16.
func isUTF16(head []byte) bool {
	n := min(len(head), 64) &^ 1
	if n == 0 {
		return false
	}
	var zeros [2]int
	for i, c := range head[:n] {
		if c == 0 {
			zeros[i%2]++
		}
	}
	return zeros[0] == 0 && zeros[1] == n/2 || zeros[1] == 0 && zeros[0] == n/2
}

// looksLikeJSON reports whether text begins as a JSON object, or as an array of objects, arrays or
// strings. An IPv6 address in brackets does not.
func looksLikeJSON(text []byte) bool {
	if len(text) == 0 {
		return false
	}
	switch text[0] {
	case '{':
		return true
	case '[':
		rest := bytes.TrimLeft(text[1:], " \t\r\n")
		return len(rest) == 0 || strings.IndexByte(`"{[]`, rest[0]) >= 0
	}
	return false
}
