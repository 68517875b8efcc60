package xtables

import (
	"strconv"
	"strings"

	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/iana"
)

// parseNumber reads a number of some bits, decimal, hexadecimal (0x) or octal (0), as strtoul does.
func parseNumber(s string, bits int) (uint64, bool) {
	n, err := strconv.ParseUint(s, 0, bits)
	return n, err == nil && !strings.Contains(s, "_")
}

// parsePort reads a port, by number or by a service's name.
func parsePort(s string) (uint64, bool) {
	if n, ok := parseNumber(s, 16); ok {
		return n, true
	}
	if strings.Contains(s, "_") { // no digits grouped as in Go
		return 0, false
	}
	n, ok := iana.Service(s)
	return uint64(n), ok
}

// parsePorts reads one port or a range with the separator, whose ends may be left out: "80",
// "domain", "80:90", ":1023", "1024:". A name may hold the separator itself: "ftp-data".
func parsePorts(s, separator string) (exposure.Range, bool) {
	if n, ok := parsePort(s); ok {
		return exposure.One(exposure.Number(n)), true
	}
	from, to, ranged := strings.Cut(s, separator)
	if !ranged {
		return exposure.Range{}, false
	}
	first, last, ok1, ok2 := uint64(0), uint64(65535), true, true
	if from != "" {
		first, ok1 = parsePort(from)
	}
	if to != "" {
		last, ok2 = parsePort(to)
	}
	return exposure.Numbers(first, last), ok1 && ok2 && first <= last
}

// parsePortList reads "22,80:90", the form of multiport.
func parsePortList(s string) ([]exposure.Range, bool) {
	var out []exposure.Range
	for part := range strings.SplitSeq(s, ",") {
		r, ok := parsePorts(part, ":")
		if !ok {
			return nil, false
		}
		out = append(out, r)
	}
	return out, true
}

// parseMark reads "0x1/0xff"; without a mask all bits count.
func parseMark(s string) (value, mask uint64, ok bool) {
	v, m, both := strings.Cut(s, "/")
	value, ok = parseNumber(v, 32)
	mask = 0xffffffff
	if ok && both {
		mask, ok = parseNumber(m, 32)
	}
	return value, mask, ok
}
