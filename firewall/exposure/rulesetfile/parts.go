package rulesetfile

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/nfttext"
	"github.com/portgrave/portgrave/firewall/exposure/xtables"
	"github.com/portgrave/portgrave/firewall/iptsave"
	"github.com/portgrave/portgrave/firewall/pattern"
)

// A file may hold the output of several commands, as people paste them into a report, with the
// prompts and commands themselves between them:
//
//	root@host:~# iptables-save
//	*filter
//	…
//	root@host:~# nft list ruleset
//	table inet f2b-table {
//	…
//
// What can't be such a line, and isn't in a table, is an error: rules might be cut off.

// section is what one command printed, or a part of it.
type section struct {
	format   Format
	from, to int // offsets
	line     int // of from
	// family of iptables rules, as the program's comment or the command before says.
	family exposure.Family
	// table is the one that `iptables -t TABLE -S` named, in the line tableLine.
	table     string
	tableLine int
}

// part is all that a file holds of one format and IP version, each line in its place.
type part struct {
	format  Format
	variant iptsave.Variant // of the iptables rules
	text    []byte
	// unended: the last line of the file is of this part and has no end. What ends without a mark,
	// as ipset save and commands of nft do, may then be cut off in the middle of an address.
	unended bool
}

var (
	saveTable = pattern.New(`^\*[a-z]+$`)
	setLine   = pattern.New(`^create [^ ]+ [a-z]+:[a-z,]+`)
	elements  = pattern.New(`^add [^ ]+ [^ ]+`)
	nftLine   = pattern.New(
		`^((add|create|insert|flush|delete|destroy) +(ruleset|table|chain|rule|set|map|element|` +
			`counter|quota|limit|flowtable|ct|secmark|synproxy)\b|` +
			`(table|chain|set|map|element|rule) +((ip|ip6|inet|arp|bridge|netdev) +)?[^ ]+( *\{|$)|` +
			`(define|redefine|undefine|include)\b|nft +(add|insert|create|flush) )`,
	)
	listLine = pattern.New(`^-[PNAI] `)
	// command is one whose output this may be.
	command     = pattern.New(`^(sudo +)?([\w/]*/)?(ip6?tables(-nft|-legacy)?(-save)?|ipset|nft)\b`)
	listCommand = pattern.New(
		`^(sudo +)?([\w/]*/)?(ip6?tables(-nft|-legacy)?(-save\b| .*-S\b| -S\b)|` +
			`ipset +(save|list|-[lL])|nft +(-\S+ +)*list\b)`,
	)
	// terse is an option of nft, alone or among others, that omits the elements of sets.
	terse = pattern.New(`^(sudo +)?([\w/]*/)?nft +(-\S+ +)*(--terse|-[a-zA-Z]*t[a-zA-Z]*) `)
	// changes are commands after which a listing before isn't true any more.
	changes = pattern.New(`^(sudo +)?([\w/]*/)?(` +
		`ip6?tables(-nft|-legacy)?(-restore\b|.* (-[ADIRFXPNE]|--(append|delete|insert|replace|flush|` +
		`delete-chain|policy|new-chain|rename-chain))( |$))|` +
		`ipset +(-\S+ +)*(add|del|create|destroy|flush|swap|rename|restore|-[ADNXFWER])\b|` +
		`nft +(-\S+ +)*(add|create|insert|replace|delete|destroy|flush|-f|--file)\b|` +
		`ufw +(-\S+ +)*(allow|deny|reject|limit|delete|insert|prepend|route|default|enable|disable|` +
		`reload|reset)\b|firewall-cmd .*--(add|remove|set|change|reload|complete-reload|panic)\b)`)
	// ruleLine is what stands in a listing or a rules file, and hardly behind a prompt.
	ruleLine = pattern.New(`^(\*[a-z]+$|:[^ ]+ |-[PNAI] |\[[0-9]+:[0-9]+\] -|COMMIT$|[{}]|` +
		`create [^ ]+ [a-z]+:|add [^ ]+ |(type|policy|elements|flags|hook) .*[;{]|.*[{}]$|` +
		`(table|chain|set|map|flush|define|include) |` +
		`[^|]* (accept|drop|reject|return|masquerade|(jump|goto) +[^ ]+)$)`)
	ofTable = pattern.New(`-t +([a-z]+)`)
	prompt  = pattern.New(`^(\[?[\w.-]+@[\w.-]+[^#$%>]*|[\w.-]+:[^#$%> ]* ?)?[#$%>]( .*)?$`)
	// remarks are what terminals, loggers and the programs themselves put between.
	remarks = pattern.New("^([-=_~+]{3,}.*|```.*|[A-Z][a-z]{2} +[0-9]+ [0-9:]{8} .*|" +
		`[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:.*|\[ *[0-9]+\.[0-9]+\] .*|` +
		`(sudo|iptables|ip6tables|ipset|nft)( v[0-9.]+ .*|): .*|\[sudo\] .*|` +
		`exit|logout|Script (started|done).*|Last login: .*|Warning: .*)$`)
)

