package policy

import (
	"bufio"
	"bytes"
	"errors"
	"io"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

// A list is what a network file holds, and what a URL serves: one address, CIDR or range a line, or
// the strings that a JSON path selects. Either may be packed with gzip.
//
// Lists have a million lines. They are read as a stream, and a line that is right goes from its
// bytes to a range of addresses without becoming a string or an address of package netip. A line
// that addFast does not understand takes the slow way, which knows comments, columns and ranges,
// and what is wrong with the rest.

// readBuffer is how much is read at once. It bounds a line, too: no address with a comment is
// longer.
const readBuffer = 64 << 10

// countEvery is how many entries are read between two reports of progress.
const countEvery = 1 << 14

// listReader says how to read a list.
type listReader struct {
	name    string      // stands for it in messages
	size    int64       // of the list in bytes; 0 if unknown
	limit   int         // how many entries it may have
	unpack  int64       // how many bytes it may have once unpacked; 0 is maxList
	selects *selectPath // what to take from JSON; nil if the list is lines
	secret  bool        // its text must not be repeated in messages
	counted func(int)   // receives now and then how many more entries were read; nil ignores it
}

// listContent is what a list has in it.
type listContent struct {
	prefixes firewall.Prefixes
	entries  int  // as written, before they are merged
	blank    bool // not even a comment is in it
}

// errSecret stands for what is wrong with a line of a list that is not to be repeated: over a link,
// a name may lead to any file.
var errSecret = errors.New(
	"this is not an address or CIDR (the text is not shown, since a link leads to it)",
)

// listing is a list while it is read.
type listing struct {
	listReader
	content  listContent
	prefixes firewall.PrefixesBuilder
	report   reporter
	heading  int // the line that names the columns; 0 without one
}

// read reads a list. The error is Problems if the list is wrong, every line of it, or the reader's.
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
		l.unpackedBadly(err)
	}
	if err := l.report.problems(); err != nil {
		return l.content, err
	}
	l.content.prefixes = l.prefixes.Set()
	return l.content, nil
}

// entries reads what is unpacked, in the format that it has.
func (l *listing) entries(in *bufio.Reader) error {
	head, err := in.Peek(readBuffer)
	if err != nil && err != io.EOF {
		return err
	}
	if bytes.HasPrefix(head, byteOrderMark) {
		head = head[len(byteOrderMark):]
		_, _ = in.Discard(len(byteOrderMark)) // it is in the buffer
	}
	if problem := l.refusal(head); problem != "" {
		l.report.at(Location{l.name, 1, 1}, "%s", problem)
		return nil
	}
	if l.selects != nil {
		return l.readJSON(in, head)
	}
	return l.readLines(in)
}

// count counts an entry, and reports whether the list may have it.
func (l *listing) count(at func() Location) bool {
	l.content.blank = false
	if l.content.entries++; l.content.entries%countEvery == 0 && l.counted != nil {
		l.counted(countEvery)
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
				"the line is longer than %d KiB; a list has one entry a line", readBuffer>>10)
			return nil
		case err != nil && err != io.EOF:
			return err
		}
		if read += int64(len(raw)); l.content.entries == foretoldFrom {
			l.prefixes.Expect(foretell(l.size, read, l.limit, &l.prefixes))
		}
		if !l.line(raw, number) || err == io.EOF {
			break
		}
	}
	if l.heading > 0 && l.content.entries == 0 { // an except list that vanishes would open ports
		l.report.at(Location{l.name, l.heading, 1},
			"this names columns and no entry follows; if it shall be an empty list, write # before it")
	}
	return nil
}

// line reads one line. It reports whether more may follow.
func (l *listing) line(raw []byte, number int) bool {
	at := func() Location { return Location{l.name, number, 1} }
	entry := trimEnd(raw)
	if addFast(&l.prefixes, entry) {
		return l.count(at)
	}
	first, rest, columns, comment := splitLine(entry)
	l.content.blank = l.content.blank && !comment
	if len(first) == 0 && !columns {
		return true
	}
	if columns && l.content.entries == 0 && l.heading == 0 && isHeading(first) {
		if _, column := addressColumn(rest); column == 0 {
			l.heading = number
			return true
		}
	}
	if !l.count(at) {
		return false
	}
	err := misreadColumn(first, rest)
	if err == nil {
		err = addEntry(&l.prefixes, first)
	}
	if err != nil {
		if l.secret {
			err = errSecret
		}
		l.report.at(Location{l.name, number, bytes.Index(raw, first) + 1}, "%v", err)
	}
	return true
}

// trimEnd is a line without its end.
func trimEnd(line []byte) []byte {
	if n := len(line); n > 0 && line[n-1] == '\n' {
		line = line[:n-1]
	}
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	return line
}

// foretoldFrom is the number of entries from which the length of the whole list is estimated.
const foretoldFrom = 1000

// foretell estimates how many ranges of each family a list of so many bytes will have, by what was read
// of it: a tenth more, since a list that is sorted begins with short lines or with long ones. Room
// that is never used costs no memory.
func foretell(size, read int64, limit int, b *firewall.PrefixesBuilder) (n4, n6 int) {
	n4, n6 = b.Len()
	all := func(n int) int { return min(limit, int(float64(n)*1.1*float64(size)/float64(read))) }
	return all(n4), all(n6)
}

// addFast adds an entry, if it understands it and nothing is wrong with it.
func addFast(b *firewall.PrefixesBuilder, entry []byte) bool {
	text, length, isPrefix := bytes.Cut(entry, []byte("/"))
	if bytes.IndexByte(text, ':') < 0 {
		first, ok := fast4(text)
		bits, good := fastLength(length, isPrefix, 32)
		r := address.PrefixRange(first, bits)
		if !ok || !good || r.First != first {
			return false
		}
		b.AddV4(r)
		return true
	}
	first, ok := fast6(text)
	bits, good := fastLength(length, isPrefix, 128)
	r := address.PrefixRange(first, bits)
	mapped := first.Hi == 0 && first.Lo>>32 == 0xffff
	if !ok || !good || mapped || r.First != first {
		return false
	}
	b.AddV6(r)
	return true
}

// fastLength reads a prefix length of at most longest; without one it is longest.
func fastLength(s []byte, given bool, longest int) (bits int, ok bool) {
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

// fast4 reads an IPv4 address in the one form that netip.ParseAddr takes: four numbers without
// leading zeros.
func fast4(s []byte) (a address.V4, ok bool) {
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

// fast6 reads an IPv6 address without a zone and without an IPv4 address at its end.
func fast6(s []byte) (a address.V6, ok bool) {
	var groups [8]uint16
	n, gap := 0, -1 // the gap is where :: stands
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
	case gap >= 0: // what follows the gap moves to the end
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
