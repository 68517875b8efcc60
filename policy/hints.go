package policy

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall/address"
)

// Hints for people who know other firewalls. A hint never allows more than what was written; it
// doesn't take a word for everyone if it may be a mistyped name.

// addressHint says how to write an address or CIDR that has another form or a mistake; "" if that
// is unclear. All hints begin with a semicolon.
func addressHint(s string) string {
	trimmed := strings.TrimSpace(s)
	address, length, hasLength := strings.Cut(trimmed, "/")
	address, length = strings.TrimSpace(address), strings.TrimSpace(length)
	joined := address + "/" + length
	fields := strings.Fields(trimmed)
	inBrackets := strings.TrimSuffix(strings.TrimPrefix(trimmed, "["), "]")
	switch {
	case isPrefix(trimmed) && trimmed != s:
		return "; without the spaces around it, it is " + yamlScalar(trimmed)
	case hasLength && joined != trimmed && isPrefix(joined):
		return "; without the space it is " + yamlScalar(joined)
	case hasLength && maskHint(address, length) != "":
		return maskHint(address, length)
	case len(fields) == 2 && maskHint(fields[0], fields[1]) != "":
		return maskHint(fields[0], fields[1])
	case inBrackets != trimmed && isPrefix(inBrackets):
		return "; write " + yamlScalar(inBrackets) + " without the brackets"
	case wildcardCIDR(trimmed) != "":
		return "; write " + wildcardCIDR(trimmed)
	}
	if _, err := netip.ParseAddr(address); err == nil {
		return "" // the message about the length says enough
	}
	return numberHint(address)
}

// parseEntry is parsePrefix for an entry of a list, with hints for other things that people write
// there.
func parseEntry(s string) (netip.Prefix, error) {
	return parseHinted(s, func(s string) string { return cmp.Or(sourceHint(s), commentHint(s)) })
}

// parseSource is parsePrefix for a source in a policy.
func parseSource(s string) (netip.Prefix, error) {
	return parseHinted(s, func(s string) string { return cmp.Or(sourceHint(s), aloneHint(s)) })
}

// sourceHint says what to write for a text that should be a source.
func sourceHint(s string) string {
	return cmp.Or(addressHint(s), cidrsOfRange(s), entryHint(s))
}

// entryHint says what to write for a text that contains more than an address, or is a name.
func entryHint(s string) string {
	s = strings.TrimSpace(s)
	bare := strings.TrimSpace(strings.TrimLeft(s, "-"))
	fields := strings.Fields(s)
	several := sourcesIn(s)
	withPort, portErr := netip.ParseAddrPort(s)
	host, port, _ := strings.Cut(s, ":")
	switch {
	case strings.HasPrefix(s, "!"):
		return "; sources that are not meant stand in except"
	case isPrefix(bare) && bare != s:
		return "; leave the dash out: write " + yamlScalar(bare)
	case openRangeOf(s) != "":
		return "; a range has both ends: write " + yamlScalar(openRangeOf(s)) + " for the one " +
			"address, or the range as CIDRs"
	case len(several) > 1 && allSources(several):
		return "; write each as an entry of its own: " + yamlScalars(several)
	case len(several) == 1 && several[0] != s && isPrefix(several[0]):
		return "; write " + yamlScalar(several[0])
	case (len(fields) > 1 || s == "0/0") && familyHint(s) != "":
		return familyHint(s)
	case portErr == nil:
		return fmt.Sprintf("; write %s, and the port in port", yamlScalar(withPort.Addr().String()))
	case isHostName(host) && isDigits([]byte(port)):
		name, hint := networkElsewhere(host)
		return hint + ", " + name + " here, and the port in port"
	case strings.HasPrefix(s, "*.") && isHostName(s[2:]):
		return "; a name with * has no addresses: name the hosts"
	case isMAC(s):
		return "; a MAC address says nothing beyond the next router: name sources by address"
	case len(fields) > 1 && allSources(fields):
		return "; write each as an entry of its own: " + yamlScalars(fields)
	case ruleHint(s) != "":
		return ruleHint(s)
	}
	return nameHint(s)
}

// commentHint says where text behind an entry of a list belongs; "" if it has more addresses.
func commentHint(s string) string {
	fields := strings.Fields(s)
	isSource := func(s string) bool { return isPrefix(strings.Trim(s, "()[]<>,;")) }
	if len(fields) < 2 || !isPrefix(fields[0]) || slices.ContainsFunc(fields[1:], isSource) {
		return ""
	}
	return "; a comment stands behind #"
}

// aloneHint says to leave out what stands behind an entry of a policy, which has no comments in it.
func aloneHint(s string) string {
	if commentHint(s) == "" {
		return ""
	}
	return "; an entry is an address or CIDR alone: write " + yamlScalar(strings.Fields(s)[0])
}

// openRangeOf returns the only address of a range without its last address; "" for other texts.
func openRangeOf(s string) string {
	first, last, isRange := strings.Cut(s, "-")
	first = strings.TrimSpace(first)
	if a, err := netip.ParseAddr(first); !isRange || strings.TrimSpace(last) != "" || err != nil ||
		a.Zone() != "" || a.Is4In6() {
		return ""
	}
	return first
}

