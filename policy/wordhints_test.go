package policy

import "testing"

// TestHintsForWords checks the hints for words of other programs in place of networks. A hint never
// includes anybody whom the word doesn't.
func TestHintsForWords(t *testing.T) {
	const (
		own      = ": [192.0.2.0/24] under networks, with your own prefixes"
		noPublic = "; if the whole Internet is meant, that is written allow: [any] and " +
			"except: [private, 100.64.0.0/10]"
		nobody = "; nobody is an empty list: write []"
	)
	for word, want := range map[string]string{
		"any4": all4Hint, "all4": all4Hint, "ipv4": all4Hint, "any-ipv4": all4Hint,
		"any6": all6Hint, "all6": all6Hint, "ipv6": all6Hint, "any_v6": all6Hint,
		"AnywhereIPv4": all4Hint, "Anywhere-IPv6": all6Hint,
		"lan": "; write lan" + own, "LAN": "; write LAN" + own, "local": "; write local" + own,
		"intranet": "; write intranet" + own, "LocalSubnet": "; write LocalSubnet" + own,
		"internet": noPublic, "public": noPublic, "world": noPublic, "external": noPublic,
		"none": nobody, "nobody": nobody,
		"rfc1918": "; write 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 (private has networks of " +
			"IPv6, too)",
		"rfc4193": `; write "fc00::/7"`,
		"cgnat":   "; write 100.64.0.0/10",
		"self":    "; the host's own packets are never filtered: leave it out",
		"any5":    "", "any46": "", "wan": "", "office": "", "ant": "", "any4x": "",
	} {
		got := problemsText("version: 1\nservices: [{name: a, allow: [" + word + "]}]\n")
		expect(t, word, got, `2:30: unknown network "`+word+`"`+noNetwork+want)
		if want == noPublic {
			want = "; whom allow does not have is refused anyway: name in allow who may get in"
		}
		got = problemsText("version: 1\nservices: [{name: a, except: [" + word + "]}]\n")
		expect(t, "except "+word, got, `2:31: unknown network "`+word+`"`+noNetwork+want)
	}
}