// byteOrderMark is what programs for Windows begin a file of UTF-8 with.
const byteOrderMark = "\ufeff"

// sections finds what a text holds. Errors begin with the line.
func sections(text []byte) ([]section, error) {
	var out []section
	var family exposure.Family
	var table string
	tableLine := 0
	listed := false     // a command that lists rules was there
	hashPrompt := false // and its prompt was "#" alone
	comments := -1      // where the comments before a section begin
	commentLine := 0
	number := 1
	whole := exposure.StringOf(text)
	for at := 0; at < len(whole); {
		if strings.HasPrefix(whole[at:], byteOrderMark) { // where files were put together
			at += len(byteOrderMark)
		}
		next := endOfLine(whole, at)
		line := strings.TrimSpace(whole[at:next])
		begin := section{from: at, to: next, line: number, family: family}
		last := len(out) - 1
		// follows reports whether the line comes right behind a section of a format.
		follows := func(f Format) bool { return last >= 0 && out[last].format == f && out[last].to == at }
		typed, sign := behindPrompt(line)
		switch {
		case line == "":
			at, number = next, number+1
			continue
		case follows(IPSet) && isElement(line):
			out[last].to = next
			at, number = next, number+1
			continue
		case (listed || last >= 0) && (line[0] != '#' || hashPrompt) && changes.MatchString(typed):
			return nil, fmt.Errorf(
				"%d:1: %q changes the rules after the listing: take it again, and leave out "+
					"what was before",
				number,
				firewall.Excerpt(line),
			)
		case line[0] == '#' && !isCommand(line):
			if program, ok := iptsave.GeneratedBy(line); ok {
				family = xtables.FamilyOfProgram(program)
				out = remarked(out, comments, at)
				comments = -1
			}
			if comments < 0 {
				comments, commentLine = at, number
			}
			at, number = next, number+1
			continue
		case saveTable.MatchString(line):
			begin.format = IPTables
			begin.to = endOfTable(whole, next)
		case line[0] == '{':
			begin.format = NFTJSON
			begin.to = endOfJSON(whole, at)
		case setLine.MatchString(line), elements.MatchString(line) && !nftLine.MatchString(line):
			begin.format = IPSet
		case nftLine.MatchString(line):
			begin.format = NFTText
			begin.to = nfttext.Statement(whole, at)
		case strings.HasPrefix(line, "-P "),
			listLine.MatchString(line) && follows(IPTables) && out[last].tableLine > 0:
			begin.format = IPTables
			begin.table, begin.tableLine = table, max(tableLine, 1)
		case isCommand(line):
			if terse.MatchString(programOf(line)) {
				return nil, fmt.Errorf(
					"%d:1: %q leaves out the elements of sets (-t), without which rules can't be "+
						"judged: take it again without -t",
					number,
					firewall.Excerpt(line),
				)
			}
			if f := familyOfProgram(programOf(line)); f != exposure.FamilyUnspec {
				family = f
			}
			listed, hashPrompt = true, hashPrompt || line[0] == '#'
			table, tableLine = "filter", number
			if m := ofTable.Regexp().FindStringSubmatch(line); m != nil {
				table = m[1]
			}
			out = remarked(out, comments, at)
			comments = -1
			at, number = next, number+1
			continue
		case typed != "" && (line[0] == '>' || ruleLine.MatchString(typed)):
			return nil, fmt.Errorf(
				"%d:1: %q begins with %q, as quoted text or a command does: remove that sign "+
					"from each line of the rules",
				number,
				firewall.Excerpt(line),
				sign,
			)
		case sign != "" || remarks.MatchString(line):
			out = remarked(out, comments, at)
			comments = -1
			at, number = next, number+1
			continue
		default:
			if len(out) == 0 && comments < 0 && !holdsListing(whole[next:]) {
				return nil, errNothing
			}
			return nil, fmt.Errorf(
				"%d:1: %q stands outside of every table: is something cut out, or is this "+
					"no output of %s?",
				number,
				firewall.Excerpt(line),
				formats,
			)
		}
		if begin.format != IPTables {
			out = remarked(out, comments, at)
		}
		if comments >= 0 && begin.format != NFTJSON {
			begin.from, begin.line = comments, commentLine
		}
		comments = -1
		number += strings.Count(whole[at:begin.to], "\n")
		at = begin.to
		// Each table of iptables-save may be of another IP version.
		joins := begin.format != IPTables || begin.tableLine > 0
		if last >= 0 && joins && out[last].to == begin.from && out[last].joins(begin) {
			out[last].to = begin.to
			continue
		}
		out = append(out, begin)
	}
	return remarked(out, comments, len(whole)), nil
}

