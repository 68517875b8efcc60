package policy

import (
	"bytes"
	"cmp"
	"fmt"
	"iter"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall/address"
)

// Of a line with columns, as in CSV, the first is the entry. misread refuses lines in which other
// columns may be entries too, or may change what the first one means: nothing that was written is
// dropped in silence, unless the heading says what the first column is.

// splitLine returns the first column of a line, the rest, and whether the line has several columns
// and a comment. A line with one column is its own first column. A semicolon begins a comment if it
// follows a space, and ends a column otherwise.
func splitLine(line []byte) (first, rest []byte, columns, comment bool) {
	for i, c := range line {
		if c == '#' || c == ';' && (i == 0 || isSpace(line[i-1])) {
			line, comment = line[:i], true
			break
		}
	}
	line = bytes.TrimSpace(line)
	i := bytes.IndexAny(line, separators)
	if i < 0 {
		return column(line), nil, false, comment
	}
	return column(line[:i]), line[i+1:], true, comment
}

// separators end a column.
const separators = ",\t;"

// columnsOf yields the columns of a part of a line. Quoted columns may contain separators.
func columnsOf(rest []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for len(rest) > 0 {
			from := 0
			if text := bytes.TrimLeft(rest, " "); len(text) > 0 && text[0] == '"' {
				begin := len(rest) - len(text) + 1
				from = begin + max(bytes.IndexByte(rest[begin:], '"'), 0)
			}
			end := bytes.IndexAny(rest[from:], separators)
			if end < 0 {
				yield(column(rest))
				return
			}
			if !yield(column(rest[:from+end])) {
				return
			}
			rest = rest[from+end+1:]
		}
	}
}

// column returns a column without surrounding spaces and quotes.
func column(s []byte) []byte {
	s = bytes.TrimSpace(s)
	if n := len(s); n >= 2 && s[0] == '"' && s[n-1] == '"' {
		return bytes.TrimSpace(s[1 : n-1])
	}
	return s
}

// heading is a line with the names of columns. Its zero value is that of a list without one.
type heading struct {
	line    int  // its number
	entries bool // the first column is named as what a list has, such as network
	// extents are the columns that would enlarge an address in the first: ends of ranges, masks.
	extents []int
	last    int // the column with the last address of the range that the first begins; 0 if none
}

// Names of columns, as plainName returns them.
var (
	entryNames = strings.Fields("ip ips cidr cidrs network networks net nets prefix prefixes " +
		"address addresses addr addrs subnet subnets range ranges ipv4 ipv6")
	endNames    = strings.Fields("end last to stop high broadcast")
	lengthNames = strings.Fields("mask netmask subnetmask wildcard wildcardmask hostmask length " +
		"len prefixlength prefixlen masklength masklen bits prefix cidr")
	rangeNames = map[string]string{
		"start": "end", "begin": "end", "first": "last", "from": "to", "low": "high",
	}
)

// readHeading reads a line with the names of columns. ok is false if it isn't one: its first column
// is no name, or another has an address.
func readHeading(first, rest []byte, line int) (h heading, ok bool) {
	name := plainName(first)
	h = heading{line: line, entries: slices.Contains(entryNames, name)}
	if _, number := addressColumn(rest); number > 0 || !h.entries && !isColumnName(first) {
		return heading{}, false
	}
	number := 1
	for text := range columnsOf(rest) {
		number++
		switch other := plainName(text); {
		case h.last == 0 && other != "" && other == rangeNames[name]:
			h.last = number
		case slices.Contains(endNames, other), slices.Contains(lengthNames, other):
			h.extents = append(h.extents, number)
		}
	}
	return h, true
}

// isEntryName reports whether the only column of a line is named as what a list has.
func isEntryName(first []byte) bool {
	letters := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune(" _-46", r)
	}
	return bytes.ContainsFunc(first, letters) &&
		!bytes.ContainsFunc(first, func(r rune) bool { return !letters(r) }) &&
		slices.Contains(entryNames, plainName(first))
}

// plainName returns the name of a column in lower case, without what is not a letter or digit, and
// without words that only say that it has addresses: start for "Start IP".
func plainName(column []byte) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, strings.ToLower(string(column)))
	for _, word := range []string{"ipv4", "ipv6", "ip", "network", "range", "address"} {
		if slices.Contains(entryNames, name) {
			break
		}
		name = strings.Replace(name, word, "", 1)
	}
	return name
}