// TestHintsForForms checks the hints for other forms of ports, protocols and sources in a service.
// The line of a case is the third of the policy.
func TestHintsForForms(t *testing.T) {
	const (
		notSource = " is not an address or CIDR; write "
		noVerdict = "; an entry is an address alone; whom to refuse stands in except"
		notList   = "3:24: expected a list of sources, not "
	)
	port := func(text, hint string) string { return "3:23: " + text + badPort + hint }
	unknown := func(key, hint string) string {
		return `3:17: unknown key "` + key + `" in a service; ` + hint
	}
	for line, want := range map[string]string{
		"icmp: true": unknown("icmp", "ICMP has no ports: write protocol: ping, without port"),
		"icmp: yes, port: 22": unknown("icmp", "ICMP has no ports: write a service of its own, "+
			"with protocol: ping"),
		"icmp: false": unknown("icmp", "leave it out: unlisted: deny and essentials: "+
			"{echo: false} refuse ping"),
		"ping: true": unknown("ping", "ping has no ports: write protocol: ping, without port"),
		"esp: true":  unknown("esp", "esp has no ports: write protocol: esp, without port"),
		"esp: false": unknown("esp", "leave it out: what no service lists is refused under "+
			"unlisted: deny"),
		"tcp: 22":        unknown("tcp", "write port: 22 and protocol: tcp"),
		"udp: [53, 123]": unknown("udp", "write port: [53, 123] and protocol: udp"),
		"tcp: true":      unknown("tcp", "write protocol: tcp, and its ports in port"),

		"port: 22-": port(`"22-"`, "; a range has both ends: write 22 for the one port, or its "+
			"last port, too"),
		`port: "22:"`: port(`"22:"`, "; a range has both ends: write 22 for the one port, or its "+
			"last port, too"),
		`port: "-1024"`: port(`"-1024"`, "; a range has both ends: write 1024 for the one port, "+
			"or its first port, too"),
		"port: 0-1024":          port(`"0-1024"`, `; there is no port 0: write "1-1024"`),
		`port: ">1024"`:         port(`">1024"`, `; write "1025-65535"`),
		`port: ">=1024"`:        port(`">=1024"`, `; write "1024-65535"`),
		`port: "<1024"`:         port(`"<1024"`, `; write "1-1023"`),
		`port: "<1"`:            port(`"<1"`, ""),
		`port: ">=1"`:           port(`">=1"`, ""),
		`port: "80;443"`:        port(`"80;443"`, "; write [80, 443]"),
		`port: "80; 9000:9100"`: port(`"80; 9000:9100"`, `; write [80, "9000-9100"]`),
		`port: "80|443"`:        port(`"80|443"`, "; write [80, 443]"),
		`port: "80 and 443"`:    port(`"80 and 443"`, "; write [80, 443]"),
		`port: "{22, 80}"`:      port(`"{22, 80}"`, "; write [22, 80]"),
		"port: 80/443":          port(`"80/443"`, "; write [80, 443]"),
		`port: "80/443/tcp"`:    port(`"80/443/tcp"`, ""),
		`port: "*:22"`:          port(`"*:22"`, "; write 22"),
		`port: "192.0.2.1:22"`: port(`"192.0.2.1:22"`, "; write port: 22 and addresses: "+
			"192.0.2.1"),
		`port: "!22"`: port(`"!22"`, "; ports can't be excluded: write those that are meant"),
		"port: {22, 80}": "3:23: expected " + ports.wants() +
			", not a mapping; write [22, 80], in brackets",
		"interfaces: {eth0}": "3:29: expected an interface, or a list of interfaces, " +
			"not a mapping; write [eth0], in brackets",

		"network: 192.0.2.0/24":          unknown("network", "write allow: [192.0.2.0/24]"),
		"networks: [192.0.2.0/24]":       unknown("networks", "write allow: [192.0.2.0/24]"),
		"network: office":                unknown("network", writeAllow),
		"source: 192.0.2.1":              unknown("source", "write allow: [192.0.2.1]"),
		"sources: [192.0.2.1]":           unknown("sources", "write allow: [192.0.2.1]"),
		"cidr_blocks: [192.0.2.1]":       unknown("cidr_blocks", "write allow: [192.0.2.1]"),
		`src: "192.0.2.1, 192.0.2.1/24"`: unknown("src", writeAllow),
		`src: "192.0.2.1, fe80::1"`:      unknown("src", `write allow: [192.0.2.1, "fe80::1"]`),
		"ip: 192.0.2.0/24":               unknown("ip", "write allow: [192.0.2.0/24]"),
		"ip: 192.0.2.1": unknown("ip", "write allow: [192.0.2.1] for a source, or addresses: "+
			"[192.0.2.1] for an address of this host"),

		"allow: {network: 192.0.2.0/24}": notList + "a mapping; write [192.0.2.0/24]",
		"allow: {ip: 192.0.2.1}":         notList + "a mapping; write [192.0.2.1]",
		"allow: {private, office}": notList + "a mapping; write [private, office], in " +
			"brackets",
		"allow: none": notList + `text "none"; nobody is an empty list: write []`,
		"allow: any6": notList + `text "any6"; write a list, in brackets; if all of IPv6 is meant, that is ` +
			`written "::/0"`,
		`allow: "private, lan"`: notList + `text "private, lan"; write [private, lan]; write ` +
			"lan: [192.0.2.0/24] under networks, with your own prefixes",
		`allow: ["network: 192.0.2.0/24"]`: `3:25: "network: 192.0.2.0/24"` + notSource +
			"192.0.2.0/24",
		"allow: [src=192.0.2.1]":   `3:25: "src=192.0.2.1"` + notSource + "192.0.2.1",
		"allow: [from 192.0.2.1]":  `3:25: "from 192.0.2.1"` + notSource + "192.0.2.1",
		`allow: ["192.0.2.1;"]`:    `3:25: "192.0.2.1;"` + notSource + "192.0.2.1",
		`allow: ["'192.0.2.1'"]`:   `3:25: "'192.0.2.1'"` + notSource + "192.0.2.1",
		"allow: [deny 192.0.2.1]":  `3:25: "deny 192.0.2.1" is not an address or CIDR` + noVerdict,
		"allow: [not 192.0.2.1]":   `3:25: "not 192.0.2.1" is not an address or CIDR` + noVerdict,
		"allow: [192.0.2.1 DROP]":  `3:25: "192.0.2.1 DROP" is not an address or CIDR` + noVerdict,
		"allow: [Anywhere (v6)]":   `3:25: "Anywhere (v6)" is not an address or CIDR` + all6Hint,
		"allow: [0/0]":             `3:25: "0/0" is not an address or CIDR` + all4Hint,
		"allow: [host 192.0.2. 1]": `3:25: "host 192.0.2. 1" is not an address or CIDR`,
		"allow: all": notList + `text "all"; write a list, in brackets; if everyone is meant, ` +
			"that is written any",
		`allow: "*"`: notList + `text "*"; write a list, in brackets; if everyone is meant, ` +
			"that is written any",
		"except: internet": "3:25: expected a list of sources, not " +
			`text "internet"; write a list, in brackets`,
		`allow: "yes"`:           notList + `text "yes"; write a list, in brackets`,
		`allow: "192.0.2.1, no"`: notList + `text "192.0.2.1, no"; write a list, in brackets`,
		`allow: "all, office"`:   notList + `text "all, office"; write a list, in brackets`,
		"allow: 10.x.x.x":        notList + `text "10.x.x.x"; write [10.0.0.0/8]`,
		"allow: [10.x.x.x]":      `3:25: unknown network "10.x.x.x"` + noNetwork + "; write 10.0.0.0/8",
		"allow: [192.0.2.X]": `3:25: unknown network "192.0.2.X"` + noNetwork +
			"; write 192.0.2.0/24",
		`allow: ["10.0.0.0/8 office"]`: `3:25: "10.0.0.0/8 office" is not an address or CIDR; ` +
			"an entry is an address or CIDR alone: write 10.0.0.0/8",
		`allow: ["192.0.2.1 via 192.0.2.3"]`: `3:25: "192.0.2.1 via 192.0.2.3" is not an address ` +
			"or CIDR",
		`allow: ["192.0.2.1 -"]`: `3:25: "192.0.2.1 -" is not an address or CIDR; a range has ` +
			"both ends: write 192.0.2.1 for the one address, or the range as CIDRs",
		`allow: ["192.0.2.0 to 192.0.2.255"]`: `3:25: "192.0.2.0 to 192.0.2.255" is not an ` +
			"address or CIDR; write a range as CIDRs: 192.0.2.0/24",
		`allow: ["10.0.0.0 0.255.255.255"]`: `3:25: "10.0.0.0 0.255.255.255" is not an address ` +
			"or CIDR; write 10.0.0.0/8",
		`allow: ["// office"]`: `3:25: "// office" is not an address or CIDR`,
		"allow: [192.0.2.1;192.0.2.3]": `3:25: "192.0.2.1;192.0.2.3" is not an address or CIDR; ` +
			"write each as an entry of its own: 192.0.2.1, 192.0.2.3",
	} {
		expect(t, line, problemsText("version: 1\nservices:\n  - {name: web, "+line+"}\n"),
			want)
	}
}