// joins reports whether another section goes on with the same.
func (s section) joins(o section) bool {
	return s.format == o.format && s.family == o.family && s.table == o.table
}

// remarked gives comments, from an offset up to another, to the rules of iptables before them: they
// may say what iptables-save couldn't print.
func remarked(list []section, from, to int) []section {
	if n := len(list); n > 0 && from >= 0 && list[n-1].format == IPTables && list[n-1].to <= from {
		list[n-1].to = to
	}
	return list
}

// isElement reports whether a line adds an element to an ipset.
func isElement(line string) bool {
	rest, ok := strings.CutPrefix(line, "add ")
	if !ok {
		return false
	}
	name, _, ok := strings.Cut(rest, " ")
	return ok && !slices.Contains([]string{"table", "chain", "rule", "set", "map", "element"}, name)
}

// isCommand reports whether a line is a command that lists rules, with or without a prompt.
func isCommand(line string) bool { return listCommand.MatchString(programOf(line)) }

// programOf is the line without its prompt.
func programOf(line string) string {
	if typed, sign := behindPrompt(line); sign != "" {
		line = typed
	}
	return strings.TrimSuffix(line, ":")
}

// behindPrompt is what was typed behind a prompt, and the sign that ends the prompt; "" without
// one.
func behindPrompt(line string) (typed, sign string) {
	i := strings.IndexAny(line, "#$%>")
	if i < 0 || !prompt.MatchString(line) {
		return "", ""
	}
	return strings.TrimSpace(line[i+1:]), line[i : i+1]
}

func familyOfProgram(s string) exposure.Family {
	m := command.Regexp().FindStringSubmatch(s)
	switch {
	case m == nil:
		return exposure.FamilyUnspec
	case strings.HasPrefix(m[3], "ip6tables"):
		return exposure.FamilyIPv6
	case strings.HasPrefix(m[3], "iptables"):
		return exposure.FamilyIPv4
	}
	return exposure.FamilyUnspec
}

// holdsListing reports whether a line of a text begins a listing.
func holdsListing(s string) bool {
	for line := range strings.Lines(s) {
		line = strings.TrimSpace(line)
		if saveTable.MatchString(line) || setLine.MatchString(line) ||
			nftLine.MatchString(line) || strings.HasPrefix(line, `{"nftables"`) {
			return true
		}
	}
	return false
}

// endOfTable is the offset behind the line COMMIT. Without one, the reader says so.
func endOfTable(s string, at int) int {
	for line := ""; at < len(s) && line != "COMMIT"; {
		next := endOfLine(s, at)
		line, at = strings.TrimSpace(s[at:next]), next
	}
	return at
}

// endOfLine is the offset behind a line's end.
func endOfLine(s string, at int) int {
	if i := strings.IndexByte(s[at:], '\n'); i >= 0 {
		return at + i + 1
	}
	return len(s)
}