// sourceSeparators stand between or around sources in other programs.
var sourceSeparators = strings.NewReplacer(";", ",", "|", ",", "'", ",", `"`, ",", "{", ",",
	"}", ",", " and ", ",", " or ", ",")

// sourcesIn splits a text at what separates sources in other programs, and removes quotes.
func sourcesIn(s string) (parts []string) {
	for _, part := range splitTrimmed(sourceSeparators.Replace(s)) {
		if part != "" {
			parts = append(parts, part)
		}
	}
	return parts
}

// sourceWords are keys and words for sources, which stand before an address in other programs.
var sourceWords = strings.Fields("address addr allow accept cidr from host ip ip4 ip6 net " +
	"network permit prefix range saddr source src subnet")

// ruleHint says what to write for an address with a word of a rule before or behind it:
// from 192.0.2.1, source=192.0.2.1, 192.0.2.1 REJECT. It offers nobody whom the rule may refuse.
func ruleHint(s string) string {
	isEnd := func(r rune) bool { return strings.ContainsRune(" \t:=", r) }
	end := strings.IndexFunc(s, isEnd)
	if end < 0 {
		return ""
	}
	word, rest := strings.ToLower(s[:end]), strings.TrimLeftFunc(s[end:], isEnd)
	if isPrefix(word) {
		behind := strings.Fields(strings.ToLower(rest))
		if len(behind) == 0 {
			return ""
		}
		if refuses(behind[0]) {
			return "; an entry is an address alone; whom to refuse stands in except"
		}
		if slices.Contains([]string{"timeout", "expires"}, behind[0]) {
			return "; an entry that ends stands in allow, with expires"
		}
		return ""
	}
	if refuses(word) {
		return "; an entry is an address alone; whom to refuse stands in except"
	}
	if slices.Contains(sourceWords, word) && isPrefix(rest) {
		return "; write " + yamlScalar(rest)
	}
	return ""
}

// refuses reports whether a word of another firewall says that packets don't get in.
func refuses(word string) bool {
	verdict := verdicts[strings.TrimRight(word, ";,.")]
	return verdict != "" && verdict != "allow" || word == "nomatch" || word == "not"
}

// numberHint says what is wrong with the numbers of an IPv4 address.
func numberHint(s string) string {
	numeric := strings.Trim(s, "0123456789.") == ""
	switch {
	case strings.Count(s, ".") == 3 && numeric:
		for part := range strings.SplitSeq(s, ".") {
			if len(part) > 1 && part[0] == '0' {
				return "; write its numbers without leading zeros"
			}
		}
		return "; each of its four numbers is 0 to 255"
	case strings.Count(s, ".") > 0 && strings.Count(s, ".") < 3 && numeric:
		return "; write all four numbers"
	}
	return ""
}

// isPrefix reports whether a text is a valid address or CIDR.
func isPrefix(s string) bool {
	addrText, _, _ := strings.Cut(s, "/")
	if _, err := netip.ParseAddr(addrText); err != nil {
		return false // parsePrefix would call the hints again
	}
	_, err := parseCIDR(s)
	return err == nil
}

// allSources reports whether all texts are addresses or CIDRs, and none a mask, or the inverse of
// one: a mask belongs to the address before it.
func allSources(parts []string) bool {
	return !slices.ContainsFunc(parts, func(s string) bool { return !isPrefix(s) || isMask(s) })
}

func isMask(s string) bool {
	a, err := netip.ParseAddr(s)
	if err != nil || !a.Is4() {
		return false
	}
	_, ok := maskBits(a)
	return ok || a.As4()[0] == 0
}

// splitTrimmed splits a text at commas and trims the parts.
func splitTrimmed(s string) (parts []string) {
	for part := range strings.SplitSeq(s, ",") {
		parts = append(parts, strings.TrimSpace(part))
	}
	return parts
}

// minMaskBits is the least length of a mask in a hint: 128.0.0.0 may as well be an address, and
// 0.0.0.0 would be everyone.
const minMaskBits = 8

// maskHint returns the CIDR for an address and its mask, in bits or as an address; "" if there is
// none.
func maskHint(address, mask string) string {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return ""
	}
	if m, err := netip.ParseAddr(mask); err == nil {
		bits, ok := maskBits(m)
		if !ok && m.Is4() {
			bits, ok = maskBits(inverseMask(m)) // as routers write it
		}
		if !ok || m.BitLen() != a.BitLen() || bits < minMaskBits {
			return ""
		}
		mask = fmt.Sprint(bits)
		if whole := netip.PrefixFrom(a, bits).Masked(); whole.Addr() != a {
			return fmt.Sprintf("; write %s for the network, or %s for the one address",
				yamlScalar(whole.String()), yamlScalar(a.String()))
		}
	}
	cidr := address + "/" + mask
	if !isPrefix(cidr) {
		return ""
	}
	return "; write " + yamlScalar(cidr)
}

