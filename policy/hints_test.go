package policy

import (
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall/address"
	"pgregory.net/rapid"
)

// problemsText returns the messages about a policy without its name.
func problemsText(text string) string {
	_, err := Parse("p", []byte(text))
	if err == nil {
		return ""
	}
	return strings.ReplaceAll(err.Error(), "p:", "")
}

const (
	badPort = ` is not a port from 1 to 65535 or a range such as "9000-9100"`
	noEntry = "expected an address, a CIDR or the name of a network, or an entry of allow " +
		"(keys and values), not a list; one dash or pair of brackets is too many: write "
	noNetwork = "; it is neither an address nor defined in networks"
)

// TestHintsInServices checks the hints for what users of other firewalls write in a service. The
// line of a case is the third of the policy.
func TestHintsInServices(t *testing.T) {
	for line, want := range map[string]string{
		"allow: [ant]":      `3:25: unknown network "ant"` + noNetwork,
		"allow: [anyy]":     `3:25: unknown network "anyy"` + noNetwork,
		"allow: [many]":     `3:25: unknown network "many"` + noNetwork,
		"allow: [prvt]":     `3:25: unknown network "prvt"` + noNetwork,
		"allow: [private1]": `3:25: unknown network "private1"` + noNetwork,
		"allow: [privat]":   `3:25: unknown network "privat" (did you mean "private"?)` + noNetwork,
		"allow: [all]": `3:25: unknown network "all"` + noNetwork +
			`; if everyone is meant, that is written any`,
		`allow: ["*"]`: `3:25: "*" is not an address or CIDR; if everyone is meant, that is ` +
			`written any`,
		"allow: [localhost]": `3:25: unknown network "localhost"` + noNetwork +
			`; loopback is never filtered: leave it out`,
		"allow: [vpn.example.net]": `3:25: unknown network "vpn.example.net"` + noNetwork +
			`; a host name is a network of its own: write vpn.example.net: {dns: ` +
			`vpn.example.net} under networks`,
		"allow: [sg-0123abcd]": `3:25: unknown network "sg-0123abcd"` + noNetwork +
			`; a security group is a list of hosts: write their addresses`,
		"allow: [{dns: vpn.example.net}]": "3:25: an entry of allow lacks the key \"cidr\" (the " +
			"source: " +
			"an address, a CIDR or the name of a network)\n" +
			`3:26: unknown key "dns" in an entry of allow; a host name is a network of its own: ` +
			`write vpn.example.net: {dns: vpn.example.net} under networks, and vpn.example.net ` +
			`in place of ` +
			`the braces`,

		"allow: any": `3:24: expected a list of sources, not text "any"; write [any]`,
		"allow: 192.0.2.1": `3:24: expected a list of sources, not text "192.0.2.1"; write ` +
			`[192.0.2.1]`,
		`allow: "2001:db8::1"`: `3:24: expected a list of sources, not text "2001:db8::1"; ` +
			`write ["2001:db8::1"]`,
		"allow: {cidr: any}": `3:24: expected a list of sources, not a mapping; begin it with a ` +
			`dash, as an ` +
			`entry of a list`,
		"allow: [[192.0.2.1]]": `3:25: ` + noEntry + "192.0.2.1",
		`allow: ["- 192.0.2.1"]`: `3:25: "- 192.0.2.1" is not an address or CIDR; leave the ` +
			`dash out: write 192.0.2.1`,
		`allow: ["192.0.2.0 /24"]`: `3:25: "192.0.2.0 /24" is not an address or CIDR; without ` +
			`the space it ` +
			`is 192.0.2.0/24`,
		"allow: [192.0.2.0 /24]": `3:25: "192.0.2.0 /24" is not an address or CIDR; without the ` +
			`space it ` +
			`is 192.0.2.0/24`,
		`allow: [" 192.0.2.1 "]`: `3:25: " 192.0.2.1 " is not an address or CIDR; without the ` +
			`spaces around ` +
			`it, it is 192.0.2.1`,
		"allow: [192.0.2.0/255.255.255.0]": `3:25: "192.0.2.0/255.255.255.0": the prefix length ` +
			`of an IPv4 ` +
			`CIDR is a number from 0 to 32; write 192.0.2.0/24`,
		"allow: [192.0.2.0/255.0.255.0]": `3:25: "192.0.2.0/255.0.255.0": the prefix length of ` +
			`an IPv4 ` +
			`CIDR is a number from 0 to 32`,
		"allow: [192.0.2.0/0.255.0.0]": `3:25: "192.0.2.0/0.255.0.0": the prefix length of an ` +
			`IPv4 ` +
			`CIDR is a number from 0 to 32`,
		"allow: [192.0.2.*]": `3:25: "192.0.2.*" is not an address or CIDR; write 192.0.2.0/24`,
		"allow: [192.0.2.0-192.0.2.7]": `3:25: "192.0.2.0-192.0.2.7" is not an address or CIDR; ` +
			`write a ` +
			`range as CIDRs: 192.0.2.0/29`,
		"allow: [192.0.2.1-198.51.100.7]": `3:25: "192.0.2.1-198.51.100.7" is not an address or ` +
			`CIDR; ` +
			`write a range as CIDRs, or as 192.0.2.1-198.51.100.7 into a network file, which ` +
			`takes ranges`,
		`allow: ["192.0.2.1,192.0.2.3"]`: `3:25: "192.0.2.1,192.0.2.3" is not an address or ` +
			`CIDR; write ` +
			`each as an entry of its own: 192.0.2.1, 192.0.2.3`,
		`allow: ["!192.0.2.1"]`: `3:25: "!192.0.2.1" is not an address or CIDR; sources that ` +
			`are not meant ` +
			`stand in except`,
		`allow: ["192.0.2.1:22"]`: `3:25: "192.0.2.1:22" is not an address or CIDR; write ` +
			`192.0.2.1, and ` +
			`the port in port`,
		`allow: ["[2001:db8::1]"]`: `3:25: "[2001:db8::1]" is not an address or CIDR; write ` +
			`"2001:db8::1" without the brackets`,
		`allow: ["00:11:22:33:44:55"]`: `3:25: "00:11:22:33:44:55" is not an address or CIDR; a ` +
			`MAC address ` +
			`says nothing beyond the next router: name sources by address`,
		`allow: ["https://example.com/l"]`: `3:25: "https://example.com/l" is not an address or ` +
			`CIDR; a list ` +
			`at a URL is a network of its own: write example.com: {url: ` +
			`"https://example.com/l"} under networks, ` +
			`and example.com here`,
		"allow: [/etc/list.txt]": `3:25: "/etc/list.txt" is not an address or CIDR; a list in a ` +
			`file is a ` +
			`network of its own: write list: {file: /etc/list.txt} under networks, and list here`,
		"allow: [0.0.0.0/0]": "",

		"port: 22/tcp": `3:23: "22/tcp"` + badPort + `; write port: 22 and protocol: tcp`,
		"port: tcp/22": `3:23: "tcp/22"` + badPort + `; write port: 22 and protocol: tcp`,
		"port: 60000:61000/udp": `3:23: "60000:61000/udp"` + badPort + `; write port: ` +
			`"60000-61000" and protocol: udp`,
		`port: "80,443"`:        `3:23: "80,443"` + badPort + `; write [80, 443]`,
		`port: "80, 9000:9100"`: `3:23: "80, 9000:9100"` + badPort + `; write [80, "9000-9100"]`,
		`port: "80,443/tcp"`: `3:23: "80,443/tcp"` + badPort + `; write a service for each ` +
			`protocol, with its ports in port`,
		`port: "80/tcp,443/tcp"`: `3:23: "80/tcp,443/tcp"` + badPort + `; write port: [80, 443] ` +
			`and protocol: tcp`,
		`port: "60000:61000"`: `3:23: "60000:61000"` + badPort + `; write "60000-61000"`,
		`port: "9000 - 9100"`: `3:23: "9000 - 9100"` + badPort + `; write "9000-9100"`,
		"port: 60000..61000":  `3:23: "60000..61000"` + badPort + `; write "60000-61000"`,
		"port: ssh":           `3:23: "ssh"` + badPort + `; write 22`,
		"port: OpenSSH":       `3:23: "OpenSSH"` + badPort + `; write 22`,
		"port: ntp":           `3:23: "ntp"` + badPort + `; write 123, and protocol: udp`,
		"port: mosh": `3:23: "mosh"` + badPort + `; write "60000-61000", and ` +
			`protocol: udp`,
		"port: [ssh, http]": `3:24: "ssh"` + badPort + "; write 22\n" +
			`3:29: "http"` + badPort + "; write 80",
		`port: ["80,443"]`: `3:24: "80,443"` + badPort + `; write 80, 443`,
		"port: any":        `3:23: "any"` + badPort + `; every port is written "1-65535"`,
		"port: http/tcp": `3:23: "http/tcp"` + badPort + `; write port: 80 and ` +
			`protocol: tcp`,
		"port: tcp/http": `3:23: "tcp/http"` + badPort + `; write port: 80 and ` +
			`protocol: tcp`,
		"port: ntp/tcp": `3:23: "ntp/tcp"` + badPort + `; write port: 123 and ` +
			`protocol: tcp`,
		"port: TCP:22": `3:23: "TCP:22"` + badPort + `; write port: 22 and protocol: tcp`,
		"port: 22:tcp": `3:23: "22:tcp"` + badPort + `; write port: 22 and protocol: tcp`,
		"port: UDP:60000:61000": `3:23: "UDP:60000:61000"` + badPort + `; write port: ` +
			`"60000-61000" and protocol: udp`,
		"port: tcp 22":       `3:23: "tcp 22"` + badPort + `; write port: 22 and protocol: tcp`,
		"port: nonsense/tcp": `3:23: "nonsense/tcp"` + badPort,
		"port: icmp": `3:23: "icmp"` + badPort + `; ICMP has no ports: write ` +
			`protocol: ping, without port, for echo requests`,
		"port: [ICMPv6]": `3:24: "ICMPv6"` + badPort + `; ICMP has no ports: write ` +
			`protocol: ping, without port, for echo requests`,
		"port: ping": `3:23: "ping"` + badPort + `; ping has no ports: write ` +
			`protocol: ping, without port`,
		"port: gre": `3:23: "gre"` + badPort + `; gre has no ports: write ` +
			`protocol: gre, without port`,
		"port: udp": `3:23: "udp"` + badPort + `; write protocol: udp, and its ` +
			`ports in port`,
		"port: nonsense": `3:23: "nonsense"` + badPort,

		"protocol: icmp": `3:27: protocol "icmp": write ping for echo requests; the other ` +
			`messages of ICMP ` +
			`stay open or are closed with essentials`,
		"protocol: ICMP": `3:27: protocol "icmp": write ping for echo requests; the other ` +
			`messages of ICMP ` +
			`stay open or are closed with essentials`,
		"protocol: icmp6": `3:27: protocol "icmp6": write ping for echo requests; the other ` +
			`messages of ` +
			`ICMPv6 stay open or are closed with essentials`,
		"protocol: dccp": `3:27: "dccp" is not a protocol; its number, 33, lists all of ` +
			`it, whatever its ports`,
		"protocol: ip": `3:27: "ip" is not a protocol; name the protocols that the ` +
			`service speaks, such as [tcp, udp]`,
		"protocol: rtp": `3:27: "rtp" is not ` + protocolName{protocolNames()}.wants(),
		"protocol: tpc": `3:27: "tpc" is not ` + protocolName{protocolNames()}.wants() +
			` (did you mean "tcp"?)`,
		"protocol: all": `3:27: "all" is not a protocol; name the protocols that the ` +
			`service speaks, such as [tcp, udp]`,
		`protocol: "-1"`: `3:27: "-1" is not a protocol; name the protocols that the ` +
			`service speaks, such as [tcp, udp]`,
		"protocol: tcp/udp":   `3:27: "tcp/udp" is not a protocol; write [tcp, udp]`,
		`protocol: "tcp,udp"`: `3:27: "tcp,udp" is not a protocol; write [tcp, udp]`,
		"protocol: tcp6": `3:27: "tcp6" is not a protocol; a protocol holds for both families: ` +
			`write tcp, ` +
			`and name sources of one family in allow`,
		"protocol: http": `3:27: "http" is not a protocol; a protocol is what carries ports, ` +
			`such as tcp; ` +
			`the port of http stands in port`,

		"proto: udp":    `3:17: unknown key "proto" in a service; write protocol: udp`,
		"proto: any":    `3:17: unknown key "proto" in a service; write protocol`,
		"accept: [any]": `3:17: unknown key "accept" in a service; ` + writeAllow,
		"from: any":     `3:17: unknown key "from" in a service; ` + writeAllow,
		"from_port: 22, to_port: 22": `3:17: unknown key "from_port" in a service; write port: ` +
			`22` + "\n" +
			`3:32: unknown key "to_port" in a service; write port: 22`,
		"from_port: 80, to_port: 90": `3:17: unknown key "from_port" in a service; write port: ` +
			`"80-90"` + "\n" +
			`3:32: unknown key "to_port" in a service; write port: "80-90"`,
		"from_port: 0, to_port: 0": `3:17: unknown key "from_port" in a service; write port, ` +
			`the port or a ` +
			`range such as "9000-9100"` + "\n" + `3:31: unknown key "to_port" in a service; ` +
			`write port, the ` +
			`port or a range such as "9000-9100"`,
		"rate: 10/min": `3:23: expected a rate (keys and values), not text ` +
			`"10/min"; write {per_source: 10/minute}`,
		"rate: {per_source: 10/sec}": `3:36: "10/sec" is not a rate such as "20/second" (or ` +
			`/minute, /hour, /day); write 10/second`,
		"dport: 22": `3:17: unknown key "dport" in a service; write port, the ` +
			`port that clients dial`,
		"listen: 80": `3:17: unknown key "listen" in a service; write port, the ` +
			`port that clients dial`,
		"listen: 192.0.2.1": `3:17: unknown key "listen" in a service; write ` +
			`addresses, of this host`,
		`listen: ["2001:db8::1"]`: `3:17: unknown key "listen" in a service; write ` +
			`addresses, of this host`,
		`listen: "192.0.2.1:80"`: `3:17: unknown key "listen" in a service; write port: 80 and ` +
			`addresses: 192.0.2.1`,
		`bind: "[2001:db8::1]:80"`: `3:17: unknown key "bind" in a service; write port: 80 and ` +
			`addresses: "2001:db8::1"`,
		`listen: "[::]:80"`: `3:17: unknown key "listen" in a service; write port: 80`,
		`listen: "0.0.0.0:80"`: `3:17: unknown key "listen" in a service; write port: 80, and ` +
			`sources of IPv4 alone in allow`,
		"action: allow": `3:17: unknown key "action" in a service; leave it out: whom allow has ` +
			`is let in, ` +
			`and everyone else is refused`,
		"deny: [192.0.2.1]": `3:17: unknown key "deny" in a service; write except for sources ` +
			`that allow ` +
			`has; whom allow does not have is refused anyway`,
		"in_interface: eth0": `3:17: unknown key "in_interface" in a service; write ` +
			`interfaces`,
		"comment: x":                    `3:17: unknown key "comment" in a service; write purpose`,
		"ipBlock: {cidr: 192.0.2.0/24}": `3:17: unknown key "ipBlock" in a service; ` + writeAllow,
		"allow: [{ipBlock: {cidr: 192.0.2.0/24}}]": `3:25: an entry of allow lacks the key ` +
			`"cidr" (the ` +
			"source: an address, a CIDR or the name of a network)\n" + `3:26: unknown key ` +
			`"ipBlock" in an ` +
			`entry of allow; write its cidr alone: {cidr: 192.0.2.0/24}; its except belongs ` +
			`into the ` +
			`service's except`,
	} {
		expect(t, line, problemsText("version: 1\nservices:\n  - {name: web, "+line+"}\n"),
			want)
	}
}

