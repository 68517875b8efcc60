package policy

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"

	"github.com/portgrave/portgrave/firewall"
)

// addEntry adds an address, a CIDR or a range. The error says what to write instead.
func addEntry(b *firewall.PrefixesBuilder, entry []byte) error {
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
func addRange(b *firewall.PrefixesBuilder, first, last []byte) error {
	from4, ok := fast4(first)
	if to4, good := fast4(last); ok && good && from4 <= to4 {
		b.AddRange4(firewall.Range[firewall.Address4]{First: from4, Last: to4})
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

// rangeHint says what is wrong with ends of a range that are not addresses.
func rangeHint(first, last string) string {
	if strings.Contains(first, "/") || strings.Contains(last, "/") {
		return "; a range goes from one address to another, without prefix lengths"
	}
	return nameHint(first + "-" + last)
}

// splitLine takes a line apart: its first column, the second, and whether it has columns at all, and
// a comment. A line without columns is its own first column. A semicolon begins a comment; one
// without a space before it may end a column, too.
func splitLine(line []byte) (first, second []byte, columns, comment bool) {
	entry := line
	if i := bytes.IndexAny(line, "#;"); i >= 0 {
		entry = line[:i]
		columns = line[i] == ';' && i > 0 && !isSpace(line[i-1])
		if comment = !columns; columns {
			second = line[i+1:]
		}
	}
	entry = bytes.TrimSpace(entry)
	if i := bytes.IndexAny(entry, ",\t"); i >= 0 {
		entry, second, columns = entry[:i], entry[i+1:], true
	}
	if i := bytes.IndexAny(second, ",\t;#"); i >= 0 {
		second = second[:i]
	}
	return column(entry), column(second), columns, comment
}

// column is a column without spaces around it, and without its quotes.
func column(s []byte) []byte {
	s = bytes.TrimSpace(s)
	if n := len(s); n >= 2 && s[0] == '"' && s[n-1] == '"' {
		return bytes.TrimSpace(s[1 : n-1])
	}
	return s
}

// isHeading reports whether a first column can only be the name of one.
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

// misreadColumn refuses a line whose second column changes what the first one means: two addresses
// are a range or two entries, and the first alone would be a narrower list.
func misreadColumn(first, second []byte) error {
	if len(second) == 0 || second[0] != '/' && !bytes.ContainsAny(second, ".:") {
		return nil
	}
	mask := strings.TrimPrefix(string(second), "/")
	if _, err := parsePrefix(mask); err != nil && second[0] != '/' {
		return nil
	}
	if hint := maskHint(string(first), mask); hint != "" {
		return fmt.Errorf("%q and %q stand in one line%s", first, second, hint)
	}
	if bytes.IndexByte(first, '/') < 0 && bytes.IndexByte(second, '/') < 0 {
		return fmt.Errorf("%q and %q stand in one line; write a range as %s-%s, and two entries "+
			"in two lines", first, second, first, second)
	}
	return fmt.Errorf("%q and %q stand in one line; write one entry a line", first, second)
}