// maskBits counts the leading ones of a mask. ok is false if the mask has other ones.
func maskBits(mask netip.Addr) (bits int, ok bool) {
	for i, b := range mask.AsSlice() {
		for j := range 8 {
			switch one := b>>(7-j)&1 == 1; {
			case one && bits == 8*i+j:
				bits++
			case one:
				return 0, false
			}
		}
	}
	return bits, true
}

// inverseMask returns an IPv4 mask with each bit inverted: 255.0.0.0 for 0.255.255.255.
func inverseMask(mask netip.Addr) netip.Addr {
	return (^address.V4Of(mask)).IP()
}

// wildcardCIDR returns the CIDR of a text such as 192.0.2.* or 192.0.2.x; "" if it has another
// form.
func wildcardCIDR(s string) string {
	parts := strings.Split(s, ".")
	isAny := func(part string) bool {
		return part == "*" || len(parts) == 4 && part != "" && len(part) <= 3 &&
			strings.Trim(part, "xX") == ""
	}
	known := slices.IndexFunc(parts, isAny)
	if known < 1 || len(parts) > 4 {
		return ""
	}
	for _, part := range parts[known:] {
		if !isAny(part) {
			return ""
		}
	}
	numbers := append(slices.Clone(parts[:known]), "0", "0", "0")[:4]
	cidr := fmt.Sprintf("%s/%d", strings.Join(numbers, "."), 8*known)
	if !isPrefix(cidr) {
		return ""
	}
	return cidr
}

func isMAC(s string) bool {
	_, err := net.ParseMAC(s)
	return err == nil
}

// suggestNetwork returns " (did you mean "x"?)" for the network whose name was mistyped, or "". It
// never suggests any, nor a network that has everyone in it.
func (d *decoder) suggestNetwork(name string) string {
	if len(d.report.list) > maxProblems {
		return ""
	}
	return didYouMean(name, d.policy.networksLike(name))
}

// mistyped reports whether a name may be a typing error for another. It may not if they differ in a
// digit, or are short and differ in a letter: lan and wan are two networks.
func mistyped(name, other string) bool {
	digits := func(r rune) rune {
		if r >= '0' && r <= '9' {
			return r
		}
		return -1
	}
	if strings.EqualFold(name, other) {
		return true
	}
	if strings.Map(digits, name) != strings.Map(digits, other) {
		return false
	}
	distance := editDistance(strings.ToLower(name), strings.ToLower(other))
	shorter := min(len(name), len(other))
	swapped := len(name) == len(other) &&
		strings.Trim(name, other) == "" && strings.Trim(other, name) == ""
	return distance == 1 && (shorter >= 4 || swapped) || distance == 2 && shorter >= 7
}

// rateUnits are the units of rates in other firewalls.
var rateUnits = map[string]string{
	"s": "second", "sec": "second", "m": "minute", "min": "minute", "h": "hour", "hr": "hour",
	"d": "day",
}

// rateHint says how to write a rate of iptables or nft.
func rateHint(text string) string {
	count, unit, _ := strings.Cut(text, "/")
	if long, known := rateUnits[unit]; known {
		unit = long
	}
	if rate := count + "/" + unit; rate != text && ratePattern.MatchString(rate) {
		return "; write " + rate
	}
	return ""
}

// rateScalar says what to write for a rate that is a single text.
func rateScalar(text string) string {
	if hint := rateHint(text); hint != "" {
		text = strings.TrimPrefix(hint, "; write ")
	}
	if !ratePattern.MatchString(text) {
		return ""
	}
	return "; write {per_source: " + text + "}"
}

// interfaceHint says how to write several interfaces.
func interfaceHint(text string) string {
	if !strings.Contains(text, ",") {
		return ""
	}
	return "; write [" + yamlScalars(splitTrimmed(text)) + "]"
}

// verdicts are words of other firewalls for what becomes of a packet.
var verdicts = map[string]string{
	"accept": "allow", "allow": "allow", "open": "allow", "pass": "allow", "permit": "allow",
	"block": "drop", "blocked": "drop", "closed": "drop", "denied": "drop", "deny": "drop",
	"drop": "drop", "dropped": "drop", "refuse": "drop", "refused": "drop",
	"reject": "reject", "rejected": "reject",
}

// unlistedHint says what to write for a verdict in unlisted.
func unlistedHint(text string) string {
	switch verdict := verdicts[strings.ToLower(text)]; {
	case strings.EqualFold(text, "deny"), verdict == "":
		return ""
	case verdict == "allow":
		return "; with ignore, portgrave leaves unlisted ports alone, and lets nothing in that " +
			"others refuse"
	default:
		return "; write unlisted: deny and refuse: " + verdict
	}
}

// expectHint says what to write for a verdict in a test.
func expectHint(text string) string {
	switch verdicts[strings.ToLower(text)] {
	case "":
		return ""
	case "allow":
		return "; write allow"
	default:
		return "; write deny"
	}
}