// TestHintsInBlocks checks hints in block style, where a dash is easily written twice.
func TestHintsInBlocks(t *testing.T) {
	for text, want := range map[string]string{
		"services:\n  - name: a\n    allow:\n      - - 192.0.2.1\n": `5:9: ` + noEntry +
			"192.0.2.1",
		"services:\n  - name: a\n    port: 60000:61000\n": `4:11: "60000:61000"` + badPort +
			`; write "60000-61000"`,
		"services:\n  name: a\n  port: 22\n": `3:3: expected a list of services, not a mapping; ` +
			`begin it ` +
			`with a dash, as an entry of a list`,
		"services: [{name: a, allow: [wan]}]\nnetworks: {lan: [192.0.2.0/24]}\n": `2:30: ` +
			`unknown network "wan"` +
			noNetwork,
		"services: [{name: a, allow: [office2]}]\nnetworks: {office1: [192.0.2.0/24]}\n": `2:30: ` +
			`unknown ` +
			`network "office2"` + noNetwork,
		"services: [{name: a, allow: [offise]}]\nnetworks: {office: [any]}\n": `2:30: unknown ` +
			`network "offise"` + noNetwork,
		"services: [{name: a, allow: [offise]}]\nnetworks: {office: [192.0.2.0/24]}\n": `2:30: unknown ` +
			`network "offise" (did you mean "office"?)` + noNetwork,
		"networks: {a: 192.0.2.0/24}\n": `2:15: expected a list of addresses, CIDRs and names ` +
			`of networks, or ` +
			`a network (keys and values), not text "192.0.2.0/24"; write [192.0.2.0/24]`,
		"networks: {a: {addresses: [192.0.2.0/24]}}\n": `2:15: a network has exactly one of ` +
			`file, url, dns, not ` +
			"0 of them\n" + `2:16: unknown key "addresses" in a network; write the list itself: ` +
			`NAME: [192.0.2.0/24]`,
		"networks: {a: {file: x, jsonpath: $.a}}\n": `2:25: unknown key "jsonpath" in a ` +
			`network; write ` +
			`select, a JSON path`,
		"networks: {a: {asn: 64496}}\n": "2:15: a network has exactly one of file, url, dns, " +
			"not 0 of them\n" +
			`2:16: unknown key "asn" in a network; write file or url, for a list of its prefixes`,
		"unlisted: drop\n": `2:11: "drop" is not one of ignore, deny; write unlisted: deny and ` +
			`refuse: drop`,
		"unlisted: REJECT\n": `2:11: "REJECT" is not one of ignore, deny; write unlisted: deny ` +
			`and ` +
			`refuse: reject`,
		"unlisted: accept\n": `2:11: "accept" is not one of ignore, deny; with ignore, ` +
			`portgrave leaves ` +
			`unlisted ports alone, and lets nothing in that others refuse`,
		"tests: [{from: 192.0.2.1, port: 22, expect: reject}]\n": `2:45: "reject" is not one of ` +
			`allow, ` +
			`deny; write deny`,
		"networks: {a: {file: x, select: .a}}\n": `2:33: ".a" is not a JSON path (unexpected ` +
			`'.' at position ` +
			`1); write $.a`,
		"networks: {a: {dns: example.com, select: $.a}}\n": `2:42: select has a meaning only ` +
			`for a network ` +
			`with a file or a url`,
		"networks: {a: vpn.example.net}\n": `2:15: expected a list of addresses, CIDRs and ` +
			`names of networks, or ` +
			`a network (keys and values), not text "vpn.example.net"; write {dns: vpn.example.net}`,
		"rules: []\n": `2:1: unknown key "rules" in a policy; write services, a list of ports ` +
			`and who may ` +
			`reach them`,
		"default: deny\n": `2:1: unknown key "default" in a policy; write unlisted: ignore ` +
			`leaves ports alone ` +
			`that no service lists, deny refuses them`,
		"kind: NetworkPolicy\n": `2:1: unknown key "kind" in a policy; this is a manifest of ` +
			`Kubernetes, not ` +
			`a policy`,
		"tests: [{from: 192.0.2.1, port: 22, action: allow}]\n": `2:9: a test lacks the key ` +
			`"expect" (what ` +
			"must become of it)\n" + `2:37: unknown key "action" in a test; write expect: allow ` +
			`or deny`,
		"tests: [{from: 192.0.2.0 /24, port: 22, expect: allow}]\n": `2:16: "192.0.2.0 /24" is ` +
			`not an ` +
			`address or CIDR; without the space it is 192.0.2.0/24`,
		"services: [{name: a, addresses: [any]}]\n": `2:34: "any" is not an address or CIDR; ` +
			"for every address of this host, leave addresses out",
	} {
		expect(t, text, problemsText("version: 1\n"+text), want)
	}
}