// TestHintsOutsideServices checks the hints for the same mistakes elsewhere in a policy.
func TestHintsOutsideServices(t *testing.T) {
	const notOne = "2:20: a network has exactly one of file, url, dns, not 0 of them\n2:21: "
	for text, want := range map[string]string{
		"icmp: true": `2:1: unknown key "icmp" in a policy; write a service with protocol: ping; ` +
			"what ICMP needs is under essentials",
		"source: 192.0.2.1": `2:1: unknown key "source" in a policy; write it into a service: ` +
			"each has an allow of its own",
		"networks: [192.0.2.0/24]": "2:11: expected a mapping from names to networks, not a list" +
			"; give them a name: {office: [192.0.2.0/24]}",
		"networks: {office: {network: 198.51.100.0/24}}": notOne + `unknown key "network" in a ` +
			"network; write the list itself: NAME: [198.51.100.0/24]",
		"networks: {office: {198.51.100.0/24}}": notOne + `unknown key "198.51.100.0/24" in a ` +
			"network; write a list, in brackets: NAME: [198.51.100.0/24]",
		"networks: {office: [ip: 192.0.2.1]}": "2:21: expected " + oneSource.words +
			", not a mapping; write 192.0.2.1",
		"tests: [{from: any, port: 22, expect: allow}]": `2:16: "any" is not an address or CIDR; ` +
			"a test has one address or CIDR: write one of those that any stands for",
		`tests: [{from: 192.0.2.1, port: "80;443", expect: allow}]`: `2:33: expected a port from ` +
			`1 to 65535, not text "80;443"; a test has one port: write 80`,
		"tests: [{from: 192.0.2.1, port: 22-, expect: allow}]": `2:33: expected a port from ` +
			`1 to 65535, not text "22-"; a test has one port: write 22`,
		"tests: [{from: 192.0.2.1, port: [80, 443], expect: allow}]": `2:33: expected a port ` +
			"from 1 to 65535, not a list; a test has one port: write 80",
		"tests: [{from: 192.0.2.1, port: 80-90, expect: allow}]": `2:33: expected a port from ` +
			`1 to 65535, not text "80-90"; a test has one port: write 80`,
		"tests: [{from: 192.0.2.1, port: ssh, expect: allow}]": `2:33: expected a port from ` +
			`1 to 65535, not text "ssh"; write 22`,
		"tests: [{from: 192.0.2.1, port: 53/udp, expect: allow}]": `2:33: expected a port from ` +
			`1 to 65535, not text "53/udp"; write port: 53 and protocol: udp`,
		`tests: [{from: 192.0.2.1, port: "22", expect: allow}]`: `2:33: expected a port from ` +
			`1 to 65535, not text "22"; write it without quotes`,
		`tests: [{from: 192.0.2.1, port: "80/tcp;443", expect: allow}]`: `2:33: expected a port ` +
			`from 1 to 65535, not text "80/tcp;443"`,
		"tests: [{from: 192.0.2.1, port: any, expect: allow}]": `2:33: expected a port from ` +
			`1 to 65535, not text "any"`,
		"services: {ssh: {port: 22}}": "2:11: expected a list of services, not a mapping; begin " +
			"each with a dash and its name: - name: ssh",
	} {
		expect(t, text, problemsText("version: 1\n"+text+"\n"), want)
	}
}
