package policy

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"strings"
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

// tarMagic is the marker of a tar archive, and tarMagicAt its offset in bytes (POSIX ustar header).
const (
	tarMagic   = "ustar"
	tarMagicAt = 257
)

// unreadableFormat says why the format of a list can't be read, and what to write; "" if it can be
// read. head is the beginning of the list, after the byte order mark.
func (l *listing) unreadableFormat(head []byte) string {
	for _, f := range unreadableFormats {
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
		return l.missingSelectHint(text)
	case l.selects != nil && len(text) > 0 && text[0] != '{' && text[0] != '[':
		return "this is not JSON, and select is for JSON alone: leave select out"
	}
	return ""
}

// isUTF16 reports whether every other byte is zero, as in ASCII text encoded as UTF-16.
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

// looksLikeJSON reports whether text begins like a JSON object, or an array of objects, arrays or
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
