package policy

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"

	"github.com/portgrave/portgrave/firewall/address"
)

// A list is the content of a network file or URL: one address, CIDR or range a line, or the strings
// that a JSON path selects. Either may be packed with gzip.
//
// Lists may have a million lines. They are read as a stream, and addFast turns most lines from
// bytes into a range of addresses without making a string or a netip.Addr. Other lines take the
// slow path, which understands comments, columns and ranges, and reports mistakes.

// readBufferSize is the size of the read buffer in bytes. It also bounds a line: an address with a
// comment is shorter.
const readBufferSize = 64 << 10

// progressInterval is the number of entries between two calls of onEntries.
const progressInterval = 1 << 14

// listReader says how to read a list.
type listReader struct {
	name      string      // of the list in messages
	size      int64       // of the list in bytes; 0 if unknown
	limit     int         // most entries
	unpack    int64       // most bytes once unpacked; 0 is maxListBytes
	selects   *selectPath // what to take from JSON; nil if the list is lines
	hideText  bool        // messages must not quote the list
	onEntries func(int)   // receives the number of entries read since its last call; nil ignores it
}

// listContent is the content of a list.
type listContent struct {
	prefixes address.Set
	entries  int  // as written, before they are merged
	blank    bool // has neither entries nor comments
}

// errHiddenText replaces the problem of a line whose text must not be quoted: a symbolic link may
// lead to any file.
var errHiddenText = errors.New(
	"this is not an address or CIDR (the text is not shown, since a link leads to it)",
)

// listing is a list while it is read.
type listing struct {
	listReader
	content  listContent
	prefixes address.Builder
	report   reporter
	heading  heading
	extents  extentTally

	foreign    map[string]bool // keys of the messages about lines of other programs
	lastFormat *lineFormat     // of the last such line; nil if there was none
	// lastMessage and lastKey are those of that line.
	lastMessage, lastKey string
	foreignText          int // bytes of lines that were compared with all formats
	refused              int // entries
}

// read reads a list. The error is either Problems, with every mistake, or the reader's.
func (o listReader) read(from io.Reader) (listContent, error) {
	l := listing{listReader: o, content: listContent{blank: true}}
	source := &listSource{from: from}
	in, err := l.open(source)
	if err == nil {
		err = l.entries(in)
	}
	switch {
	case source.err != nil:
		return l.content, source.err
	case err != nil:
		l.reportUnpackError(err)
	}
	if err := l.report.problems(); err != nil {
		return l.content, err
	}
	l.content.prefixes = l.prefixes.Set()
	return l.content, nil
}

// entries reads an unpacked list in whatever format it has.
func (l *listing) entries(in *bufio.Reader) error {
	head, err := in.Peek(readBufferSize)
	if err != nil && err != io.EOF {
		return err
	}
	if bytes.HasPrefix(head, byteOrderMark) {
		head = head[len(byteOrderMark):]
		_, _ = in.Discard(len(byteOrderMark)) // can't fail: Peek has buffered it
	}
	if problem := l.unreadableFormat(head); problem != "" {
		l.report.at(Location{l.name, 1, 1}, "%s", problem)
		return nil
	}
	if l.selects != nil {
		return l.readJSON(in, head)
	}
	return l.readLines(in)
}

// count counts an entry. It reports whether the list may have that many.
func (l *listing) count(at func() Location) bool {
	l.content.blank = false
	if l.content.entries++; l.content.entries%progressInterval == 0 && l.onEntries != nil {
		l.onEntries(progressInterval)
	}
	if l.content.entries > l.limit {
		l.report.at(at(), "more than %d entries; raise max if that is right", l.limit)
		return false
	}
	return true
}

// readLines reads a list of lines.
func (l *listing) readLines(in *bufio.Reader) error {
	read := int64(0)
	for number := 1; ; number++ {
		raw, err := in.ReadSlice('\n')
		switch {
		case err == bufio.ErrBufferFull:
			l.report.at(Location{l.name, number, 1},
				"the line is longer than %d KiB; a list has one entry a line", readBufferSize>>10)
			return nil
		case err != nil && err != io.EOF:
			return err
		}
		if read += int64(len(raw)); l.content.entries == estimateThreshold {
			l.prefixes.Expect(estimateRanges(l.size, read, l.limit, &l.prefixes))
		}
		if !l.line(raw, number) || err == io.EOF {
			break
		}
	}
	l.extents.report(l)
	// an except list must not become empty by accident
	if l.heading.line > 0 && l.content.entries == 0 {
		l.report.at(Location{l.name, l.heading.line, 1},
			"this names columns and no entry follows; if it shall be an empty list, write # "+
				"before it")
	}
	return nil
}

