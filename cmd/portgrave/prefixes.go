package main

import (
	"fmt"
	"strings"

	"github.com/portgrave/portgrave/firewall/address"
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

// longest is how many prefixes are worth a look for a shorter way to write them: a list of
// thousands is only counted.
const longest = 2000

// prefixWords is sources for people: a few prefixes, or how many there are; "::/0 without
// fe80::/10" where that is shorter.
func prefixWords(p address.Set) string {
	switch {
	case p.Len() == 0:
		return "nobody"
	case p.Len() > longest:
		return some(p)
	case some(p) == "0.0.0.0/0 ::/0":
		return "everywhere"
	}
	in, out := p.Short()
	if out.Len() == 0 {
		return some(p)
	}
	return some(in) + " without " + some(out)
}

// some is a list of prefixes, cut short.
func some(p address.Set) string {
	if p.Len() > maxPrefixes {
		return strings.Join(
			p.FirstStrings(maxPrefixes-1),
			" ",
		) + fmt.Sprintf(
			" … (%d in all)",
			p.Len(),
		)
	}
	return strings.Join(p.Strings(), " ")
}
