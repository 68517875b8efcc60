package policy

import (
	"fmt"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall/pattern"
)

// Hints for sources that a policy can't have as an entry: ranges, host names, files, URLs. What a
// hint offers passes check when it is pasted where the hint says.

// maxHintedCIDRs bounds the entries in a hint.
const maxHintedCIDRs = 8

// cidrsOfRange says which CIDRs cover a range; "" if the text isn't one. Policies accept ranges
// only in network files.
func cidrsOfRange(s string) string {
	from, to, reversed, ok := hintedRange(s)
	if !ok {
		return ""
	}
	how := "write a range as CIDRs"
	if reversed {
		how = "the range is reversed: write it as CIDRs"
	}
	cidrs := rangeCIDRs(from, to)
	if len(cidrs) > maxHintedCIDRs {
		return fmt.Sprintf("; %s, or as %s-%s into a network file, which takes ranges",
			how, from, to)
	}
	return "; " + how + ": " + yamlScalars(cidrs)
}

// rangeSigns stand between the ends of a range in other programs.
var rangeSigns = pattern.New(`–|—|\.\.+| +(to|through|thru|till|until|bis) +`)

// hintedRange reads a range as people write it: with spaces or a long dash, in the short form
// 192.0.2.10-20, or reversed.
func hintedRange(s string) (from, to netip.Addr, reversed, ok bool) {
	first, last, isRange := strings.Cut(rangeSigns.Regexp().ReplaceAllString(s, "-"), "-")
	first, last = strings.TrimSpace(first), strings.TrimSpace(last)
	if dot := strings.LastIndexByte(first, '.'); dot > 0 && isDigits([]byte(last)) {
		last = first[:dot+1] + last
	}
	from, errFrom := netip.ParseAddr(first)
	to, errTo := netip.ParseAddr(last)
	if !isRange || errFrom != nil || errTo != nil || from.Is4() != to.Is4() ||
		from.Is4In6() || to.Is4In6() || from.Zone() != "" || to.Zone() != "" {
		return from, to, false, false
	}
	if to.Less(from) {
		return to, from, true, true
	}
	return from, to, false, true
}

// localHint says how to write addresses of this host, which are no ranges and no CIDRs.
func localHint(s string) string {
	if hint := addressHint(s); hint != "" {
		return hint
	}
	if slices.Contains(everyoneWords, strings.ToLower(s)) {
		return "; for every address of this host, leave addresses out"
	}
	from, to, _, ok := hintedRange(s)
	var all []string
	for a := from; ok && len(all) <= maxHintedCIDRs; a = a.Next() {
		if all = append(all, a.String()); a == to {
			return "; write each address: " + yamlScalars(all)
		}
	}
	return ""
}

// testSourceHint says how to write the one source of a test.
func testSourceHint(s string) string {
	if hint := addressHint(s); hint != "" {
		return hint
	}
	from, to, _, ok := hintedRange(s)
	switch {
	case !ok && namePattern.MatchString(s) && !looksLikeAddress(s):
		return "; a test has one address or CIDR: write one of those that " + s + " stands for"
	case !ok:
		return ""
	}
	if cidrs := rangeCIDRs(from, to); len(cidrs) == 1 {
		return "; write " + yamlScalar(cidrs[0])
	}
	return "; a test has one address or CIDR: write " + yamlScalar(from.String())
}

// nameHint says what to write for a name of hosts, or of a list.
func nameHint(name string) string {
	switch lower := strings.ToLower(name); {
	case lower == "localhost":
		return "; loopback is never filtered: leave it out"
	case strings.HasPrefix(lower, "sg-"):
		return "; a security group is a list of hosts: write their addresses"
	}
	_, hint := networkElsewhere(name)
	return hint
}

// Lists that live elsewhere, by the key of a network that reads them.
var elsewhere = map[string]string{
	"dns":  "a host name is a network of its own",
	"file": "a list in a file is a network of its own",
	"url":  "a list at a URL is a network of its own",
}

// networkElsewhere returns the name of a network for a host name, a file or a URL, and a hint that
// says how to define it; both are "" for other texts.
func networkElsewhere(text string) (name, hint string) {
	key := keyElsewhere(text)
	if key == "" {
		if strings.Contains(text, "://") {
			return "", "; " + elsewhere["url"] + ", and has to be https://"
		}
		return "", ""
	}
	name = networkName(key, text)
	hint = fmt.Sprintf("; %s: write %s: {%s: %s} under networks", elsewhere[key], name, key,
		yamlScalar(text))
	if name != text {
		hint += ", and " + name + " here"
	}
	return name, hint
}

// keyElsewhere is the key of a network that would read what a text names; "" if none would.
func keyElsewhere(text string) string {
	switch {
	case httpsPattern.MatchString(text):
		return "url"
	case strings.HasPrefix(text, "//"): // a comment of other languages
		return ""
	case strings.HasPrefix(text, "/") && !isPrefix(text), strings.HasPrefix(text, "./"),
		filePattern.MatchString(text):
		return "file"
	case isHostName(text):
		return "dns"
	}
	return ""
}