// line reads one line. It reports whether to go on.
func (l *listing) line(raw []byte, number int) bool {
	at := func() Location { return Location{l.name, number, 1} }
	entry := trimEnd(raw)
	if addFast(&l.prefixes, entry) {
		return l.count(at)
	}
	if l.refused >= maxRefused {
		return l.passOver(entry, at)
	}
	first, rest, columns, comment := splitLine(entry)
	l.content.blank = l.content.blank && !comment
	if len(first) == 0 && !columns {
		return true
	}
	if l.content.entries == 0 && l.heading.line == 0 && (columns || isEntryName(first)) {
		if h, ok := readHeading(first, rest, number); ok {
			h.entries = h.entries && columns // one column says nothing about others
			l.heading = h
			return true
		}
	}
	if !l.count(at) {
		return false
	}
	err := l.heading.misread(first, rest)
	if err == nil {
		err = addEntry(&l.prefixes, first)
	}
	if err == nil && columns {
		l.extents.add(l.heading, first, rest, number)
	}
	if err != nil {
		l.reportLine(err, entry, Location{l.name, number, bytes.Index(raw, first) + 1})
		l.countRefused(at())
	}
	return true
}

// maxRefused bounds the entries for which it is found out what is wrong: each takes some
// microseconds, and a file that isn't a list may have millions.
const maxRefused = 10_000

// countRefused counts an entry that is refused. It says when no more are looked at, unless so many
// mistakes are reported already that the others are only counted.
func (l *listing) countRefused(at Location) {
	if l.refused++; l.refused == maxRefused && l.report.count() < maxProblems {
		l.report.at(at, "%d entries are refused up to this one, and the others aren't looked at",
			maxRefused)
	}
}

// passOver counts a line of a list that has too many mistakes. It reports whether to go on.
func (l *listing) passOver(entry []byte, at func() Location) bool {
	entry = bytes.TrimLeft(entry, " \t")
	if len(entry) == 0 || entry[0] == '#' || entry[0] == ';' {
		return true
	}
	l.report.dropped++
	return l.count(at)
}

// reportLine reports a line that isn't an entry: if it is another program's, what to write, once.
func (l *listing) reportLine(err error, line []byte, at Location) {
	if l.hideText {
		l.report.at(at, "%v", errHiddenText)
		return
	}
	message, key := l.foreignMessage(line)
	trimmed := bytes.TrimSpace(line)
	switch {
	case l.foreign[yamlMessage] && bytes.HasPrefix(trimmed, []byte("- ")):
		message, key = yamlMessage, yamlMessage
	case l.foreign[literalMessage] && len(trimmed) > 0 && (trimmed[0] == '\'' || trimmed[0] == '"'):
		message, key = literalMessage, literalMessage
	}
	switch {
	case message == "" && !strings.Contains(err.Error(), "; ") && len(bytes.Fields(line)) > 1:
		l.report.at(at, "%v; a line has one address, CIDR or range, and comments behind #", err)
	case message == "":
		l.report.at(at, "%v", err)
	case !l.foreign[key]:
		if l.foreign == nil {
			l.foreign = map[string]bool{}
		}
		if len(l.foreign) < maxProblems { // a name in each line may make each message another
			l.foreign[key] = true
		}
		l.report.at(at, "%s", message)
	}
}

// trimEnd removes the line ending.
func trimEnd(line []byte) []byte {
	if n := len(line); n > 0 && line[n-1] == '\n' {
		line = line[:n-1]
	}
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	return line
}

// estimateThreshold is the number of entries after which the size of the whole list is estimated.
const estimateThreshold = 1000

