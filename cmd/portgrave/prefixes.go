package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure/audit"
)

func reachWords(b audit.Bounds) string {
	if b.Certain.Equal(b.Possible) {
		return prefixWords(b.Possible)
	}
	return prefixWords(b.Certain) + "; possibly " + prefixWords(b.Possible.Minus(b.Certain))
}

// maxPrefixes is how many prefixes people are shown in a line.
const maxPrefixes = 4

// prefixWords is sources for people: a few prefixes, or how many there are; "::/0 without fe80::/10" where that is shorter.
func prefixWords(p firewall.Prefixes) string {
	list := p.Strings()
	switch {
	case len(list) == 0:
		return "nobody"
	case strings.Join(list, " ") == "0.0.0.0/0 ::/0":
		return "everywhere"
	}
	four, six := withoutWords(p, firewall.IPv4), withoutWords(p, firewall.IPv6)
	if four == "" && six == "" {
		return some(list)
	}
	if four == "" {
		four = some(ofFamily(list, false))
	}
	if six == "" {
		six = some(ofFamily(list, true))
	}
	return strings.Join(slices.DeleteFunc([]string{four, six}, func(s string) bool { return s == "" }), ", ")
}

func ofFamily(list []string, six bool) (out []string) {
	for _, s := range list {
		if strings.Contains(s, ":") == six {
			out = append(out, s)
		}
	}
	return out
}

// withoutWords names what is missing of an IP version's addresses; "" unless that is fewer prefixes than there are.
func withoutWords(p firewall.Prefixes, f firewall.Family) string {
	all := firewall.MustPrefixes("0.0.0.0/0")
	if f == firewall.IPv6 {
		all = firewall.MustPrefixes("::/0")
	}
	mine := all.Intersect(p)
	missing := all.Minus(mine)
	if mine.Len() < 2 || missing.Len() >= mine.Len() {
		return ""
	}
	return all.Strings()[0] + " without " + some(missing.Strings())
}

// some is a list, cut short.
func some(list []string) string {
	if len(list) > maxPrefixes {
		return strings.Join(list[:maxPrefixes-1], " ") + fmt.Sprintf(" … (%d in all)", len(list))
	}
	return strings.Join(list, " ")
}
