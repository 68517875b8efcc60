package policy

import (
	"bytes"
	"cmp"
	"fmt"
	"iter"
	"net/netip"
	"strings"

	"github.com/portgrave/portgrave/firewall/address"
)

// addEntry adds an address, a CIDR or a range. The error says what to write instead.
func addEntry(b *address.Builder, entry []byte) error {
	if addFast(b, entry) {
		return nil
	}
	first, last, isRange := bytes.Cut(entry, []byte("-"))
	first, last = bytes.TrimSpace(first), bytes.TrimSpace(last)
	if isRange && len(first) > 0 {
		return addRange(b, first, last)
	}
	p, err := parseEntry(string(entry))
	if err == nil {
		err = b.Add(p)
	}
	return err
}

// addRange adds the addresses from first to last.
func addRange(b *address.Builder, first, last []byte) error {
	from4, ok := parseIPv4(first)
	if to4, good := parseIPv4(last); ok && good && from4 <= to4 {
		b.AddV4(address.Range[address.V4]{First: from4, Last: to4})
		return nil
	}
	from, to, err := parseRange(string(first), string(last))
	if err != nil {
		return err
	}
	return b.AddRange(from, to)
}

// parseRange reads the two ends of a range. The error says what to write instead.
func parseRange(first, last string) (from, to netip.Addr, err error) {
	from, err1 := netip.ParseAddr(first)
	to, err2 := netip.ParseAddr(last)
	whole := first + "-" + last
	switch {
	case err1 == nil && from.Is4() && err2 != nil && strings.Trim(last, "0123456789") == "":
		stem := first[:strings.LastIndexByte(first, '.')+1]
		return from, to, fmt.Errorf("%q: write both addresses of a range in full: %s-%s%s",
			whole, first, stem, last)
	case err1 != nil || err2 != nil:
		return from, to, fmt.Errorf("%q is not an address, a CIDR or a range of addresses%s",
			whole, rangeHint(first, last))
	case from.Zone() != "" || to.Zone() != "":
		return from, to, fmt.Errorf("%q has a zone; write the range without it", whole)
	case from.Is4In6() || to.Is4In6():
		return from, to, fmt.Errorf("%q has an IPv4-mapped IPv6 address, which never appears on "+
			"the wire; write %s-%s", whole, from.Unmap(), to.Unmap())
	case from.Is4() != to.Is4():
		return from, to, fmt.Errorf("%q: both addresses of a range are of one family", whole)
	case to.Less(from):
		return from, to, fmt.Errorf("%q: the range is reversed; write %s-%s", whole, last, first)
	}
	return from, to, nil
}

// rangeHint says what is wrong with a range whose ends are not addresses.
func rangeHint(first, last string) string {
	if strings.Contains(first, "/") || strings.Contains(last, "/") {
		return "; a range goes from one address to another, without prefix lengths"
	}
	return nameHint(first + "-" + last)
}

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

// isHeading reports whether a first column is a column name, such as "network".
func isHeading(first []byte) bool {
	letters := false
	for _, c := range first {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if letters = letters || letter; !letter && c != '_' && c != ' ' && c != '-' {
			return false
		}
	}
	return letters
}

// addressColumn returns the first column in rest that is an address or CIDR, and its number in the
// line. The number is 0 if there is none.
func addressColumn(rest []byte) (text []byte, number int) {
	number = 1
	for text := range columnsOf(rest) {
		if number++; isAddressOrCIDR(text) {
			return text, number
		}
	}
	return nil, 0
}

// isAddressOrCIDR is isPrefix without the check of host bits. It allocates nothing for other text.
func isAddressOrCIDR(text []byte) bool {
	address, _, _ := bytes.Cut(text, []byte("/"))
	if bytes.Count(address, []byte(".")) != 3 && bytes.Count(address, []byte(":")) < 2 {
		return false
	}
	_, err := netip.ParseAddr(string(address))
	return err == nil
}

// misreadColumn refuses a line in which another column changes the meaning of the first: two
// addresses are a range or two entries, and a length or a mask turns an address into a CIDR.
func misreadColumn(first, rest []byte) error {
	number := 1
	for text := range columnsOf(rest) {
		number++
		length, slash := bytes.CutPrefix(text, []byte("/"))
		bare := number == 2 && bytes.IndexByte(first, '/') < 0 && !isWholeLength(first, length)
		if !isDigits(length) || !slash && !bare {
			continue
		}
		if hint := maskHint(string(first), string(length)); hint != "" || slash {
			return fmt.Errorf("%q and %q stand in one line%s", first, text,
				cmp.Or(hint, "; write one entry a line"))
		}
	}
	second, number := addressColumn(rest)
	if number == 0 {
		return nil
	}
	if hint := maskHint(string(first), string(second)); hint != "" {
		return fmt.Errorf("%q and %q stand in one line%s", first, second, hint)
	}
	switch single := isAddressOrCIDR(first); {
	case !single && bytes.IndexByte(first, '-') < 0:
		return fmt.Errorf(
			"%q is not an address or CIDR, and %q in column %d is: make that the first column",
			first, second, number)
	case single && bytes.IndexByte(first, '/') < 0 && bytes.IndexByte(second, '/') < 0:
		return fmt.Errorf("%q and %q stand in one line; write a range as %s-%s, and two entries "+
			"in two lines", first, second, first, second)
	}
	return fmt.Errorf("%q and %q stand in one line; write one entry a line", first, second)
}

// isWholeLength reports whether a prefix length covers just the one address.
func isWholeLength(address, length []byte) bool {
	if bytes.IndexByte(address, ':') >= 0 {
		return string(length) == "128"
	}
	return string(length) == "32"
}

func isDigits(s []byte) bool {
	return len(s) > 0 && len(bytes.Trim(s, "0123456789")) == 0
}
