package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/iana"
)

// portHint says what to write instead of a text that is not a port or range; "" if that is unclear.
// A policy accepts numbers only, so that no file of the host decides what is open; the name of a
// port only leads to a hint.
func portHint(text string) string {
	lower := strings.ToLower(strings.TrimSpace(text))
	known, udp, named := iana.Known(lower)
	ranged := normalizeRange(lower)
	fields := splitAny(lower, " ")
	switch {
	case strings.Contains(lower, "icmp"):
		return "; ICMP has no ports: write protocol: ping, without port, for echo requests"
	case slices.Contains(firewall.PortlessNames(), lower):
		return "; " + lower + " has no ports: write protocol: " + lower + ", without port"
	case slices.Contains(portProtocolNames(), lower):
		return "; write protocol: " + lower + ", and its ports in port"
	case named && udp:
		return fmt.Sprintf("; write %s, and protocol: udp", quotedRange(known))
	case named:
		return "; write " + quotedRange(known)
	case slices.Contains(everyoneWords, lower):
		return `; every port is written "1-65535"`
	case portPattern.MatchString(ranged):
		return "; write " + quotedRange(ranged)
	case openRangeHint(lower) != "":
		return openRangeHint(lower)
	case boundAddressHint(lower) != "":
		return boundAddressHint(lower)
	case strings.HasPrefix(lower, "!"):
		return "; ports can't be excluded: write those that are meant"
	case len(fields) == 2 && slices.ContainsFunc(fields, isPortProtocol):
		return portListHint([]string{strings.Join(fields, "/")})
	}
	list := splitAny(strings.ReplaceAll(lower, " and ", ","), portSeparators)
	slashes := splitAny(lower, "/")
	switch {
	case len(list) > 1 || strings.ContainsAny(lower, portSeparators):
		return portListHint(list)
	case len(slashes) > 1 && !slices.ContainsFunc(slashes, func(s string) bool {
		return !portPattern.MatchString(normalizeRange(s))
	}):
		return portListHint(slashes)
	case strings.ContainsAny(lower, "/:"):
		return portListHint([]string{lower})
	}
	return ""
}

// testPortHint says how to write the one port of a test.
func testPortHint(n *node) string {
	if n.kind == kindList && len(n.items) > 1 && isPort(n.items[0].text) {
		return "; a test has one port: write " + n.items[0].text
	}
	text := strings.ToLower(strings.TrimSpace(n.text))
	if n.kind != kindString || text == "" {
		return ""
	}
	hint := portHint(text)
	one := strings.FieldsFunc(text, func(r rune) bool { return r < '0' || r > '9' })
	switch {
	case strings.Trim(text, "0123456789-.–:"+portSeparators) != "":
		if strings.ContainsAny(hint, "[-") || strings.Contains(hint, "addresses") ||
			strings.Contains(hint, "a service") {
			return "" // it is about a service
		}
		return hint
	case len(one) > 0 && isPort(one[0]):
		return "; a test has one port: write " + one[0]
	}
	return ""
}

// portSeparators stand between ports, or around them, in other programs.
const portSeparators = ",; |&+[]{}()"

// openRangeHint says how to write a range that lacks an end, or has port 0 for one. Where the range
// may also be a mistyped port, it offers the port and no range.
func openRangeHint(text string) string {
	ranged := normalizeRange(text)
	first, last, isRange := strings.Cut(ranged, "-")
	switch {
	case isRange && last == "" && isPort(first):
		return "; a range has both ends: write " + first + " for the one port, or its last port, " +
			"too"
	case isRange && first == "" && isPort(last):
		return "; a range has both ends: write " + last + " for the one port, or its first port, " +
			"too"
	case isRange && first == "0" && isPort(last):
		return "; there is no port 0: write " + quotedRange("1-"+last)
	}
	number := strings.TrimLeft(text, "<>= ")
	limit := strings.TrimSpace(strings.TrimSuffix(text, number))
	if least, plus := strings.CutSuffix(number, "+"); plus && limit == "" {
		number, limit = strings.TrimSpace(least), "+"
	}
	port, err := strconv.Atoi(number)
	if err != nil || !isPort(number) {
		return ""
	}
	from, to := 1, 65535
	switch limit {
	case ">=", "+":
		from = port
	case ">":
		from = port + 1
	case "<=":
		to = port
	case "<":
		to = port - 1
	}
	if limit == "" || limit == "=" || from > to || from == 1 && to == 65535 {
		return ""
	}
	return fmt.Sprintf("; write %q", fmt.Sprintf("%d-%d", from, to))
}

// isPort reports whether a text is one port.
func isPort(text string) bool {
	return portPattern.MatchString(text) && !strings.Contains(text, "-")
}