// endOfJSON is the offset behind the object that begins in the line at an offset, and behind that
// line if nothing follows in it. One that is never closed ends with the text: its reader says so.
func endOfJSON(s string, at int) int {
	depth := 0
	for ; at < len(s); at++ {
		switch s[at] {
		case '"':
			for at++; at < len(s) && s[at] != '"'; at++ {
				if s[at] == '\\' {
					at++
				}
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth > 0 {
				continue
			}
			end := at + 1
			if i := strings.IndexByte(s[end:], '\n'); i >= 0 &&
				strings.TrimSpace(s[end:end+i]) == "" {
				end += i + 1
			}
			return end
		}
	}
	return len(s)
}

// families tells each section of iptables rules its IP version; false if nothing does.
func families(name string, text []byte, list []section, hint exposure.Family) bool {
	told, any := false, false
	for _, s := range list {
		any = any || s.format == IPTables
		told = told || s.format == IPTables && s.family != exposure.FamilyUnspec
	}
	all, ok := exposure.FamilyUnspec, false
	if !any {
		return true
	}
	if !told {
		if all, ok = xtables.FamilyOf(text); !ok {
			all = exposure.FamilyUnspec
		}
	}
	before := exposure.FamilyUnspec
	for i, s := range list {
		if s.format != IPTables {
			continue
		}
		if own, sure := xtables.FamilyOf(text[s.from:s.to]); sure {
			s.family = own
		}
		for _, other := range []exposure.Family{all, hint, familyOfName(name), before} {
			if s.family == exposure.FamilyUnspec {
				s.family = other
			}
		}
		if s.family == exposure.FamilyUnspec {
			return false
		}
		before = s.family
		list[i] = s
	}
	return told || ok || before != exposure.FamilyUnspec
}

// key is what sections of one part have in common.
type key struct {
	format  Format
	variant iptsave.Variant
}

func (s section) key(text []byte) key {
	k := key{format: s.format}
	if s.format == IPTables {
		k.variant = xtables.VariantOf(text[s.from:s.to])
		if s.family == exposure.FamilyIPv6 {
			k.format = IP6Tables
		}
	}
	return k
}

// onePart is the part of a text that holds nothing else, without a copy.
func onePart(text []byte, list []section) (part, bool) {
	k := list[0].key(text)
	at := 0
	for _, s := range list {
		if s.tableLine > 0 || s.key(text) != k || len(bytes.TrimSpace(text[at:s.from])) > 0 {
			return part{}, false
		}
		at = s.to
	}
	return part{format: k.format, variant: k.variant, text: text[:at]}, true
}

// parts puts together what belongs together; the readers find each line where it was.
func parts(text []byte, list []section) []part {
	last := list[len(list)-1]
	end := text[len(text)-1]
	unended := last.to == len(text) && end != '\n' && (last.format == IPSet ||
		last.tableLine > 0 || last.format == NFTText && end != '}')
	if p, alone := onePart(text, list); alone {
		p.unended = unended
		return []part{p}
	}
	type collected struct {
		key
		text bytes.Buffer
		line int
	}
	var out []*collected
	for _, s := range list {
		k := s.key(text)
		i := slices.IndexFunc(out, func(c *collected) bool { return c.key == k })
		if i < 0 {
			i = len(out)
			out = append(out, &collected{key: k, line: 1})
		}
		c := out[i]
		if s.tableLine > 0 && s.table != "" && s.tableLine >= c.line && s.tableLine < s.line {
			c.text.Write(bytes.Repeat([]byte("\n"), s.tableLine-c.line))
			fmt.Fprintf(&c.text, "*%s%s\n", s.table, iptsave.Listing)
			c.line = s.tableLine + 1
		}
		if n := c.text.Len(); n > 0 && c.text.Bytes()[n-1] != '\n' {
			c.text.WriteByte('\n')
		}
		c.text.Write(bytes.Repeat([]byte("\n"), max(s.line-c.line, 0)))
		c.text.Write(text[s.from:s.to])
		c.line = s.line + bytes.Count(text[s.from:s.to], []byte("\n"))
	}
	var all []part
	for _, c := range out {
		all = append(all, part{
			c.format, c.variant, c.text.Bytes(), unended && c.key == last.key(text),
		})
	}
	return all
}