// filePattern matches names of files that are no host names: their endings are no domains.
var filePattern = pattern.New(
	`^[\w./-]*[\w-]\.(txt|csv|tsv|json|jsonl|list|lst|conf|netset|ipset|gz)$`)

// networkName is a name for a network that reads a host name, a file or a URL.
func networkName(key, text string) string {
	name := text
	switch u, err := url.Parse(text); {
	case key == "file":
		name = strings.TrimSuffix(filepath.Base(text), filepath.Ext(text))
	case key == "url" && err == nil:
		name = u.Hostname()
	}
	name = strings.TrimSuffix(name, ".")
	if _, taken := builtIn[name]; taken || looksLikeAddress(name) ||
		!namePattern.MatchString(name) ||
		yamlScalar(name) != name {
		return "list"
	}
	return name
}

const bracketsHint = "; write a list, in brackets"

// isNetworkWord reports whether a text may be the name of a network, or is a word for everyone.
func isNetworkWord(text string) bool {
	return text == "*" || namePattern.MatchString(text) && !looksLikeAddress(text) &&
		!slices.Contains(nonTextWords, strings.ToLower(text))
}

// sourcesScalar says which list to write for a text in place of a list of sources.
func sourcesScalar(text string) string {
	if slices.Contains(nobodyWords, plainWord(text)) {
		return nobodyHint
	}
	var entries []string
	hints := ""
	parts := splitTrimmed(text)
	for _, part := range parts {
		from, to, _, isRange := hintedRange(part)
		name, hint := networkElsewhere(part)
		_, known := builtIn[part]
		switch {
		case isPrefix(part):
			entries = append(entries, yamlScalar(part))
		case wildcardCIDR(part) != "":
			entries = append(entries, wildcardCIDR(part))
		case isRange && len(rangeCIDRs(from, to)) <= maxHintedCIDRs:
			entries = append(entries, yamlScalars(rangeCIDRs(from, to)))
		case name != "":
			entries, hints = append(entries, name), hints+hint
		case !isNetworkWord(part):
			return bracketsHint
		case slices.Contains(ownWords, plainWord(part)):
			entries, hints = append(entries, yamlScalar(part)), hints+networkHint(part)
		case !known && len(parts) == 1 && networkHint(part) == publicHint:
			return bracketsHint // the list may be except, where the hint is another one
		case !known && len(parts) == 1 && networkHint(part) != "":
			return bracketsHint + networkHint(part)
		case !known && networkHint(part) != "":
			return bracketsHint
		default:
			entries = append(entries, yamlScalar(part))
		}
	}
	return "; write [" + strings.Join(slices.Compact(entries), ", ") + "]" + hints
}

// sourcesMapping says which list to write for a mapping in place of a list of sources, such as
// {ip: 192.0.2.1}; "" if it may mean something else.
func sourcesMapping(n *node) string {
	var all []string
	for _, f := range n.fields {
		texts, ok := sourceTexts(f.value)
		if !ok || f.key == "cidr" || lookUpKeyHint(entryKeyHints[:1], f.key) == "" {
			return ""
		}
		all = append(all, texts...)
	}
	if len(all) == 0 {
		return ""
	}
	return "; write [" + yamlScalars(all) + "]"
}

// sourceMapping says what to write for a mapping in place of one source; "" if that is unclear.
func sourceMapping(n *node) string {
	if len(n.fields) != 1 {
		return ""
	}
	f := n.fields[0]
	texts, ok := sourceTexts(f.value)
	switch {
	case ok && (f.key == "cidr" || lookUpKeyHint(entryKeyHints[:1], f.key) != ""):
		return "; write " + yamlScalars(texts)
	case f.value.kind == kindNull && isPrefix(f.key):
		return "; write " + yamlScalar(f.key) + " without the braces"
	}
	if _, known := elsewhere[f.key]; known {
		return "; " + entryKeyHint(n, f)
	}
	return ""
}

// namedNetworks says how to give a name to sources in place of all networks.
func namedNetworks(n *node) string {
	if texts, ok := sourceTexts(n); ok {
		return "; give them a name: {office: [" + yamlScalars(texts) + "]}"
	}
	return ""
}

// networkScalar says what to write for a network that is a single text.
func networkScalar(text string) string {
	if key := keyElsewhere(text); key != "" {
		return fmt.Sprintf("; write {%s: %s}", key, yamlScalar(text))
	}
	return sourcesScalar(text)
}

// yamlScalars is a list of texts, as entries of a list in a policy.
func yamlScalars(texts []string) string {
	out := make([]string, len(texts))
	for i, t := range texts {
		out[i] = yamlScalar(t)
	}
	return strings.Join(out, ", ")
}

// isHostName reports whether a text can only be a host name: labels, and a letter in the last one.
func isHostName(s string) bool {
	i := strings.LastIndexByte(strings.TrimSuffix(s, "."), '.')
	return i > 0 && hostPattern.MatchString(s) && wildcardCIDR(s) == "" &&
		strings.Trim(s[:i], "0123456789.") != "" && strings.Trim(s[i:], "0123456789.") != ""
}
