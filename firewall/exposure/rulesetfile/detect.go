package rulesetfile

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/pattern"
)

// Format is what a file is the output of.
type Format uint8

const (
	IPTables  Format = iota + 1 // iptables-save
	IP6Tables                   // ip6tables-save
	IPSet                       // ipset save
	NFTJSON                     // nft -j list ruleset
	NFTText                     // nft list ruleset, or a file for nft -f
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
	case NFTText:
		return "nft list ruleset"
	}
	return "unknown"
}

// formats are the commands whose output is read.
const formats = "iptables-save, ip6tables-save, ipset save, nft list ruleset, nft -j list ruleset"

var errNothing = errors.New("1:1: it is none of the outputs of " + formats)

// split is the parts that a text holds, at least one.
//
// hint is what the caller knows of an iptables-save file, FamilyIPv4 or FamilyIPv6; FamilyUnspec if
// nothing. It counts only where the text doesn't tell; and where the caller doesn't know either,
// the name does: netfilter-persistent's files are rules.v4 and rules.v6. guess is File.Guess.
//
// Errors are "name:1:1: what it seems to be, and what to give instead".
func split(
	name string,
	text []byte,
	hint exposure.Family,
	guess func() exposure.Family,
) ([]part, error) {
	fail := func(why string) ([]part, error) { return nil, fmt.Errorf("%s:1:1: %s", name, why) }
	text = bytes.TrimPrefix(text, []byte(byteOrderMark))
	if bytes.IndexByte(text, escape) >= 0 {
		text = escapes.Regexp().ReplaceAll(text, nil)
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return fail("it is empty: give the output of " + formats)
	}
	if what := otherwise(text); what != "" {
		return fail(what)
	}
	if number := brokenLine(text); number > 0 {
		return nil, fmt.Errorf("%s:%d:1: a carriage return alone ends a line, so that rules would "+
			`be missed: convert the file with tr '\r' '\n'`, name, number)
	}
	list, err := sections(text)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s:%w", name, err)
	case len(list) == 0 && onlyRemarks(text):
		return fail("it holds no table at all: was it taken as root, and where there are rules?")
	case len(list) == 0:
		return nil, fmt.Errorf("%s:%w", name, errNothing)
	case !families(name, text, list, hint) &&
		(guess == nil || !families(name, text, list, guess())):
		return fail(
			"nothing in it tells whether it is iptables-save's or ip6tables-save's: keep the " +
				"comment line that they begin with, or name it rules.v4 or rules.v6",
		)
	}
	return parts(text, list), nil
}

const escape = 0x1b

// escapes are what a terminal's colours and titles come as, within a line: CSI and OSC sequences
// (ECMA-48).
var escapes = pattern.New(
	"\x1b(\\[[0-?]*[ -/]*[@-~]|\\][^\x07\x1b\n]*(\x07|\x1b\\\\))",
)

// listed is the first line of a chain as iptables -L prints it.
var listed = regexp.MustCompile(`(?m)^Chain \S+ \((policy [A-Z]+|\d+ references)`)

// otherwise says what to give instead of a text that is often given; "" for any other.
func otherwise(text []byte) string {
	switch {
	case bytes.HasPrefix(text, []byte{0x1f, 0x8b}):
		return "it is packed with gzip: unpack it with gunzip"
	case bytes.HasPrefix(text, []byte("\xff\xfe")), bytes.HasPrefix(text, []byte("\xfe\xff")):
		return "it is UTF-16: convert it to UTF-8 with iconv -f UTF-16 -t UTF-8"
	case listed.Match(text[:min(len(text), 1<<16)]) && !bytes.Contains(text, []byte("\nCOMMIT")):
		return "it is the output of iptables -L, which leaves much out: give that of iptables-save"
	}
	begin := text[:min(len(text), 1<<12)]
	for _, o := range others {
		if o.begins.Regexp().Match(begin) {
			return o.what
		}
	}
	return ""
}

// others are texts that are given instead of dumps, by how they begin.
var others = []struct {
	begins *pattern.Pattern
	what   string
}{
	{
		pattern.New(`^\s*Name: \S+\r?\nType: [a-z]+:`),
		"it is the output of ipset list: give that of ipset save",
	},
	{
		pattern.New(`^\s*Status: (in)?active\r?\n`),
		"it is the output of ufw status, which leaves much out: give that of iptables-save and " +
			"ip6tables-save",
	},
	{
		pattern.New(`^\s*\S+( \([a-z, ]+\))?\r?\n  target: `),
		"it is the output of firewall-cmd, which leaves much out: give that of nft list ruleset, " +
			"or of iptables-save",
	},
	{
		pattern.New(`^\s*(?i:<\?xml|<!doctype|<html|<ipsets|<iptables-rules)`),
		"it is XML or HTML: give the output of " + formats + " as it is",
	},
	{
		pattern.New(`^(\s*#.*\n|\s*\n)*(sudo +)?(/\S*/)?ip6?tables +(-t +\S+ +)?-[APNFIDXZ]\b`),
		"it holds commands, not the rules that they make: run them, and give the output of " +
			"iptables-save",
	},
	{
		pattern.New(`^\s*-[NAI] `),
		"it holds rules without their table: begin it with the line *filter, or give the output " +
			"of iptables-save",
	},
}

// brokenLine is the number of the first line that has another line of rules behind a carriage
// return: old programs end lines with that alone. 0 if there is none. Terminals write one at either
// end of a line, or in a prompt; to JSON it is space.
func brokenLine(text []byte) int {
	if bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) {
		return 0
	}
	for at, number := 0, 1; at < len(text); number++ {
		i := bytes.IndexByte(text[at:], '\r')
		if i < 0 {
			return 0
		}
		number += bytes.Count(text[at:at+i], []byte("\n"))
		from := at + bytes.LastIndexByte(text[at:at+i], '\n') + 1
		at = endOfLine(exposure.StringOf(text), at+i)
		_, behind, _ := bytes.Cut(bytes.TrimSpace(text[from:at]), []byte("\r"))
		for piece := range bytes.SplitSeq(behind, []byte("\r")) {
			if ruleLine.Regexp().Match(bytes.TrimSpace(piece)) {
				return number
			}
		}
	}
	return 0
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
	case strings.HasSuffix(name, ".v4"):
		return exposure.FamilyIPv4
	case strings.HasSuffix(name, ".v6"):
		return exposure.FamilyIPv6
	}
	return exposure.FamilyUnspec
}
