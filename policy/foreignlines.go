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

// Lines of other programs in lists. A line that isn't an entry is reported with the program that
// writes such lines, and what to write; once for each message, whatever number of lines it is
// about. No command that a message offers reads more than the program has let in: what it can't
// convert, it leaves as it is, and the list is refused again.

// lineFormat is a form of lines that isn't read.
type lineFormat struct {
	line *pattern.Pattern
	// message returns what the line is and what to write; parts are what line has captured.
	message func(parts []string) string
	once    bool // one message is for all lines of the format, whatever they have captured
}

// always returns one message for all lines of a format.
func always(message string) func([]string) string {
	return func([]string) string { return message }
}

const rulesMessage = "this is a line of rules, and a list has sources alone: portgrave import " +
	"makes a policy of the rules in force, portgrave audit --ruleset reads a dump of them"

// lineFormats are tried in this order.
var lineFormats = []lineFormat{
	{
		line: pattern.New(`^(//|/\*|\*/|--( |$))`),
		message: always("comments begin with # or ;: where lines begin with //, this changes " +
			`them: sed 's|^[[:space:]]*//|#|'`),
	},
	{
		line: pattern.New(`^(<{7}|>{7}|\|{7})( |$)|^={7}$`),
		message: always("this is a conflict that git merge left in the file: decide for one side " +
			"and delete these lines"),
	},
	{
		line: pattern.New(`^table <([\w.-]+)>`),
		message: func(parts []string) string {
			return "this is a line of pf.conf, which is not read: write the addresses of the " +
				"table alone, one a line: pfctl -t " + parts[1] + " -T show"
		},
	},
	{
		line: pattern.New(`^(define|redefine) \S+ *=`),
		message: always("this is a definition of nftables, which is not read: write the elements " +
			"of the one that is meant alone, one a line"),
	},
	{
		line: pattern.New(`^acl +\S+`),
		message: always("this is a line of an access list of Squid, HAProxy or BIND, which is not " +
			"read: write the addresses of the one that is meant alone, one a line"),
	},
	{
		line:    pattern.New(`^access-control(-view)?: `),
		message: always(unboundMessage),
	},
	{
		line: pattern.New(`^((unreachable|blackhole|prohibit|throw|unicast|local|broadcast) )?` +
			`(default|[\da-fA-F.:]+(/\d+)?) (via|dev|proto|metric|scope|table) `),
		message: always(routeMessage),
	},
	{
		line: pattern.New(`^(\[\d+:\d+\] )?-[AIDPN] |^\*[a-z]+$|^:[A-Z]\S* \S+ \[|^COMMIT$|` +
			`^(sudo )?(/\S*/)?(ip6?tables|ebtables|ufw|firewall-cmd)\b|^Status: (in)?active$|` +
			`^To +Action +From|^-- +-+ +-+|^\S.* (ALLOW|DENY|REJECT|LIMIT)( IN| OUT)? ` +
			`+(Anywhere|[\da-f.:]+)`),
		message: always(rulesMessage),
	},
	{
		line: pattern.New(`^(add|create|insert|flush|delete) ` +
			`(element|rule|set|map|table|chain)\b|` +
			`^(table|chain|set|map) .*\{$|^(type|flags|policy) .*;?$|` +
			`^elements = |^auto-merge$|^\}$`),
		message: always("this is a line of nftables, which is not read: write the elements of " +
			"the set alone, one a line: " + `nft list set FAMILY TABLE SET | tr -d ' \t\n' | ` +
			`sed 's/.*elements={//; s/}.*//' | tr , '\n'`),
	},
	{
		line: pattern.New(`^/ipv?6? ?firewall|^add .*\b(address|list)=`),
		message: always("this is a line of RouterOS, which is not read: write the addresses of " +
			"one list alone, one a line"),
	},
	{
		line:    pattern.New(`^create (?:-exist )?(\S+) ([a-z]+:[a-z,]+)`),
		message: func(parts []string) string { return ipsetMessage(parts[1], parts[2]) },
	},
	{
		line: pattern.New(`^add (?:-exist )?(\S+) (\S+)( .*)?$`),
		message: func(parts []string) string {
			return elementMessage(parts[1], parts[2], strings.Fields(parts[3]))
		},
	},
	{
		line: pattern.New(`^(Name|Type|Revision|Header|Size in memory|References|Number of ` +
			`entries|Members):`),
		message: always("this is a line of ipset list, which is not read: write the members " +
			"alone: sed '1,/^Members:/d'"),
	},
	{
		line:    pattern.New(`^(allow|deny)\s+[^;]+;`),
		message: always(nginxMessage),
	},
	{
		line: pattern.New(`^((?i)require (not |ip |host |all |local)|order (allow|deny)|` +
			`(allow|deny) from )`),
		message: always("this is a line of Apache httpd, which is not read: write the addresses " +
			"of Require ip and Allow from alone, one a line: " +
			`sed -nE 's/^ *(Require ip|Allow from) +//Ip' | tr ' ' '\n'; those of Deny from and ` +
			"Require not stand in except"),
	},
	{
		line:    pattern.New(`^(?i)(route6?): `),
		message: func(parts []string) string { return whoisMessage(strings.ToLower(parts[1])) },
	},
	{
		line: pattern.New(`^%|^(?i)(inet6?num|netrange|cidr|netname|nethandle|nettype|` +
			`origin(as)?|descr|country|org(anisation|name|id)?|admin-c|tech-c|abuse-c|` +
			`status|mnt-by|created|last-modified|regdate|updated): `),
		message: always(whoisMessage("(inet6?num|NetRange)")),
	},
	{
		line:    pattern.New(`^.+:\d+(\.\d+){3} *- *\d+(\.\d+){3}$`),
		message: always("a name stands before the range: delete the names: sed 's/.*://'"),
	},
	{
		line: pattern.New(`^[a-z]+\|[A-Z]*\|(ipv4|ipv6|asn)\||^2(\.\d)?\|[a-z]+\|`),
		message: always("this is a registry's list of delegations, in which a number of " +
			"addresses stands behind the first one: write each as FIRST-LAST or as CIDRs, one a " +
			"line"),
	},
	{
		line:    pattern.New(`^(- )?([\w-]+): +['"]?[\da-fA-F:.]+(/\d+)?['"]?$`),
		message: func(parts []string) string { return keyMessage(parts[1] + parts[2]) },
	},
	{
		line:    pattern.New(`^[A-Za-z][\w.@, -]*: *(\[|\d+\.|ALL\b|LOCAL\b)`),
		message: always(hostsMessage),
	},
	{
		line:    pattern.New(`^([A-Za-z_][\w.]* *:?= *)?[\[({] *(['"]|$)|^[A-Za-z_]\w*=["'(]`),
		message: always(literalMessage),
	},
	{
		line:    pattern.New(`^[\w-]+:$|^- ['"]|^---$`),
		message: always(yamlMessage),
	},
	{
		line:    pattern.New(`^"?(\d{1,39})"?[,;\t]\s*"?(\d{1,39})"?([,;\t]|$)`),
		message: func(parts []string) string { return numbersMessage(parts[1], parts[2]) },
		once:    true,
	},
}