// isColumnName reports whether a first column is a column name, such as "network".
func isColumnName(first []byte) bool {
	letters := false
	for _, c := range first {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if letters = letters || letter; !letter && c != '_' && c != ' ' && c != '-' {
			return false
		}
	}
	return letters
}

// addressColumn returns the first column in rest that is an entry of a list, and its number in the
// line. The number is 0 if there is none.
func addressColumn(rest []byte) (text []byte, number int) {
	number = 1
	for text := range columnsOf(rest) {
		if number++; isAddressText(text) {
			return text, number
		}
	}
	return nil, 0
}

// isAddressText reports whether a text is an address, a CIDR or a range.
func isAddressText(text []byte) bool {
	if isAddressOrCIDR(text) {
		return true
	}
	first, last, isRange := bytes.Cut(text, []byte("-"))
	return isRange && isAddressOrCIDR(bytes.TrimSpace(first)) &&
		isAddressOrCIDR(bytes.TrimSpace(last))
}

// misread refuses a line in which another column changes the meaning of the first: two addresses
// are a range or two entries, and a length or a mask turns an address into a CIDR.
func (h heading) misread(first, rest []byte) error {
	begin, _, _ := bytes.Cut(first, []byte("-"))
	bare := isAddressOrCIDR(first) && bytes.IndexByte(first, '/') < 0
	number := 1
	for text := range columnsOf(rest) {
		number++
		if err := misreadLength(first, text, bare && number == 2); err != nil {
			return err
		}
		entry, enlarges := isAddressText(text), bare && slices.Contains(h.extents, number)
		if !entry && !(enlarges && isLength(text) && !isWholeLength(first, text)) {
			continue
		}
		if !isAddressOrCIDR(bytes.TrimSpace(begin)) {
			return fmt.Errorf(
				"%q is not an address or CIDR, and %q in column %d is: make that the first column",
				first, text, number)
		}
		hint := maskHint(string(first), string(text))
		if bare && number == h.last && !bytes.Equal(first, text) {
			hint = cmp.Or(hint, rangeOfColumns(first, text))
		}
		masks := bare && isMask(string(text))
		named := h.entries && !(enlarges && bytes.IndexByte(text, '/') < 0)
		if hint == "" && !masks && (named || entry && repeats(first, text)) {
			continue
		}
		return twoInOneLine(first, text, hint)
	}
	return nil
}

// misreadLength refuses a prefix length or mask in a column of its own. next says that the first
// column is an address alone, and text the column behind it: there, a number may be a length.
func misreadLength(first, text []byte, next bool) error {
	length, slash := bytes.CutPrefix(text, []byte("/"))
	if !isDigits(length) || !slash && (!next || isWholeLength(first, length)) {
		return nil
	}
	if hint := maskHint(string(first), string(length)); hint != "" || slash {
		return twoInOneLine(first, text, hint)
	}
	return nil
}

// twoInOneLine refuses two columns. Without a hint it offers no range: two addresses are more often
// two entries, and the range between them may have millions of others.
func twoInOneLine(first, second []byte, hint string) error {
	return fmt.Errorf("%q and %q stand in one line%s", first, second, cmp.Or(hint, "; write one "+
		"entry a line, a range as FIRST-LAST, and delete other columns with addresses"))
}

// rangeOfColumns says how to write a range whose ends stand in two columns; "" if it isn't one.
func rangeOfColumns(first, last []byte) string {
	from, to, err := parseRange("", string(first), string(last))
	if err != nil {
		return ""
	}
	return fmt.Sprintf("; write the range as %s-%s", from, to)
}

// repeats reports whether a column only repeats what the first says: its mask, or entries in it.
func repeats(first, text []byte) bool {
	if p, err := netip.ParsePrefix(string(first)); err == nil && p.Addr().Is4() {
		mask, ok := netip.AddrFromSlice(net.CIDRMask(p.Bits(), 32))
		if ok && string(text) == mask.String() {
			return true
		}
	}
	var whole, part address.Builder
	if addEntry(&whole, first) != nil {
		return true // what is wrong with the first column is reported instead
	}
	return addEntry(&part, text) == nil && part.Set().Minus(whole.Set()).IsZero()
}

// isLength reports whether a text may be a prefix length.
func isLength(text []byte) bool { return isDigits(text) && len(text) <= 3 }

// isWholeLength reports whether a prefix length covers just the one address.
func isWholeLength(address, length []byte) bool {
	if bytes.IndexByte(address, ':') >= 0 {
		return string(length) == "128"
	}
	return string(length) == "32"
}