// boundAddressHint says what to write for a port with the address that a program listens on.
func boundAddressHint(text string) string {
	if port, every := strings.CutPrefix(text, "*:"); every && isPort(port) {
		return "; write " + port
	}
	hint := boundHint(text)
	if hint == "" {
		return ""
	}
	return "; " + hint
}

// splitAny splits a text at any of the separators.
func splitAny(text, separators string) []string {
	isSeparator := func(r rune) bool { return strings.ContainsRune(separators, r) }
	return strings.FieldsFunc(text, isSeparator)
}

// withoutBrackets removes the brackets from a hint, for an entry that is in a list already.
func withoutBrackets(hint string) string {
	return strings.NewReplacer("[", "", "]", "").Replace(hint)
}

// normalizeRange returns a range as a policy writes it. The range may be in the form of iptables
// (60000:61000), or have spaces or another dash.
func normalizeRange(text string) string {
	for _, dash := range []string{":", "..", "–", "—"} {
		text = strings.Replace(text, dash, "-", 1)
	}
	first, last, isRange := strings.Cut(text, "-")
	if !isRange {
		return strings.TrimSpace(text)
	}
	return strings.TrimSpace(first) + "-" + strings.TrimSpace(last)
}

// quotedRange returns a port as it is, and a range in quotes.
func quotedRange(text string) string {
	if strings.Contains(text, "-") {
		return `"` + text + `"`
	}
	return text
}

func isPortProtocol(word string) bool { return slices.Contains(portProtocolNames(), word) }

// cutProtocol splits 22/tcp, tcp/22 or tcp:22. both is false for a port alone.
func cutProtocol(word string) (port, protocol string, both bool) {
	if first, rest, found := strings.Cut(word, ":"); found && isPortProtocol(first) {
		return rest, first, true
	}
	if i := strings.LastIndexByte(word, ':'); i >= 0 && isPortProtocol(word[i+1:]) {
		return word[:i], word[i+1:], true
	}
	port, protocol, both = strings.Cut(word, "/")
	if isPortProtocol(port) {
		return protocol, port, both
	}
	return port, protocol, both
}

// portListHint says how to write several ports, with or without protocols; "" if one of them isn't
// a port.
func portListHint(words []string) string {
	var ports, protocols []string
	for _, word := range words {
		port, protocol, both := cutProtocol(word)
		if port = normalizeRange(port); !portPattern.MatchString(port) {
			known, _, named := iana.Known(port)
			if !named {
				return ""
			}
			port = known
		}
		if both && !isPortProtocol(protocol) {
			return ""
		}
		ports, protocols = append(ports, quotedRange(port)), append(protocols, protocol)
	}
	if len(ports) == 0 {
		return ""
	}
	list := ports[0]
	if len(ports) > 1 {
		list = "[" + strings.Join(ports, ", ") + "]"
	}
	switch uniform := slices.Compact(slices.Clone(protocols)); {
	case len(uniform) > 1:
		return "; write a service for each protocol, with its ports in port"
	case uniform[0] == "":
		return "; write " + list
	}
	return fmt.Sprintf("; write port: %s and protocol: %s", list, protocols[0])
}

// protocolHint says what to write instead of an unknown protocol; "" if that is unclear.
func protocolHint(text string) string {
	lower := strings.ToLower(strings.TrimSpace(text))
	parts := splitAny(lower, ",/+& ")
	_, _, named := iana.Known(lower)
	switch {
	case len(parts) > 1 && !slices.ContainsFunc(parts, func(s string) bool {
		return !slices.Contains(protocolNames(), s)
	}):
		return "; write [" + strings.Join(parts, ", ") + "]"
	case lower == "both":
		return "; write [tcp, udp]"
	case slices.Contains(everyoneWords, lower) || lower == "-1" || lower == "ip":
		return "; name the protocols that the service speaks, such as [tcp, udp]"
	case slices.Contains([]string{"tcp4", "tcp6", "udp4", "udp6"}, lower):
		return fmt.Sprintf("; a protocol holds for both families: write %s, and name sources of "+
			"one family in allow", lower[:3])
	case named && !slices.Contains(protocolNames(), lower):
		return "; a protocol is what carries ports, such as tcp; the port of " + lower +
			" stands in port"
	}
	number, numbered := iana.Protocol(lower)
	if _, err := firewall.ParseProtocol(strconv.Itoa(int(number))); numbered && err == nil &&
		!isDigits([]byte(lower)) && !slices.Contains(protocolNames(), lower) {
		return fmt.Sprintf("; its number, %d, lists all of it, whatever its ports", number)
	}
	return ""
}