const yamlMessage = "this is YAML, which is not read: write the entries of the list that is " +
	"meant alone, one a line"

// nginxMessage offers a command that drops comments first: they may have directives. Directives end
// at semicolons, not at line ends.
const nginxMessage = "this is a line of nginx, which is not read: write the addresses of allow " +
	"alone, one a line: " + `sed 's/#.*//' | tr '\n\t{;}' '  [\n*]' | sed -n 's/^ *allow  *//p'; ` +
	"those of deny stand in except"

const unboundMessage = "this is a line of unbound, which is not read: write the addresses of " +
	"allow alone, one a line: sed -nE 's/^[[:space:]]*access-control:[[:space:]]*" +
	`([^[:space:]]+)[[:space:]]+allow[[:space:]]*(#.*)?$/\1/p'; those of deny and refuse stand ` +
	"in except"

const routeMessage = "this is a line of ip route, which is not read: write the destinations " +
	"alone, one a line: sed -E 's/ (via|dev|proto|metric|scope|table) .*//'"

const literalMessage = "this is a list in a programming language, such as Python, which is not " +
	"read: write the entries of the list that is meant alone, one a line"

const hostsMessage = "this is a line of hosts.allow or hosts.deny, which is not read: write the " +
	"addresses of hosts.allow alone, one a line and as CIDRs; those of hosts.deny stand in except"

func whoisMessage(keys string) string {
	return "this is a line of whois, which is not read: write its ranges alone, one a line: " +
		"sed -nE 's/^" + keys + ": *//p'"
}

// keyMessage is about a key with an address; "" if others than sources may have that key.
func keyMessage(key string) string {
	word := strings.TrimPrefix(key, "- ")
	if refuses(strings.ToLower(word)) {
		return "the key " + word + " stands before the address: whom to refuse stands in except"
	}
	if lookUpKeyHint(networkKeyHints[:1], word) == "" {
		return ""
	}
	return fmt.Sprintf("the key %s stands before the address: write the addresses that are meant "+
		"alone, one a line", key)
}

