package nftjson

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// What isn't understood is undecided. But what no nft loads is a mistake in the text, or something
// is cut out.

// impossible says what is wrong about a value of a kind that wasn't understood; "" if nothing is
// known to be.
func impossible(kind string, v any) string {
	switch v := v.(type) {
	case json.Number:
		return impossibleWord(kind, v.String())
	case string:
		return impossibleWord(kind, v)
	case Word:
		return impossibleWord(kind, string(v))
	case []any:
		return anyImpossible(kind, v)
	case map[string]any:
		for name, body := range v {
			switch inner, _ := body.(map[string]any); {
			case name == "set" || name == "range":
				list := listOf(body)
				if why := anyImpossible(kind, list); why != "" || name == "set" || len(list) != 2 {
					return why
				}
				from, ok1 := constant(kind, list[0])
				to, ok2 := constant(kind, list[1])
				if ok1 && ok2 && to.Compare(from) < 0 {
					return fmt.Sprintf("%s-%s is the wrong way round", text(list[0]), text(list[1]))
				}
			case name == "elem":
				return impossible(kind, inner["val"])
			case name == "prefix":
				return impossibleWord(kind, text(inner["addr"])+"/"+text(inner["len"]))
			}
		}
	}
	return ""
}

func anyImpossible(kind string, list []any) string {
	for _, x := range list {
		if why := impossible(kind, x); why != "" {
			return why
		}
	}
	return ""
}

// impossibleWord judges a number, a prefix, or a range in one word.
func impossibleWord(kind, s string) string {
	switch kind {
	case "inet_service":
		from, to, ranged := strings.Cut(s, "-")
		var ends []uint64
		for _, end := range []string{from, to} {
			n, err := strconv.ParseUint(end, 0, 64)
			switch {
			case err == nil && n > 65535:
				return fmt.Sprintf("%d isn't a port: the highest is 65535", n)
			case err == nil:
				ends = append(ends, n)
			}
		}
		if ranged && len(ends) == 2 && ends[0] > ends[1] {
			return fmt.Sprintf("ports %d to %d are the wrong way round", ends[0], ends[1])
		}
	case "inet_proto":
		if n, err := strconv.ParseUint(s, 0, 64); err == nil && n > 255 {
			return fmt.Sprintf("%d isn't a protocol: the highest number is 255", n)
		}
	case "ipv4_addr", "ipv6_addr":
		return exposure.WrongPrefix(s)
	}
	return ""
}

// impossibleTuple is impossible for a value of each kind.
func impossibleTuple(kinds []string, v any) string {
	m, _ := v.(map[string]any)
	if inner, ok := m["elem"].(map[string]any); ok {
		return impossibleTuple(kinds, inner["val"])
	}
	parts := []any{v}
	if list, ok := m["concat"].([]any); ok {
		parts = list
	}
	for i := range min(len(parts), len(kinds)) {
		if why := impossible(kinds[i], parts[i]); why != "" {
			return why
		}
	}
	return ""
}

// fail notes the first mistake of a rule.
func (r *ruleReader) fail(why string) {
	if r.wrong == "" {
		r.wrong = why
	}
}

// missing notes a set that a rule names and the listing lacks.
func (r *ruleReader) missing(set string) { r.absent = append(r.absent, set) }

// maxAbsent bounds the warnings of a listing.
const maxAbsent = 16

// warn adds a warning for each set that the listing lacks.
func (d *Document) warn(t *table, names []string) {
	for _, name := range names {
		what := Place{t.Family.String(), t.Name, name}
		if d.absent[what] || len(d.absent) > maxAbsent {
			continue
		}
		d.absent[what] = true
		if len(d.absent) > maxAbsent {
			d.warnings = append(d.warnings, d.name+": more sets are missing than are named here")
			continue
		}
		d.warnings = append(d.warnings, fmt.Sprintf(
			"%s: set %s isn't in table %s %s, and rules that look it up are undecided: give the "+
				"whole output of `nft list ruleset`", d.name, firewall.Excerpt(name), t.Family, t.Name,
		))
	}
}
