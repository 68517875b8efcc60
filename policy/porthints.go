package policy

import (
	"fmt"
	"slices"
	"strings"
)

// portNames maps service names to ports: those of IANA, and of the applications of ufw and
// firewalld. A policy accepts numbers only, so that no file of the host decides what is open.
var portNames = map[string]struct{ port, protocol string }{
	"amqp": {"5672", "tcp"}, "amqps": {"5671", "tcp"}, "bgp": {"179", "tcp"},
	"dhcp": {"67", "udp"}, "dns": {"53", ""}, "domain": {"53", ""},
	"elasticsearch": {"9200", "tcp"},
	"etcd":          {"2379-2380", "tcp"}, "ftp": {"21", "tcp"}, "git": {"9418", "tcp"},
	"grafana": {"3000", "tcp"}, "http": {"80", "tcp"}, "http-alt": {"8080", "tcp"},
	"https": {"443", "tcp"}, "imap": {"143", "tcp"}, "imaps": {"993", "tcp"}, "ipp": {"631", "tcp"},
	"ipsec": {"500", "udp"}, "isakmp": {"500", "udp"}, "kafka": {"9092", "tcp"},
	"kerberos": {"88", ""}, "ldap": {"389", "tcp"}, "ldaps": {"636", "tcp"},
	"mdns":      {"5353", "udp"},
	"memcached": {"11211", "tcp"}, "mongodb": {"27017", "tcp"}, "mosh": {"60000-61000", "udp"},
	"mqtt": {"1883", "tcp"}, "mysql": {"3306", "tcp"}, "nfs": {"2049", "tcp"},
	"node-exporter": {"9100", "tcp"}, "ntp": {"123", "udp"}, "openssh": {"22", "tcp"},
	"openvpn": {"1194", "udp"}, "pop3": {"110", "tcp"}, "pop3s": {"995", "tcp"},
	"postgres": {"5432", "tcp"}, "postgresql": {"5432", "tcp"}, "prometheus": {"9090", "tcp"},
	"radius": {"1812", "udp"}, "rdp": {"3389", "tcp"}, "redis": {"6379", "tcp"},
	"rsync": {"873", "tcp"}, "sip": {"5060", ""}, "smb": {"445", "tcp"}, "smtp": {"25", "tcp"},
	"smtps": {"465", "tcp"}, "snmp": {"161", "udp"}, "ssh": {"22", "tcp"},
	"submission": {"587", "tcp"}, "submissions": {"465", "tcp"}, "syslog": {"514", "udp"},
	"telnet": {"23", "tcp"}, "tftp": {"69", "udp"}, "vnc": {"5900", "tcp"},
	"wireguard": {"51820", "udp"}, "xmpp-client": {"5222", "tcp"}, "xmpp-server": {"5269", "tcp"},
}

// portHint says what to write instead of a text that is not a port or range; "" if that is unclear.
func portHint(text string) string {
	lower := strings.ToLower(strings.TrimSpace(text))
	known, named := portNames[lower]
	ranged := normalizeRange(lower)
	switch {
	case named && known.protocol == "udp":
		return fmt.Sprintf("; write %s, and protocol: udp", quotedRange(known.port))
	case named:
		return "; write " + quotedRange(known.port)
	case slices.Contains(everyoneWords, lower):
		return `; every port is written "1-65535"`
	case portPattern.MatchString(ranged):
		return "; write " + quotedRange(ranged)
	case strings.ContainsAny(lower, ", "):
		return portListHint(splitAny(lower, ", "))
	case strings.Contains(lower, "/"):
		return portListHint([]string{lower})
	}
	return ""
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

// portListHint says how to write several ports, with or without protocols; "" if one of them isn't
// a port.
func portListHint(words []string) string {
	var ports, protocols []string
	for _, word := range words {
		port, protocol, both := strings.Cut(word, "/")
		if slices.Contains(portProtocolNames(), port) {
			port, protocol = protocol, port // tcp/22
		}
		if port = normalizeRange(port); !portPattern.MatchString(port) {
			known, named := portNames[port]
			if !named || both {
				return ""
			}
			port = known.port
		}
		if both && !slices.Contains(portProtocolNames(), protocol) {
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
	_, named := portNames[lower]
	switch {
	case len(parts) > 1 && !slices.ContainsFunc(parts, func(s string) bool {
		return !slices.Contains(protocolNames(), s)
	}):
		return "; write [" + strings.Join(parts, ", ") + "]"
	case lower == "both":
		return "; write [tcp, udp]"
	case slices.Contains(everyoneWords, lower) || lower == "-1":
		return "; name the protocols that the service speaks, such as [tcp, udp]"
	case slices.Contains([]string{"tcp4", "tcp6", "udp4", "udp6"}, lower):
		return fmt.Sprintf("; a protocol holds for both families: write %s, and name sources of "+
			"one family in allow", lower[:3])
	case named && !slices.Contains(protocolNames(), lower):
		return "; a protocol is what carries ports, such as tcp; the port of " + lower +
			" stands in port"
	}
	return ""
}
