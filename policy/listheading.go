package policy

import (
	"bytes"
	"slices"
	"strings"
	"unicode"
)

// heading is a line with the names of columns. Its zero value is that of a list without one.
type heading struct {
	line    int  // its number
	entries bool // the first column is named as what a list has, such as network
	// extents are the columns that would enlarge an address in the first: ends of ranges, masks,
	// numbers of addresses.
	extents []int
	apart   []int // the columns whose names say that they are about something else
	last    int   // the column with the last address of the range that the first begins; 0 if none
}

// Names of columns, as plainName returns them.
var (
	entryNames = strings.Fields("ip ips cidr cidrs network networks net nets prefix prefixes " +
		"address addresses addr addrs subnet subnets range ranges ipv4 ipv6")
	// A second column of the same name, such as ip2, is an end, too.
	endNames = strings.Fields("end ends ending last to stop high hi upper max maximum until till " +
		"through thru upto final finish highest broadcast bis ende fin hasta 2")
	lengthNames = strings.Fields("mask netmask subnetmask wildcard wildcardmask hostmask length " +
		"len prefixlength prefixlen masklength masklen maskbits cidrmask bits netbits prefix cidr " +
		"plen")
	sizeNames = strings.Fields("size hosts addresses ips numaddresses numberaddresses numips " +
		"numhosts hostcount rangesize blocksize")
	countNames = strings.Fields("count number num amount quantity total n")
	rangeNames = map[string]string{
		"start": "end", "begin": "end", "first": "last", "from": "to", "low": "high",
		"lower": "upper", "min": "max", "lo": "hi", "starting": "ending", "von": "bis",
	}
)

// apartWords are words in the names of columns that have addresses or numbers of their own.
var apartWords = strings.Fields("gateway gw via router nexthop hop dst dest destination server " +
	"proxy peer nat dns asn as port score risk confidence level rank severity hits reports " +
	"attacks attempts events packets bytes seen time timestamp date updated created id geoname " +
	"zip postal code lat lon latitude longitude")

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
			h.extents = append(h.extents, number)
		case slices.Contains(endNames, other), slices.Contains(lengthNames, other),
			slices.Contains(sizeNames, other),
			rangeNames[name] != "" && slices.Contains(countNames, other):
			h.extents = append(h.extents, number)
		case slices.ContainsFunc(nameWords(text), func(word string) bool {
			return slices.Contains(apartWords, word)
		}):
			h.apart = append(h.apart, number)
		}
	}
	return h, true
}

// nameWords returns the words of the name of a column, in lower case: end, ip for "endIP".
func nameWords(name []byte) (words []string) {
	var word []rune
	lower := false // the last letter was a small one
	for _, r := range string(name) + " " {
		isWord := r < unicode.MaxASCII && (unicode.IsLetter(r) || unicode.IsDigit(r))
		if len(word) > 0 && (!isWord || lower && unicode.IsUpper(r)) {
			words, word = append(words, strings.ToLower(string(word))), nil
		}
		if lower = unicode.IsLower(r); isWord {
			word = append(word, r)
		}
	}
	return words
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

// numberWords say in the names of columns that addresses are written as numbers.
var numberWords = strings.Fields("int integer long dec decimal numeric value")

// plainName returns the name of a column in lower case, without what is not a letter or digit, and
// without words that only say that it has addresses: start for "Start IP".
func plainName(column []byte) string {
	words := slices.DeleteFunc(nameWords(column), func(word string) bool {
		return slices.Contains(numberWords, word)
	})
	name := strings.Join(words, "")
	for _, word := range []string{"ipv4", "ipv6", "ip", "network", "range", "address", "addr"} {
		if slices.Contains(entryNames, name) || slices.Contains(sizeNames, name) {
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
