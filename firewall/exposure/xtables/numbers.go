package xtables

import (
	"strconv"
	"strings"

	"github.com/portgrave/portgrave/firewall/exposure"
)

// parseNumber reads a number of some bits, decimal, hexadecimal (0x) or octal (0), as strtoul does.
func parseNumber(s string, bits int) (uint64, bool) {
	n, err := strconv.ParseUint(s, 0, bits)
	return n, err == nil && !strings.Contains(s, "_")
}

// parsePorts reads one port or a range with the separator, whose ends may be left out: "80", "80:90", ":1023", "1024:".
func parsePorts(s, separator string) (exposure.Range, bool) {
	from, to, ranged := strings.Cut(s, separator)
	if !ranged {
		n, ok := parseNumber(from, 16)
		return exposure.One(exposure.Number(n)), ok
	}
	first, last, ok1, ok2 := uint64(0), uint64(65535), true, true
	if from != "" {
		first, ok1 = parseNumber(from, 16)
	}
	if to != "" {
		last, ok2 = parseNumber(to, 16)
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