// TestHintsAllowNoMore checks that a hint for a misspelt address or CIDR allows no other address,
// and that no misspelt name becomes everyone.
func TestHintsAllowNoMore(t *testing.T) {
	offered := regexp.MustCompile(`[0-9a-f.:]*[.:][0-9a-f.:]*(/[0-9]+)?`)
	rapid.Check(t, func(t *rapid.T) {
		p := prefixGenerator().Draw(t, "prefix")
		meant := address.Must(p.String())
		text := misspell(t, p)
		hint := sourceHint(text)
		for _, word := range offered.FindAllString(hint, -1) {
			q, err := parsePrefix(strings.Trim(word, ":"))
			if err == nil && !meant.Covers(q) {
				t.Fatalf("%q: %q offers %v", text, hint, q)
			}
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[any]{1,4}[0-9a-z]{0,3}`).Draw(t, "name")
		got := problemsText("version: 1\nservices: [{name: a, allow: [" + yamlScalar(name) +
			"]}]\n")
		if strings.Contains(got, `mean "any"`) {
			t.Fatal(got)
		}
	})
}

// misspell returns a prefix with a mistake that hints recognise.
func misspell(t *rapid.T, p netip.Prefix) string {
	s := p.String()
	address, length, _ := strings.Cut(s, "/")
	return rapid.SampledFrom([]string{
		" " + s, s + " ", "- " + s, "-" + s, address + " /" + length, address + "/ " + length,
		"[" + s + "]", "[" + address + "]", "!" + s, s + ",", address + ":22", "[" + address +
			"]:22",
		s + "-" + s, address + "-" + address, address + " 255.255.255.255", address +
			" 128.0.0.0", address + "/0.0.0.0",
		address + "/255.255.255.255",
		"from " + s, "source: " + s, "src=" + s, s + ";", "'" + s + "'", s + " DROP", s +
			" nomatch",
		"{ " + s + " }", s + " and " + s, s + ";" + s, "allow " + s + ";", address + ";255.0.0.0",
		address + "/" + length + "0", s + " any",
		address + "." + length, strings.TrimRight(s, "0123456789"),
	}).Draw(t, "text")
}
