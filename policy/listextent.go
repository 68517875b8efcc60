package policy

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/pattern"
)

// What stands beside an address and may make a range of it: the last address, also as a number, a
// mask, also in hexadecimal digits, a length, or a number of addresses. Half of such a range must
// not get lost in silence.

// unitPattern matches a length or a number of addresses with its unit, and a mask in hexadecimal.
var unitPattern = pattern.New(
	`^(?i)/?(\d{1,10}) *(bits?|hosts?|ips?|addr(esse)?s)$|^(0x)?ff[0-9a-f]{6}$`,
)

// plainNumber returns a number without the signs that other programs write: 256 for 256.0 or 2'560.
// It returns other texts as they are.
func plainNumber(text []byte) []byte {
	whole, fraction, _ := bytes.Cut(bytes.TrimLeft(text, "."), []byte("."))
	digits := bytes.Map(func(r rune) rune {
		if strings.ContainsRune(" ,_'+", r) {
			return -1
		}
		return r
	}, whole)
	if !isDigits(digits) || len(bytes.Trim(fraction, "0")) > 0 {
		return text
	}
	return digits
}

// hasUnit reports whether a text can only be a length, a mask or a number of addresses.
func hasUnit(text []byte) bool { return unitPattern.MatchString(string(text)) }

// datePattern matches the beginning of dates and times.
var datePattern = pattern.New(`^\d{4}[-/.]\d\d?[-/.]\d\d?\b|^\d\d?[-/.]\d\d?[-/.]\d{4}\b`)

// mayEnlarge reports whether a text in a column that is named as an end, a length or a size makes a
// range of the address first.
func mayEnlarge(first, text []byte) bool {
	length := bytes.TrimPrefix(text, []byte("/"))
	return bytes.ContainsAny(text, "0123456789") && !bytes.Equal(first, text) &&
		!isWholeLength(first, length) && !datePattern.MatchString(string(text)) &&
		string(text) != "255.255.255.255" && !strings.EqualFold(string(text), "0xffffffff")
}

// extentHint says how to write an address with its mask, length or number of addresses; "" if that
// is unclear.
func extentHint(first, text string) string {
	hex := strings.TrimPrefix(strings.ToLower(text), "0x")
	if n, err := strconv.ParseUint(hex, 16, 32); err == nil && len(hex) == 8 && hex[0] == 'f' {
		return maskHint(first, address.V4(n).IP().String())
	}
	parts := unitPattern.Regexp().FindStringSubmatch(text)
	switch {
	case parts == nil:
		return maskHint(first, text)
	case strings.HasPrefix(strings.ToLower(parts[2]), "bit"):
		return maskHint(first, parts[1])
	}
	return sizeHint(first, parts[1])
}

// sizeHint says how to write a range whose first address and size are known.
func sizeHint(first, size string) string {
	a, err := netip.ParseAddr(first)
	n, errSize := strconv.ParseUint(size, 10, 32)
	if err != nil || errSize != nil || !a.Is4() || n < 2 {
		return ""
	}
	last := uint64(address.V4Of(a)) + n - 1
	if last >= 1<<32 {
		return ""
	}
	return fmt.Sprintf("; write the range as %s-%s", a, address.V4(last).IP())
}

// extentTally judges columns that no name explains by the first lines of a list: if addresses in a
// column are hardly ever below those in the first, or its numbers fit as numbers of addresses, then
// the two are ranges.
type extentTally struct {
	lines   int // with an address alone in the first column
	columns [talliedColumns]tallied
}

// tallied is what the first lines say about a column.
type tallied struct {
	enlarging, other int
	line             int    // the first that enlarges
	first, text      string // its columns
}

const (
	talliedLines   = 100
	talliedColumns = 8
)

// add looks at a line.
func (t *extentTally) add(h heading, first, rest []byte, line int) {
	if t.lines >= talliedLines || bytes.ContainsAny(first, "/-") {
		return
	}
	from, err := netip.ParseAddr(string(first))
	if err != nil {
		return
	}
	t.lines++
	number := 1
	for text := range columnsOf(rest) {
		if number++; number-2 >= talliedColumns {
			return
		}
		c := &t.columns[number-2]
		switch order := extentOrder(from, string(text), number == 2); {
		case order == 0 || slices.Contains(h.apart, number):
		case order < 0:
			c.other++
		default:
			if c.enlarging++; c.enlarging == 1 {
				c.line, c.first, c.text = line, string(first), string(text)
			}
		}
	}
}

// extentOrder returns 1 if a text may be the end or the size of a range that begins at from, -1 if
// it can't be, and 0 if it says nothing. next says that text stands in the next column.
func extentOrder(from netip.Addr, text string, next bool) int {
	if order, ok := spanOrder(from, plainAddress([]byte(text))); ok {
		return order
	}
	text = string(plainNumber([]byte(text)))
	if !isDigits([]byte(text)) || isWholeLength([]byte(from.String()), []byte(text)) {
		return 0
	}
	if to, ok := numberAddress(text); from.Is4() && ok && to.As4()[0] > 0 {
		if !next && to.As4()[0] != from.As4()[0] {
			return -1 // rather a time, or a number of something
		}
		return to.Compare(from)
	}
	n, err := strconv.ParseUint(text, 10, 64)
	switch {
	case !from.Is4() && err != nil: // a number of more than 64 bits
		return 1
	case err == nil && n < 2:
		return 0
	case !from.Is4() || err != nil:
		return -1
	}
	powerOfTwo, begin := n&(n-1) == 0, uint64(address.V4Of(from))
	if n == 255 && begin%256 == 0 { // the last number of the end
		return 1
	}
	if powerOfTwo && begin%n == 0 || n%256 == 0 && begin%256 == 0 {
		return 1
	}
	return -1
}

// spanOrder is extentOrder for an address, or for a CIDR or a range that may begin at from. ok is
// false for other texts.
func spanOrder(from netip.Addr, text []byte) (order int, ok bool) {
	if to, err := netip.ParseAddr(string(text)); err == nil {
		if to.Is4() != from.Is4() {
			return 0, true
		}
		return to.Compare(from), true
	}
	var one, span address.Builder
	if !isAddressText(text) || addEntry(&span, text) != nil ||
		one.Add(netip.PrefixFrom(from, from.BitLen())) != nil {
		return 0, false
	}
	first, _, _ := strings.Cut(span.Set().Strings()[0], "/")
	switch {
	case span.Set().Equal(one.Set()):
		return 0, true
	case first == from.String():
		return 1, true
	}
	return -1, true
}

// report refuses a list whose first lines have ranges in two columns.
func (t *extentTally) report(l *listing) {
	for i, c := range t.columns {
		// a tenth may be mistakes in a list of ranges
		if c.enlarging == 0 || c.other*10 > c.enlarging {
			continue
		}
		at := Location{l.name, c.line, 1}
		if l.hideText {
			l.report.at(at, "%v", errHiddenText)
			return
		}
		l.report.at(at, "%q and %q stand in one line, and column %d may be the end or the size of "+
			"a range, as it fits in each line; write ranges as FIRST-LAST or as CIDRs, and "+
			"otherwise the first column alone", c.first, c.text, i+2)
		return
	}
}
