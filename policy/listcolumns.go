package policy

import (
	"bytes"
	"cmp"
	"fmt"
	"iter"
	"net"
	"net/netip"
	"slices"
	"unicode"

	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/pattern"
)

// Of a line with columns, as in CSV, the first is the entry. misread refuses lines in which other
// columns may be entries too, or may change what the first one means: nothing that was written is
// dropped in silence, unless the heading says what the first column is.

// splitLine returns the first column of a line, the rest, and whether the line has several columns
// and a comment. A line with one column is its own first column. A semicolon begins a comment if it
// follows a space, and ends a column otherwise.
func splitLine(line []byte) (first, rest []byte, columns, comment bool) {
	line, comment = cutComment(line)
	line = bytes.TrimSpace(line)
	end := columnEnd(line)
	if end == len(line) {
		return column(line), nil, false, comment
	}
	return column(line[:end]), line[end+1:], true, comment
}

// cutComment removes the comment of a line. Quoted columns may contain what else begins one.
func cutComment(line []byte) (rest []byte, found bool) {
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '#' || c == ';' && (i == 0 || isSpace(line[i-1])):
			return line[:i], true
		case c == '"' && beginsColumn(line[:i]):
			i += 1 + closingQuote(line[i+1:])
		}
	}
	return line, false
}

// beginsColumn reports whether the next column begins behind a part of a line.
func beginsColumn(before []byte) bool {
	before = bytes.TrimRight(before, " ")
	return len(before) == 0 || bytes.IndexByte([]byte(separators), before[len(before)-1]) >= 0
}

// columnEnd returns the length of the first column in a part of a line.
func columnEnd(line []byte) int {
	from := 0
	if text := bytes.TrimLeft(line, " "); len(text) > 0 && text[0] == '"' {
		begin := len(line) - len(text) + 1
		from = begin + max(closingQuote(line[begin:]), 0)
	}
	if i := bytes.IndexAny(line[from:], separators); i >= 0 {
		return from + i
	}
	return len(line)
}

// separators end a column.
const separators = ",\t;"

// closingQuote returns where a quoted column ends, given what follows its first quote; -1 if it
// doesn't. Two quotes are one in the text.
func closingQuote(text []byte) int {
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] != '"':
		case i+1 < len(text) && text[i+1] == '"':
			i++
		default:
			return i
		}
	}
	return -1
}

// columnsOf yields the columns of a part of a line. Quoted columns may contain separators.
func columnsOf(rest []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for len(rest) > 0 {
			end := columnEnd(rest)
			if !yield(column(rest[:end])) || end == len(rest) {
				return
			}
			rest = rest[end+1:]
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

// isAddressText reports whether a text is an address, a CIDR or a range, or begins with one: in
// quotes or brackets, with leading zeros, or with a remark behind it.
func isAddressText(text []byte) bool {
	if bytes.Count(text, []byte(".")) < 3 && bytes.Count(text, []byte(":")) < 2 {
		return false // most columns, at once
	}
	text = plainAddress(text)
	if isAddressOrCIDR(text) || dottedPattern.MatchString(string(text)) {
		return true
	}
	first, last, isRange := bytes.Cut(text, []byte("-"))
	return isRange && isAddressOrCIDR(bytes.TrimSpace(first)) &&
		isAddressOrCIDR(bytes.TrimSpace(last))
}

// dottedPattern matches IPv4 addresses with leading zeros or wildcards.
var dottedPattern = pattern.New(`^\d{1,3}(\.(\d{1,3}|[*xX])){3}$`)

// plainAddress returns the address, CIDR or range at the beginning of a text without the signs
// around it. It returns other texts as they are.
func plainAddress(text []byte) []byte {
	plain := bytes.TrimFunc(text, func(r rune) bool {
		return r != ':' && r != '*' && !unicode.IsLetter(r) && !unicode.IsDigit(r)
	})
	i := bytes.IndexByte(plain, ' ')
	if i < 0 || bytes.HasPrefix(bytes.TrimLeft(plain[i:], " "), []byte("-")) {
		return plain // without a remark, or a range
	}
	if word := bytes.TrimRight(plain[:i], ",;)]>'\""); isAddressOrCIDR(word) {
		return word
	}
	return plain
}

// misread refuses a line in which another column changes the meaning of the first: two addresses
// are a range or two entries, and a length, a mask or a number of addresses makes a CIDR or a range
// of an address.
func (h heading) misread(first, rest []byte) error {
	begin, _, _ := bytes.Cut(first, []byte("-"))
	bare := isAddressOrCIDR(first) && bytes.IndexByte(first, '/') < 0
	number := 1
	for text := range columnsOf(rest) {
		number++
		if err := misreadLength(first, text, bare && number == 2); err != nil {
			return err
		}
		enlarges := bare && slices.Contains(h.extents, number)
		unit := bare && number == 2 && !slices.Contains(h.apart, number) && hasUnit(text)
		entry := isAddressText(text)
		if !entry && !(enlarges && mayEnlarge(first, text)) && !unit {
			continue
		}
		if !isAddressOrCIDR(bytes.TrimSpace(begin)) {
			return fmt.Errorf(
				"%q is not an address or CIDR, and %q in column %d is: make that the first column",
				first, text, number)
		}
		hint := extentHint(string(first), string(plainAddress(text)))
		if bare && number == h.last && !bytes.Equal(first, text) {
			hint = cmp.Or(hint, rangeOfColumns(first, text))
		}
		masks := bare && isMask(string(plainAddress(text)))
		named := h.entries && !(enlarges && bytes.IndexByte(text, '/') < 0)
		if hint == "" && !masks && !unit && (named || entry && repeats(first, plainAddress(text))) {
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
	if !slash && !next {
		return nil
	}
	length = plainNumber(length)
	if !isDigits(length) || !slash && isWholeLength(first, length) {
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
	end := string(last)
	if a, ok := numberAddress(end); ok && a.As4()[0] > 0 {
		end = a.String()
	}
	from, to, err := parseRange("", string(first), end)
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
