package policy

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

// What a hint offers passes check where it is pasted: nobody is sent from one error to the next.
// wrong is refused with a message that has the snippet word for word; right, with the snippet in
// place of §, is a policy.
func TestHintsCanBePasted(t *testing.T) {
	const service = "services: [{name: web, port: 22, %s}]\n"
	in := func(line string) string { return fmt.Sprintf(service, line) }
	bare := func(line string) string { return "services: [{name: web, " + line + "}]\n" }
	network := func(line string) string { return in("allow: [a]") + "networks:\n  " + line + "\n" }
	test := func(from string) string {
		return in("allow: [any]") + "tests: [{from: " + from + ", port: 22, expect: allow}]\n"
	}
	for _, x := range []struct{ wrong, snippet, right string }{
		// Sources.
		{in(`allow: [fe80::1%eth0]`), `"fe80::1"`, in(`allow: [§], interfaces: [eth0]`)},
		{in(`allow: ["fe80::%eth0/64"]`), `"fe80::/64"`, in(`allow: [§], interfaces: [eth0]`)},
		{in(`addresses: [fe80::1%eth0]`), `"fe80::1"`, in(`addresses: [§], interfaces: [eth0]`)},
		{in(`allow: [192.0.2.10-192.0.2.12]`), `192.0.2.10/31, 192.0.2.12/32`, in(`allow: [§]`)},
		{in(`allow: [192.0.2.12-192.0.2.10]`), `192.0.2.10/31, 192.0.2.12/32`, in(`allow: [§]`)},
		{in(`allow: [192.0.2.10 - 12]`), `192.0.2.10/31, 192.0.2.12/32`, in(`allow: [§]`)},
		{in(`allow: ["192.0.2.10–192.0.2.12"]`), `192.0.2.10/31, 192.0.2.12/32`, in(`allow: [§]`)},
		{in(`allow: 192.0.2.10-192.0.2.12`), `[192.0.2.10/31, 192.0.2.12/32]`, in(`allow: §`)},
		{in(`except: [192.0.2.10-192.0.2.11]`), `192.0.2.10/31`, in(`except: [§]`)},
		{
			in(`allow: [2001:db8::1-2001:db8::2]`),
			`"2001:db8::1/128", "2001:db8::2/128"`, in(`allow: [§]`),
		},
		{network(`a: [192.0.2.12-192.0.2.10]`), `192.0.2.10/31, 192.0.2.12/32`, network(`a: [§]`)},
		{network(`a: 192.0.2.10-192.0.2.11`), `[192.0.2.10/31]`, network(`a: §`)},
		{in(`addresses: [192.0.2.10-192.0.2.11]`), `192.0.2.10, 192.0.2.11`, in(`addresses: [§]`)},
		{
			in(`addresses: ["2001:db8::1-2001:db8::2"]`),
			`"2001:db8::1", "2001:db8::2"`, in(`addresses: [§]`),
		},
		{test(`192.0.2.10-192.0.2.11`), `192.0.2.10/31`, test(`§`)},
		{test(`192.0.2.10-192.0.2.12`), `192.0.2.10`, test(`§`)},
		{test(`"2001:db8::1/32"`), `"2001:db8::/32"`, test(`§`)},
		{in(`allow: ["2001:db8::1/32"]`), `"2001:db8::1"`, in(`allow: [§]`)},
		{in(`allow: ["[2001:db8::1]"]`), `"2001:db8::1"`, in(`allow: [§]`)},
		{in(`allow: ["[2001:db8::1]:22"]`), `"2001:db8::1"`, in(`allow: [§]`)},
		{in(`allow: ["192.0.2.1:22"]`), `192.0.2.1`, in(`allow: [§]`)},
		{in(`allow: ["2001:db8:: /32"]`), `"2001:db8::/32"`, in(`allow: [§]`)},
		{in(`allow: ["- 2001:db8::1"]`), `"2001:db8::1"`, in(`allow: [§]`)},
		{in(`allow: ["::ffff:192.0.2.1"]`), `192.0.2.1`, in(`allow: [§]`)},
		{in(`allow: [192.0.2.0/255.255.255.0]`), `192.0.2.0/24`, in(`allow: [§]`)},
		{in(`allow: [192.0.2.9/255.255.255.0]`), `192.0.2.9`, in(`allow: [§]`)},
		{in(`allow: [192.0.2.*]`), `192.0.2.0/24`, in(`allow: [§]`)},
		{in(`allow: ["192.0.2.1,2001:db8::1"]`), `192.0.2.1, "2001:db8::1"`, in(`allow: [§]`)},
		{in(`allow: [192.0.2.1 192.0.2.3]`), `192.0.2.1, 192.0.2.3`, in(`allow: [§]`)},
		{in(`allow: any`), `[any]`, in(`allow: §`)},
		{in(`allow: "2001:db8::1"`), `["2001:db8::1"]`, in(`allow: §`)},
		{in(`allow: "192.0.2.1, private"`), `[192.0.2.1, private]`, in(`allow: §`)},
		{in(`allow: [[192.0.2.1]]`), `192.0.2.1`, in(`allow: [§]`)},
		{in(`allow: ["*"]`), `any`, in(`allow: [§]`)},
		{in(`allow: [everyone]`), `any`, in(`allow: [§]`)},
		{in(`allow: [privat]`), `private`, in(`allow: [§]`)},
		{in(`allow: [any6]`), `"::/0"`, in(`allow: [§]`)},
		{in(`allow: [any4]`), `0.0.0.0/0`, in(`allow: [§]`)},
		{in(`allow: none`), `[]`, in(`allow: §`)},
		{
			in(`allow: [lan]`), `lan: [192.0.2.0/24]`, in(`allow: [lan]`) + "networks:\n  §\n",
		},
		{
			in(`allow: [internet]`), `allow: [any] and except: [private, 100.64.0.0/10]`, in(`§`),
		},
		{in(`network: 192.0.2.0/24`), `allow: [192.0.2.0/24]`, in(`§`)},
		{in(`allow: {ip: 192.0.2.1}`), `[192.0.2.1]`, in(`allow: §`)},
		{in(`allow: {private}`), `[private]`, in(`allow: §`)},
		{in(`allow: ["source: 192.0.2.1"]`), `192.0.2.1`, in(`allow: [§]`)},
		{network(`a: [ip: 192.0.2.1]`), `192.0.2.1`, network(`a: [§]`)},
		{in(`allow: [{ipBlock: {cidr: 192.0.2.0/24}}]`), `{cidr: 192.0.2.0/24}`, in(`allow: [§]`)},

		{in(`allow: all`), `any`, in(`allow: [§]`)},
		{in(`allow: ipv4`), `0.0.0.0/0`, in(`allow: [§]`)},
		{in(`allow: 10.x.x.x`), `[10.0.0.0/8]`, in(`allow: §`)},
		{in(`allow: [10.x.x.x]`), `10.0.0.0/8`, in(`allow: [§]`)},
		{in(`allow: ["10.0.0.0/8 office"]`), `10.0.0.0/8`, in(`allow: [§]`)},
		{network(`a: ["2001:db8::/32 office"]`), `"2001:db8::/32"`, network(`a: [§]`)},
		{in(`allow: [192.0.2.1 -]`), `192.0.2.1`, in(`allow: [§]`)},
		{in(`allow: [192.0.2.0 to 192.0.2.255]`), `192.0.2.0/24`, in(`allow: [§]`)},
		{in(`allow: [10.0.0.0 0.255.255.255]`), `10.0.0.0/8`, in(`allow: [§]`)},
		{in(`allow: [10.0.0.0/0.255.255.255]`), `10.0.0.0/8`, in(`allow: [§]`)},
		{test(`192.0.2.0 to 192.0.2.255`), `192.0.2.0/24`, test(`§`)},

		// Networks of their own, and what stands in place of the entry.
		{
			in(`allow: [vpn.example.net]`), `vpn.example.net: {dns: vpn.example.net}`,
			in(`allow: [vpn.example.net]`) + "networks:\n  §\n",
		},
		{
			in(`allow: [vpn.example.net.]`), `vpn.example.net: {dns: vpn.example.net.}`,
			in(`allow: [vpn.example.net]`) + "networks:\n  §\n",
		},
		{
			in(`allow: vpn.example.net`), `vpn.example.net: {dns: vpn.example.net}`,
			in(`allow: [vpn.example.net]`) + "networks:\n  §\n",
		},
		{
			in(`allow: [{cidr: vpn.example.net}]`), `vpn.example.net: {dns: vpn.example.net}`,
			in(`allow: [{cidr: vpn.example.net}]`) + "networks:\n  §\n",
		},
		{
			in(`allow: [{dns: vpn.example.net}]`), `vpn.example.net: {dns: vpn.example.net}`,
			in(`allow: [vpn.example.net]`) + "networks:\n  §\n",
		},
		{
			network(`a: [vpn.example.net]`), `vpn.example.net: {dns: vpn.example.net}`,
			network("a: [vpn.example.net]\n  §"),
		},
		{
			in(`allow: ["vpn.example.net:22"]`), `vpn.example.net: {dns: vpn.example.net}`,
			in(`allow: [vpn.example.net]`) + "networks:\n  §\n",
		},
		{network(`a: vpn.example.net`), `{dns: vpn.example.net}`, network(`a: §`)},
		{
			in(`allow: [/etc/list.txt]`), `list: {file: /etc/list.txt}`,
			in(`allow: [list]`) + "networks:\n  §\n",
		},
		{
			in(`allow: [office.txt]`), `office: {file: office.txt}`,
			in(`allow: [office]`) + "networks:\n  §\n",
		},
		{
			in(`allow: [{file: any.txt}]`), `list: {file: any.txt}`,
			in(`allow: [list]`) + "networks:\n  §\n",
		},
		{network(`a: ./office.txt`), `{file: ./office.txt}`, network(`a: §`)},
		{
			in(`allow: ["https://example.com/l"]`), `example.com: {url: "https://example.com/l"}`,
			in(`allow: [example.com]`) + "networks:\n  §\n",
		},
		{
			in(`allow: ["https://192.0.2.1/l"]`), `list: {url: "https://192.0.2.1/l"}`,
			in(`allow: [list]`) + "networks:\n  §\n",
		},
		{network(`a: "https://example.com/l"`), `{url: "https://example.com/l"}`, network(`a: §`)},
		{network(`a: {addresses: [192.0.2.0/24]}`), `NAME: [192.0.2.0/24]`, network("§\n  a: []")},

		// Ports and protocols.
		{bare(`port: 22/tcp`), `port: 22 and protocol: tcp`, bare(`§`)},
		{bare(`port: http/tcp`), `port: 80 and protocol: tcp`, bare(`§`)},
		{bare(`port: tcp:22`), `port: 22 and protocol: tcp`, bare(`§`)},
		{bare(`port: icmp`), `protocol: ping`, bare(`§`)},
		{bare(`port: esp`), `protocol: esp`, bare(`§`)},
		{bare(`protocol: ICMP`), `ping`, bare(`protocol: §`)},
		{bare(`protocol: dccp`), `33`, bare(`protocol: §`)},
		{bare(`listen: 192.0.2.1`), `addresses`, bare(`§: 192.0.2.1`)},
		{bare(`listen: "192.0.2.1:80"`), `port: 80 and addresses: 192.0.2.1`, bare(`§`)},
		{bare(`port: "60000:61000"`), `"60000-61000"`, bare(`port: §`)},
		{bare(`port: "9100-9000"`), `9000-9100`, bare(`port: §`)},
		{bare(`port: "80, 9000:9100"`), `[80, "9000-9100"]`, bare(`port: §`)},
		{bare(`port: ["80,443"]`), `80, 443`, bare(`port: [§]`)},
		{bare(`port: ssh`), `22`, bare(`port: §`)},
		{bare(`port: any`), `"1-65535"`, bare(`port: §`)},
		{bare(`port: "22"`), ``, bare(`port: 22`)},
		{bare(`port: 22-`), `22`, bare(`port: §`)},
		{bare(`port: "80;443"`), `[80, 443]`, bare(`port: §`)},
		{bare(`port: 0-1024`), `"1-1024"`, bare(`port: §`)},
		{bare(`port: "192.0.2.1:22"`), `port: 22 and addresses: 192.0.2.1`, bare(`§`)},
		{bare(`port: {22, 80}`), `[22, 80]`, bare(`port: §`)},
		{bare(`icmp: true`), `protocol: ping`, bare(`§`)},
		{bare(`udp: [53, 123]`), `port: [53, 123] and protocol: udp`, bare(`§`)},
		{bare(`from_port: 80, to_port: 90`), `port: "80-90"`, bare(`§`)},
		{bare(`protocol: "tcp,udp"`), `[tcp, udp]`, bare(`protocol: §`)},
		{bare(`protocol: both`), `[tcp, udp]`, bare(`protocol: §`)},
		{bare(`proto: udp`), `protocol: udp`, bare(`§`)},
		{bare(`protocol: 6`), `tcp`, bare(`protocol: §`)},

		// The rest.
		{in(`rate: 10/min`), `{per_source: 10/minute}`, in(`rate: §`)},
		{in(`rate: {per_source: 10/sec}`), `10/second`, in(`rate: {per_source: §}`)},
		{in(`limit: 5`), `{per_source: 10/minute}`, in(`rate: §`)},
		{in(`interfaces: "eth0, wg*"`), `[eth0, "wg*"]`, in(`interfaces: §`)},
		{in(`interfaces: ["eth0, wg*"]`), `eth0, "wg*"`, in(`interfaces: [§]`)},
		{network(`a: {file: x, select: .a}`), `$.a`, network(`a: {file: x, select: §}`)},
		{
			network(`a: {file: x, select: ".a[].ip"}`), `"$.a[*].ip"`,
			network(`a: {file: x, select: §}`),
		},
		{
			network(`a: {file: x, select: "$.ip-list[*]"}`), `"$['ip-list'][*]"`,
			network(`a: {file: x, select: §}`),
		},
		{"services:\n", `[]`, "services: §\n"},
		{"daemon:\n", `{}`, "daemon: §\n"},
		{"unlisted: drop\n", `unlisted: deny and refuse: drop`, "§\n"},
		{"unlisted: reject\n", `unlisted: deny and refuse: reject`, "§\n"},
		{"unlisted: denyy\n", `"deny"`, "unlisted: §\n"},
	} {
		_, err := Parse("p", []byte("version: 1\n"+x.wrong))
		if x.snippet == "" && err == nil {
			continue
		}
		if err == nil || !strings.Contains(err.Error(), x.snippet) {
			t.Errorf("%s offers no %s: %v", x.wrong, x.snippet, err)
			continue
		}
		pasted := strings.ReplaceAll(x.snippet, " and ", ", ") // keys of one mapping
		if x.right == "§\n" {
			pasted = strings.ReplaceAll(x.snippet, " and ", "\n")
		}
		right := "version: 1\n" + strings.ReplaceAll(x.right, "§", pasted)
		p, err := Parse("p", []byte(right))
		if err == nil && !strings.Contains(x.snippet, "file:") &&
			!strings.Contains(right, "{file") &&
			!strings.Contains(x.snippet, "url:") &&
			!strings.Contains(x.snippet, "dns:") {
			_, err = p.Compile(context.Background(), nil)
		}
		if err != nil {
			t.Errorf("the hint %s for\n%sleads to\n%v", x.snippet, x.wrong, err)
		}
	}
}
