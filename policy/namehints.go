package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall/pattern"
)

// Hints for words that other programs have for networks. A hint never includes anybody whom the
// word doesn't: any6 is all of IPv6, lan is a network that only its administrator knows.

// everyoneWords are words for all sources in other firewalls.
var everyoneWords = []string{"all", "any", "anybody", "anyone", "anywhere", "everybody", "everyone",
	"everything", "*"}

// familyWord matches words for all sources of one family, as plainWord returns them.
var familyWord = pattern.New(`^(all|any|anywhere|everyone)?(ip)?v?[46]$`)

// ownWords are words for networks whose addresses only the administrator knows.
var ownWords = strings.Fields("lan local locallan localnet localnets localnetwork localsubnet " +
	"intranet internal inside home homenet subnet samenet connected trusted")

// networkWords are words for other networks, and what to write instead.
var networkWords = []struct{ words, hint string }{
	{"internet public world external outside publicinternet notprivate nonprivate", publicHint},
	{"rfc1918", "; write 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 (private has networks of " +
		"IPv6, too)"},
	{"rfc4193 ula", `; write "fc00::/7"`},
	{"rfc6598 cgnat", "; write 100.64.0.0/10"},
	{"self me myself thishost host", "; the host's own packets are never filtered: leave it out"},
}

// nobodyWords are words for an empty list.
var nobodyWords = []string{"none", "nobody", "noone", "nothing"}

const nobodyHint = "; nobody is an empty list: write []"

// publicHint says how to write all sources of the Internet. 100.64.0.0/10 is shared by providers
// (RFC 6598), so it isn't public either.
const publicHint = "; if the whole Internet is meant, that is written allow: [any] and " +
	"except: [private, 100.64.0.0/10]"

const (
	all4Hint = "; if all of IPv4 is meant, that is written 0.0.0.0/0"
	all6Hint = `; if all of IPv6 is meant, that is written "::/0"`
)

// plainWord returns a word in lower case, without what is not a letter or digit.
func plainWord(word string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, strings.ToLower(word))
}

// entryOfNetworkHint is networkHint for the entries of a network, which can't leave sources out.
func entryOfNetworkHint(name string) string {
	if hint := networkHint(name); hint != publicHint {
		return hint
	}
	return ""
}

// networkHint says what to write for an unknown network name.
func networkHint(name string) string {
	plain := plainWord(name)
	switch {
	case slices.Contains(everyoneWords, strings.ToLower(name)):
		return "; if everyone is meant, that is written any"
	case familyHint(name) != "":
		return familyHint(name)
	case wildcardCIDR(name) != "":
		return "; write " + wildcardCIDR(name)
	case slices.Contains(nobodyWords, plain):
		return nobodyHint
	case slices.Contains(ownWords, plain):
		return fmt.Sprintf("; write %s: [192.0.2.0/24] under networks, with your own prefixes",
			yamlScalar(name))
	}
	for _, w := range networkWords {
		if slices.Contains(strings.Fields(w.words), plain) {
			return w.hint
		}
	}
	return nameHint(name)
}

// exceptHint is networkHint for the name of somebody who is not to get in.
func exceptHint(name string) string {
	hint := networkHint(name)
	if hint == publicHint {
		return "; whom allow does not have is refused anyway: name in allow who may get in"
	}
	return hint
}

// familyHint says how to write all sources of one family; "" for other words.
func familyHint(name string) string {
	plain := plainWord(name)
	switch {
	case name == "0/0":
		return all4Hint
	case !familyWord.MatchString(plain):
		return ""
	case strings.HasSuffix(plain, "4"):
		return all4Hint
	}
	return all6Hint
}