// estimateRanges estimates how many ranges of each family a list of size bytes will have, given
// that read bytes of it filled b. It adds a tenth, because a sorted list may begin with its longest
// lines. Reserved space that is never used costs no memory.
func estimateRanges(size, read int64, limit int, b *address.Builder) (n4, n6 int) {
	n4, n6 = b.Len()
	all := func(n int) int { return min(limit, int(float64(n)*1.1*float64(size)/float64(read))) }
	return all(n4), all(n6)
}

// addFast adds a well-formed address or CIDR. It reports false for everything else.
func addFast(b *address.Builder, entry []byte) bool {
	text, length, isPrefix := bytes.Cut(entry, []byte("/"))
	if bytes.IndexByte(text, ':') < 0 {
		first, ok := parseIPv4(text)
		bits, good := parseLength(length, isPrefix, 32)
		r := address.PrefixRange(first, bits)
		if !ok || !good || r.First != first {
			return false
		}
		b.AddV4(r)
		return true
	}
	first, ok := parseIPv6(text)
	bits, good := parseLength(length, isPrefix, 128)
	r := address.PrefixRange(first, bits)
	mapped := first.Hi == 0 && first.Lo>>32 == 0xffff
	if !ok || !good || mapped || r.First != first {
		return false
	}
	b.AddV6(r)
	return true
}

// parseLength reads a prefix length of at most longest bits. If given is false it is longest.
func parseLength(s []byte, given bool, longest int) (bits int, ok bool) {
	if !given {
		return longest, true
	}
	if len(s) == 0 || len(s) > 3 || s[0] == '0' && len(s) > 1 {
		return 0, false
	}
	for _, c := range s {
		if c < '0' || c > '9' {
			return 0, false
		}
		bits = 10*bits + int(c-'0')
	}
	return min(bits, longest), bits <= longest
}

// parseIPv4 reads an IPv4 address as netip.ParseAddr does: four numbers without leading zeros.
func parseIPv4(s []byte) (a address.V4, ok bool) {
	parts := 0
	for i := 0; ; i++ {
		var n, digits uint32
		for ; i < len(s) && s[i] >= '0' && s[i] <= '9' && digits < 3; i++ {
			if digits++; n == 0 && digits > 1 {
				return 0, false
			}
			n = 10*n + uint32(s[i]-'0')
		}
		if digits == 0 || n > 255 {
			return 0, false
		}
		a = a<<8 | address.V4(n)
		parts++
		if i == len(s) {
			return a, parts == 4
		}
		if s[i] != '.' || parts == 4 {
			return 0, false
		}
	}
}

// parseIPv6 reads an IPv6 address that has no zone and does not end in an IPv4 address.
func parseIPv6(s []byte) (a address.V6, ok bool) {
	var groups [8]uint16
	n, gap := 0, -1 // gap is the index of the group after ::
	i := 0
	if len(s) >= 2 && s[0] == ':' && s[1] == ':' {
		gap, i = 0, 2
	}
	for i < len(s) {
		var v uint32
		digits := 0
		for ; i < len(s) && digits < 5; i, digits = i+1, digits+1 {
			d, hex := hexDigit(s[i])
			if !hex {
				break
			}
			v = v<<4 | d
		}
		if digits == 0 || digits > 4 || n == 8 {
			return a, false
		}
		groups[n] = uint16(v)
		n++
		if i == len(s) {
			break
		}
		if s[i] != ':' {
			return a, false
		}
		if i++; i == len(s) {
			return a, false // a single colon at the end
		}
		if s[i] == ':' {
			if gap >= 0 {
				return a, false
			}
			gap = n
			i++
		}
	}
	switch {
	case gap < 0 && n < 8, gap >= 0 && n == 8:
		return a, false
	case gap >= 0: // move the groups after the gap to the end
		copy(groups[8-(n-gap):], groups[gap:n])
		clear(groups[gap : 8-(n-gap)])
	}
	for j, g := range groups {
		if j < 4 {
			a.Hi = a.Hi<<16 | uint64(g)
		} else {
			a.Lo = a.Lo<<16 | uint64(g)
		}
	}
	return a, true
}

func hexDigit(c byte) (v uint32, ok bool) {
	switch {
	case c >= '0' && c <= '9':
		return uint32(c - '0'), true
	case c >= 'a' && c <= 'f':
		return uint32(c-'a') + 10, true
	case c >= 'A' && c <= 'F':
		return uint32(c-'A') + 10, true
	}
	return 0, false
}
