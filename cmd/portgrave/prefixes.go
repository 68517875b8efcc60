package main

import (
	"fmt"
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

// longest is how many prefixes are worth a look for a shorter way to write them: a list of thousands is only counted.
const longest = 2000

// prefixWords is sources for people: a few prefixes, or how many there are; "::/0 without fe80::/10" where that is shorter.
func prefixWords(p firewall.Prefixes) string {
	list := p.Strings()
	switch {
	case len(list) == 0:
		return "nobody"
	case strings.Join(list, " ") == "0.0.0.0/0 ::/0":
		return "everywhere"
	case len(list) > longest:
		return some(list)
	}
	in, out := p.Short()
	if out.Len() == 0 {
		return some(list)
	}
	return some(in.Strings()) + " without " + some(out.Strings())
}

// some is a list, cut short.
func some(list []string) string {
	if len(list) > maxPrefixes {
		return strings.Join(list[:maxPrefixes-1], " ") + fmt.Sprintf(" … (%d in all)", len(list))
	}
	return strings.Join(list, " ")
}
