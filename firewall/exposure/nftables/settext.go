package nftables

import (
	"fmt"
	"strings"

	"github.com/portgrave/portgrave/firewall/exposure"
)

// Sets and maps in nft's words.

// shownMost is how many elements of a set are written out.
const shownMost = 6

// setText is a set's name, or its elements.
func setText(s *exposure.Set, key []exposure.Operand) string { return mapText(s, key, nil) }

// mapText is setText for a map of whose data it is known which fields it is for, by column.
func mapText(s *exposure.Set, key []exposure.Operand, columns map[int]exposure.Field) string {
	if s.Name != "" {
		return "@" + s.Name
	}
	var words []string
	for i, box := range s.All() {
		if i == shownMost {
			words = append(words, fmt.Sprintf("… %d in all", s.Len()))
			break
		}
		words = append(words, boxText(box, key)+elementText(s, i, columns))
	}
	if s.Default {
		words = append(words, "*"+elementText(s, s.Len(), columns))
	}
	if len(words) == 1 && s.Verdicts == nil && s.DataWidth == 0 {
		return words[0]
	}
	return "{ " + strings.Join(words, ", ") + " }"
}

func boxText(box []exposure.Range, key []exposure.Operand) string {
	var words []string
	for i, r := range box {
		f := exposure.FieldNone
		if i < len(key) {
			f = shownAs(key[i])
		}
		words = append(words, rangeText(f, r))
	}
	return strings.Join(words, " . ")
}

// shownAs is the field whose values are written as those of an operand: fib's are of several kinds,
// and a whole field of the IP header has protocols or numbers.
func shownAs(o exposure.Operand) exposure.Field {
	for _, h := range headerNames {
		raw := exposure.Raw{Base: exposure.RawNetwork, Offset: h.offset, Bits: h.bits}
		switch {
		case h.shift != 0 || o != exposure.Operand{Field: exposure.FieldRaw, Raw: raw}:
		case h.protocol:
			return exposure.FieldProtocol
		default:
			return exposure.FieldLength // a plain number
		}
	}
	if o.Field == exposure.FieldFib {
		switch o.Fib.Want {
		case exposure.FibOutName:
			return exposure.FieldOutName
		case exposure.FibOutIndex, exposure.FibExists, exposure.FibReversePath:
			return exposure.FieldOutIndex
		}
	}
	return o.Field
}

// elementText is what a map says of an element.
func elementText(s *exposure.Set, i int, columns map[int]exposure.Field) string {
	switch {
	case i < len(s.Verdicts):
		return " : " + verdictText(s.Verdicts[i])
	case s.DataWidth > 0 && (i+1)*s.DataWidth <= len(s.Data):
		var words []string
		for c, v := range s.Row(i) {
			f, ok := columns[c]
			switch {
			case !ok:
				words = append(words, v.String())
			case c > 0 && columns[c-1] == f: // the last of a range
				if last := len(words) - 1; words[last] != valueText(f, v) {
					words[last] += "-" + valueText(f, v)
				}
			default:
				words = append(words, valueText(f, v))
			}
		}
		return " : " + strings.Join(words, " . ")
	}
	return ""
}