// ipsetMessage is about the line of ipset save that makes a set.
func ipsetMessage(set, kind string) string {
	switch kind {
	case "hash:ip", "hash:net", "bitmap:ip":
		return elementsMessage(set)
	}
	return fmt.Sprintf("this is a line of ipset save, and the elements of %s, a %s, are not "+
		"addresses alone: a list has addresses, CIDRs and ranges", set, kind)
}

// elementsMessage says how to write the elements of an ipset. The command removes their comments
// and counters. Elements that end and exceptions remain as they are.
func elementsMessage(set string) string {
	const message = "this is a line of ipset save, which is not read: write the elements alone, " +
		"one a line: "
	if strings.Trim(set, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") != "" {
		return strings.TrimSuffix(message, ": ") // the name may mean something to a shell or to sed
	}
	return message + "ipset save " + set + " | sed -E '/^add /!d; / nomatch| timeout [1-9]/!" +
		"s/^add " + set + ` ([^ ,]+)( .*)?$/\1/'`
}

// elementMessage is about an element of an ipset with its options.
func elementMessage(set, element string, options []string) string {
	switch {
	case strings.Contains(element, ","):
		return fmt.Sprintf("this is a line of ipset save, and the elements of %s are not "+
			"addresses "+
			"alone: a list has addresses, CIDRs and ranges", set)
	case slices.Contains(options, "nomatch"):
		return fmt.Sprintf("this is an exception of the set %s (nomatch): write it into except",
			set)
	case ends(options):
		return fmt.Sprintf("this is an element of the set %s that ends (timeout): write it into "+
			"allow with expires, or let it end and delete the line, since a list has no end", set)
	}
	return elementsMessage(set)
}

// ends reports whether an element of an ipset has a timeout. A timeout of 0 never ends.
func ends(options []string) bool {
	i := slices.Index(options, "timeout")
	return i >= 0 && i+1 < len(options) && options[i+1] != "0"
}

// numbersMessage is about the ends of a range as numbers; "" if they can't be.
func numbersMessage(first, last string) string {
	from, okFrom := numberAddress(first)
	to, okTo := numberAddress(last)
	// Small numbers are rather lengths, counts or identifiers.
	if !okFrom || !okTo || to.Less(from) || to.As4()[0] == 0 {
		return ""
	}
	return fmt.Sprintf("%s and %s are numbers: if they are the ends of a range, it is %s-%s, and "+
		`this writes such ranges: tr -d '"' | awk -F'[,;\t]' 'function a(n) {return `+
		`int(n/16777216) "." int(n/65536)%%256 "." int(n/256)%%256 "." n%%256} `+
		`$1$2 ~ /^[0-9]+$/ {print a($1) "-" a($2)}'`, first, last, from, to)
}

// numberAddress returns the IPv4 address that a number stands for.
func numberAddress(text string) (netip.Addr, bool) {
	n, err := strconv.ParseUint(text, 10, 32)
	return address.V4(n).IP(), err == nil
}

// maxForeignText bounds the bytes of refused lines that are compared with all formats: each of them
// reads a line from end to end, and a list may be 10 MiB of lines that match none.
const maxForeignText = 256 << 10

// maxForeignLine is the most bytes of a line that are looked at. How a line begins says what it is.
const maxForeignLine = 512

// foreignMessage says which program's line this is; "" if that is unknown. Lines with the same key
// are about the same. It tries the format of the line before first, as lists have long runs of one.
func (l *listing) foreignMessage(line []byte) (message, key string) {
	if l.report.count() >= maxProblems {
		return "", "" // nobody reads that many
	}
	line = bytes.TrimSpace(line)
	text := string(line[:min(len(line), maxForeignLine)])
	if l.lastFormat != nil && strings.Trim(text, "])},; ") == "" {
		return l.lastMessage, l.lastKey // it closes what that line began
	}
	if len(line) > maxForeignLine {
		text += "\x00" // a format that wants the end of the line must not find it here
	}
	if l.lastFormat != nil {
		if message, key = l.lastFormat.of(text); message != "" {
			l.lastMessage, l.lastKey = message, key
			return message, key
		}
	}
	if l.foreignText += len(text); l.foreignText > maxForeignText {
		return "", ""
	}
	for i := range lineFormats {
		f := &lineFormats[i]
		if message, key = f.of(text); message != "" {
			l.lastFormat, l.lastMessage, l.lastKey = f, message, key
			return message, key
		}
	}
	return "", ""
}

// of is the message about a line, and its key, if it has the format; "" otherwise.
func (f *lineFormat) of(text string) (message, key string) {
	parts := f.line.Regexp().FindStringSubmatch(text)
	if parts == nil {
		return "", ""
	}
	message = f.message(parts)
	if f.once && message != "" {
		return message, f.line.String()
	}
	return message, message
}
