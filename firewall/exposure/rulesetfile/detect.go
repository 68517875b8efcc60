package rulesetfile

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/xtables"
	"github.com/portgrave/portgrave/firewall/pattern"
)

// Format is what a file is the output of.
type Format uint8

const (
	IPTables  Format = iota + 1 // iptables-save
	IP6Tables                   // ip6tables-save
	IPSet                       // ipset save
	NFTJSON                     // nft -j list ruleset
)

// String is the command that prints the format.
func (f Format) String() string {
	switch f {
	case IPTables:
		return "iptables-save"
	case IP6Tables:
		return "ip6tables-save"
	case IPSet:
		return "ipset save"
	case NFTJSON:
		return "nft -j list ruleset"
	}
	return "unknown"
}

var (
	saveTable = pattern.New(`(?m)^\*[a-z]+[ \t]*\r?$`)
	setLine   = pattern.New(`(?m)^create [^ \n]+ [a-z]+:[a-z,]+`)
	nftText   = pattern.New(`(?m)^table ([a-z0-9]+ )?[^ \n]+ \{`)
)

// Detect tells what a text is the output of.
//
// hint is what the caller knows of an iptables-save file, FamilyIPv4 or FamilyIPv6; FamilyUnspec if nothing. It counts only where the text doesn't tell;
// and where the caller doesn't know either, the two names that netfilter-persistent gives its files do: rules.v4 and rules.v6.
//
// Errors are "name:1:1: what it seems to be, and what to give instead".
func Detect(name string, text []byte, hint exposure.Family) (Format, error) {
	fail := func(format string, args ...any) (Format, error) {
		return 0, fmt.Errorf("%s:1:1: %s", name, fmt.Sprintf(format, args...))
	}
	trimmed := bytes.TrimSpace(text)
	if len(trimmed) > 0 && trimmed[0] == '{' {
		return NFTJSON, nil
	}
	save, set := anyLine(text, '*', saveTable), anyLine(text, 'c', setLine)
	switch {
	case len(trimmed) == 0:
		return fail("it is empty: give the output of iptables-save, ip6tables-save, ipset save or nft -j list ruleset")
	case save && set:
		return fail("it has iptables rules and ipsets in one: give each in a file of its own")
	case set:
		return IPSet, nil
	case !save && anyLine(text, 't', nftText):
		return fail("nft's text is not read: give the output of nft -j list ruleset")
	case !save && onlyRemarks(text):
		return fail("it holds no table at all: was it taken as root, and where there are rules?")
	case !save:
		return fail("it is none of the outputs of iptables-save, ip6tables-save, ipset save, nft -j list ruleset")
	}
	family, ok := xtables.FamilyOf(text)
	if !ok {
		family = hint
		if family == exposure.FamilyUnspec {
			family = familyOfName(name)
		}
	}
	switch family {
	case exposure.FamilyIPv4:
		return IPTables, nil
	case exposure.FamilyIPv6:
		return IP6Tables, nil
	}
	return fail("nothing in it tells whether it is iptables-save's or ip6tables-save's: keep the comment line that they begin with, or name it rules.v4 or rules.v6")
}

// anyLine reports whether a line matches that begins with a character. A pattern alone would take
// seconds for a text of 64 MiB.
func anyLine(text []byte, first byte, p *pattern.Pattern) bool {
	for line := range bytes.Lines(text) {
		if line[0] == first && p.Regexp().Match(line) {
			return true
		}
	}
	return false
}

func onlyRemarks(text []byte) bool {
	for line := range bytes.Lines(text) {
		if s := strings.TrimSpace(string(line)); s != "" && s[0] != '#' {
			return false
		}
	}
	return true
}

func familyOfName(name string) exposure.Family {
	switch {
	case strings.HasSuffix(name, "rules.v4"):
		return exposure.FamilyIPv4
	case strings.HasSuffix(name, "rules.v6"):
		return exposure.FamilyIPv6
	}
	return exposure.FamilyUnspec
}
