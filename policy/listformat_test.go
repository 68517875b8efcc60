package policy

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"
)

// readText reads a list in memory and returns its prefixes or its problems.
func readText(t testing.TB, content, path string) string {
	t.Helper()
	o := listReader{name: "list", limit: 1000}
	if path != "" {
		selects, err := parseSelect(path)
		if err != nil {
			t.Fatal(err)
		}
		o.selects = selects
	}
	list, err := o.read(strings.NewReader(content))
	if err != nil {
		return err.Error()
	}
	return strings.Join(list.prefixes.Strings(), " ")
}

func gzipped(t testing.TB, content string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// encodeUTF16 returns text in UTF-16, little or big endian.
func encodeUTF16(text string, big bool) string {
	var b []byte
	for _, u := range utf16.Encode([]rune(text)) {
		if big {
			b = append(b, byte(u>>8), byte(u))
		} else {
			b = append(b, byte(u), byte(u>>8))
		}
	}
	return string(b)
}

// encodeUTF32 returns text in UTF-32.
func encodeUTF32(text string, order binary.AppendByteOrder) string {
	var b []byte
	for _, r := range text {
		b = order.AppendUint32(b, uint32(r))
	}
	return string(b)
}

// wide is the message about a list with wide characters.
func wide(encoding string) string {
	return "this is " + encoding + ": convert it to UTF-8 with iconv -f " + encoding + " -t UTF-8"
}

// besideOthers and standsApart are messages about JSON that no select can read.
func besideOthers(path string) string {
	return "list:1:1: this is JSON, and has other values beside the addresses at " + path +
		": write its addresses into a text file, one a line"
}

func standsApart(paths string) string {
	return "list:1:1: this is JSON, and what is one CIDR or range stands apart in it, at " + paths +
		": write its CIDRs and ranges into a text file, one a line"
}

// oneALine ends messages about lines with two entries.
const oneALine = "; write one entry a line, a range as FIRST-LAST, and delete other columns with " +
	"addresses"

// formatCases are lists in common formats, with or without a select, and the expected result.
var formatCases = []struct{ name, content, path, want string }{
	{
		"comments",
		"; a list\n# another\n192.0.2.0/24 ; SBL1\n192.0.3.0/24;x\n192.0.4.0/24 # y ; z\n",
		"",
		"192.0.2.0/23 192.0.4.0/24",
	},
	{"windows", "\xef\xbb\xbf; x\r\n192.0.2.1\r\n\r\n2001:db8::/32 ; y\r\n", "",
		"192.0.2.1/32 2001:db8::/32"},
	{"spaces", "  192.0.2.1\t\n\t192.0.2.3  \n", "", "192.0.2.1/32 192.0.2.3/32"},

	{"range", "192.0.2.10-192.0.2.20\n", "",
		"192.0.2.10/31 192.0.2.12/30 192.0.2.16/30 192.0.2.20/32"},
	{"range with spaces", "192.0.2.0 - 192.0.2.255 ; office\n", "", "192.0.2.0/24"},
	{"range of IPv6", "2001:db8::-2001:db8::ffff\n2001:db8::1:0 - 2001:db8::1:0\n", "",
		"2001:db8::/112 2001:db8::1:0/128"},
	{"range of one", "192.0.2.1-192.0.2.1", "", "192.0.2.1/32"},
	{"ranges that meet", "192.0.2.0-192.0.2.127\n192.0.2.128-192.0.2.255\n", "", "192.0.2.0/24"},
	{"all of IPv6", "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "", "::/0"},
	{"reversed", "192.0.2.20-192.0.2.10\n", "",
		`list:1:1: "192.0.2.20-192.0.2.10": the range is reversed; write 192.0.2.10-192.0.2.20`},
	{"reversed IPv6", "2001:db8::2-2001:db8::1\n", "",
		`list:1:1: "2001:db8::2-2001:db8::1": the range is reversed; write 2001:db8::1-2001:db8::2`},
	{"two families", "192.0.2.1-2001:db8::1\n", "",
		`list:1:1: "192.0.2.1-2001:db8::1": both addresses of a range are of one family`},
	{"short", "192.0.2.10-20\n", "",
		`list:1:1: "192.0.2.10-20": write both addresses of a range in full: 192.0.2.10-192.0.2.20`},
	{"CIDRs", "192.0.2.0/24-192.0.3.0/24", "",
		`list:1:1: "192.0.2.0/24-192.0.3.0/24" is not an address, a CIDR or a range of addresses; ` +
			`a range goes from one address to another, without prefix lengths`},
	{"zones", "fe80::1%a-fe80::2%a", "",
		`list:1:1: "fe80::1%a-fe80::2%a" has a zone; write the range without it`},
	{"mapped", "::ffff:192.0.2.1-::ffff:192.0.2.2", "",
		`list:1:1: "::ffff:192.0.2.1-::ffff:192.0.2.2" has an IPv4-mapped IPv6 address, which never ` +
			`appears on the wire; write 192.0.2.1-192.0.2.2`},
	{"open range", "192.0.2.1-", "",
		`list:1:1: "192.0.2.1-" is a range without its last address; write that, too, or 192.0.2.1 ` +
			"for the one address"},
	{"open range with a space", "2001:db8::1 -\n192.0.2.1-300\n192.0.2.9-3\n", "",
		`list:1:1: "2001:db8::1 -" is a range without its last address; write that, too, or ` +
			"2001:db8::1 for the one address\n" +
			`list:2:1: "192.0.2.1-300": write both addresses of a range in full` + "\n" +
			`list:3:1: "192.0.2.9-3": write both addresses of a range in full`},
	{"two in quotes", "\"192.0.2.0/24,203.0.113.0/24\",x\n", "",
		`list:1:2: "192.0.2.0/24,203.0.113.0/24" is not an address or CIDR; write each as an ` +
			"entry of its own: 192.0.2.0/24, 203.0.113.0/24"},

	{"CSV", "192.0.2.0/24,US,US-TX,Richardson,\n2001:db8::/32,DE,,\n", "",
		"192.0.2.0/24 2001:db8::/32"},
	{"TSV", "192.0.2.0/24\tUS\t\n192.0.3.1\n", "", "192.0.2.0/24 192.0.3.1/32"},
	{"quoted", "\"192.0.2.0/24\",\"US, of course\"\n\"192.0.3.0/24\"\n", "", "192.0.2.0/23"},
	{"names of columns", "# x\nnetwork,geoname_id\n192.0.2.0/24,1\n", "", "192.0.2.0/24"},
	{"semicolons", "\"IP range\";\"x\"\n\"192.0.2.0/24\";\"US\"\n192.0.3.0/24;192 hosts;\n", "",
		"192.0.2.0/23"},
	{"two columns with semicolons", "192.0.2.0;192.0.2.255;US\n192.0.3.0 ; 192.0.2.1\n", "",
		`list:1:1: "192.0.2.0" and "192.0.2.255" stand in one line` + oneALine},
	{"empty column", "192.0.2.0\n,US\n", "", `list:2:1: "" is not an address or CIDR`},
	{"names of columns, again", "192.0.2.0/24,1\nnetwork,id\n", "",
		`list:2:1: "network" is not an address or CIDR`},
	{"a range in CSV", "192.0.2.10-192.0.2.11,x", "", "192.0.2.10/31"},
	{"two columns", "192.0.2.0,192.0.2.255,US\n", "",
		`list:1:1: "192.0.2.0" and "192.0.2.255" stand in one line` + oneALine},
	{"two quoted columns", "\"2001:db8::\",\"2001:db8::ff\",US\n", "",
		`list:1:2: "2001:db8::" and "2001:db8::ff" stand in one line` + oneALine},
	{"several", "192.0.2.0/24, 192.0.3.0/24\n", "",
		`list:1:1: "192.0.2.0/24" and "192.0.3.0/24" stand in one line` + oneALine},
	{"mask in a column", "192.0.2.0\t255.255.255.0\n", "",
		`list:1:1: "192.0.2.0" and "255.255.255.0" stand in one line; write 192.0.2.0/24`},
	{"length in a column", "192.0.2.0,/24\n", "",
		`list:1:1: "192.0.2.0" and "/24" stand in one line; write 192.0.2.0/24`},
	{
		"length in a column, without a slash",
		"192.0.2.0,24\n192.0.2.0\t24\n192.0.2.0;24;x\n2001:db8:: , 32\n",
		"",
		`list:1:1: "192.0.2.0" and "24" stand in one line; write 192.0.2.0/24` + "\n" +
			`list:2:1: "192.0.2.0" and "24" stand in one line; write 192.0.2.0/24` + "\n" +
			`list:3:1: "192.0.2.0" and "24" stand in one line; write 192.0.2.0/24` + "\n" +
			`list:4:1: "2001:db8::" and "32" stand in one line; write "2001:db8::/32"`,
	},
	{
		"numbers that are no length",
		"192.0.2.5,24\n192.0.2.6,32\n192.0.2.8,33\n192.0.2.9,US,24\n",
		"",
		"192.0.2.5/32 192.0.2.6/32 192.0.2.8/31",
	},
	{"a range around a country", "192.0.2.0,US,192.0.2.255\n", "",
		`list:1:1: "192.0.2.0" and "192.0.2.255" stand in one line` + oneALine},
	{"a mask behind a country", "192.0.2.0;x;255.255.255.0\n10.0.0.1;255.0.0.0\n", "",
		`list:1:1: "192.0.2.0" and "255.255.255.0" stand in one line; write 192.0.2.0/24` + "\n" +
			`list:2:1: "10.0.0.1" and "255.0.0.0" stand in one line; write 10.0.0.0/8 for the network, ` +
			`or 10.0.0.1 for the one address`},
	{"a range and an address", "192.0.2.10-192.0.2.11,192.0.2.5", "",
		`list:1:1: "192.0.2.10-192.0.2.11" and "192.0.2.5" stand in one line` + oneALine},
	{"geofeed", "192.0.2.0/24,US,US-TX,Richardson,75080\n192.0.3.0/24,US,,,24\n192.0.4.0/23,,,,\n" +
		"2001:db8::/32,DE,DE-BE,\"Berlin, 10.0.0.1\",10115\n192.0.6.7,24,,,\n", "",
		"192.0.2.0/23 192.0.4.0/23 192.0.6.7/32 2001:db8::/32"},
	{"countries first", "US,192.0.2.0/24\nDE,198.51.100.0/24\n", "",
		`list:1:1: "US" is not an address or CIDR, and "192.0.2.0/24" in column 2 is: make that the first column` +
			"\n" + `list:2:1: "DE" is not an address or CIDR, and "198.51.100.0/24" in column 2 is: make that ` +
			`the first column`},
	{"countries first, with a heading", "country,network\nUS,192.0.2.0/24\n", "",
		`list:2:1: "US" is not an address or CIDR, and "192.0.2.0/24" in column 2 is: make that the first column`},
	{"two headings", "network,country\nof,something\n192.0.2.0/24,US\n", "",
		`list:2:1: "of" is not an address or CIDR`},
	{"a heading alone", "# x\nnetwork,country\n", "",
		"list:2:1: this names columns and no entry follows; if it shall be an empty list, write # before it"},
	{"two entries", "192.0.2.1, 203.0.113.9\n192.0.2.1,2026-01-01,203.0.113.9\n", "",
		`list:1:1: "192.0.2.1" and "203.0.113.9" stand in one line` + oneALine + "\n" +
			`list:2:1: "192.0.2.1" and "203.0.113.9" stand in one line` + oneALine},
	{"two entries, one like a mask", "192.0.2.1,128.0.0.0\n0.0.0.0,0.0.0.0\n", "",
		`list:1:1: "192.0.2.1" and "128.0.0.0" stand in one line` + oneALine + "\n" +
			`list:2:1: "0.0.0.0" and "0.0.0.0" stand in one line` + oneALine},
	{"an entry and a range", "192.0.2.0/24,198.51.100.1-198.51.100.9\n", "",
		`list:1:1: "192.0.2.0/24" and "198.51.100.1-198.51.100.9" stand in one line` + oneALine},
	{"CIDRs and their ends",
		"192.0.2.0/24,192.0.2.0,192.0.2.255\n192.0.3.0/24,255.255.255.0,US\n" +
			"2001:db8::/32,2001:db8::,2001:db8:ffff:ffff:ffff:ffff:ffff:ffff\n" +
			"192.0.4.8-192.0.4.9,192.0.4.8,192.0.4.9\n192.0.6.1,192.0.6.1\n", "",
		"192.0.2.0/23 192.0.4.8/31 192.0.6.1/32 2001:db8::/32"},
	{"CIDRs and other addresses", "192.0.2.0/24,203.0.113.9\n192.0.3.0/24,255.255.0.0\n", "",
		`list:1:1: "192.0.2.0/24" and "203.0.113.9" stand in one line` + oneALine + "\n" +
			`list:2:1: "192.0.3.0/24" and "255.255.0.0" stand in one line` + oneALine},
	{"named CIDRs and other addresses",
		"network,gateway\n192.0.2.0/24,203.0.113.9\n192.0.3.9,203.0.113.9\n", "",
		"192.0.2.0/24 192.0.3.9/32"},
	{"named addresses", "\"IP Address\";via;seen\n192.0.2.1;192.0.2.0/24;2026-01-01\n", "",
		"192.0.2.1/32"},
	{"a name with a digit", "ipv4_prefix,asn\n192.0.2.0/24,64496\n", "", "192.0.2.0/24"},
	{"named masks", "network,netmask\n192.0.2.0,255.255.255.0\n192.0.3.0,0.0.0.255\n", "",
		`list:2:1: "192.0.2.0" and "255.255.255.0" stand in one line; write 192.0.2.0/24` + "\n" +
			`list:3:1: "192.0.3.0" and "0.0.0.255" stand in one line; write 192.0.3.0/24`},
	{"masks without a name", "ip,x\n192.0.3.0,0.0.0.255\n", "",
		`list:2:1: "192.0.3.0" and "0.0.0.255" stand in one line; write 192.0.3.0/24`},
	{"named lengths", "prefix,as,length\n192.0.2.0,1,24\n192.0.3.5,1,24\n192.0.4.5,1,32\n", "",
		`list:2:1: "192.0.2.0" and "24" stand in one line; write 192.0.2.0/24` + "\n" +
			`list:3:1: "192.0.3.5" and "24" stand in one line` + oneALine},
	{"a named broadcast", "network,broadcast\n192.0.2.0/24,192.0.2.255\n192.0.3.0,192.0.3.255\n",
		"",
		`list:3:1: "192.0.3.0" and "192.0.3.255" stand in one line` + oneALine},
	{"named ranges", "start,end\n192.0.2.0,192.0.2.255\n192.0.3.9,192.0.3.1\n192.0.3.1,\n", "",
		`list:2:1: "192.0.2.0" and "192.0.2.255" stand in one line; write the range as ` +
			"192.0.2.0-192.0.2.255\n" +
			`list:3:1: "192.0.3.9" and "192.0.3.1" stand in one line` + oneALine},
	{"named ranges of IPv6", "First IP\tcountry\tLast IP\n2001:db8::\tDE\t2001:db8::ff\n", "",
		`list:2:1: "2001:db8::" and "2001:db8::ff" stand in one line; write the range as ` +
			"2001:db8::-2001:db8::ff"},
	{"named ranges, the other way", "end,start\n192.0.2.0,192.0.2.255\n", "",
		`list:2:1: "192.0.2.0" and "192.0.2.255" stand in one line` + oneALine},
	{"a log", "from_ip,to_ip\n192.0.2.1,192.0.2.1\n", "", "192.0.2.1/32"},
	{"dates first", "\"2026-01-01\",\"192.0.2.1\"\n2026-01-01,192.0.2.1-192.0.2.9\n", "",
		`list:1:2: "2026-01-01" is not an address or CIDR, and "192.0.2.1" in column 2 is: make that ` +
			"the first column\n" +
			`list:2:1: "2026-01-01" is not an address or CIDR, and "192.0.2.1-192.0.2.9" in column 2 ` +
			"is: make that the first column"},
	{"bad column", "192.0.2.1/24,US", "", `list:1:1: "192.0.2.1/24" has host bits set; ` +
		`write 192.0.2.0/24 for the network, or 192.0.2.1 for the one address`},

	{
		"JSON",
		`{"prefixes": [{"cidr": "192.0.2.0/24"}, {"cidr": "2001:db8::/32"}]}`,
		"$.prefixes[*].cidr",
		"192.0.2.0/24 2001:db8::/32",
	},
	{"JSON of windows", "\xef\xbb\xbf\r\n[\r\n\"192.0.2.1\"]\r\n", "$[*]", "192.0.2.1/32"},
	{
		"JSON lines",
		"{\"cidr\":\"192.0.2.0/24\"}\n\n{\"cidr\":\"192.0.3.0/24\"}\n{\"n\":2}\n",
		"$.cidr",
		"192.0.2.0/23",
	},
	{"range in JSON", `["192.0.2.10-192.0.2.11", " 192.0.2.12 "]`, "$[*]",
		"192.0.2.10/31 192.0.2.12/32"},
	{"index", `{"a": ["192.0.2.1", "192.0.2.2"]}`, "$.a[1]", "192.0.2.2/32"},
	{"last", `{"a": ["192.0.2.1", "192.0.2.2"]}`, "$.a[-1]", "192.0.2.2/32"},
	{
		"slice",
		`{"a": ["192.0.2.1", "192.0.2.2", "192.0.2.4"]}`,
		"$.a[1:]",
		"192.0.2.2/32 192.0.2.4/32",
	},
	{"everywhere", `{"a": [{"ip": "192.0.2.1"}], "b": {"ip": "192.0.2.3", "x": 1}}`, "$..ip",
		"192.0.2.1/32 192.0.2.3/32"},
	{"filter", `{"a": [{"ip": "192.0.2.1", "s": "x"}, {"ip": "192.0.2.3", "s": "y"}, {"ip": 5}]}`,
		"$.a[?@.s=='y'].ip", "192.0.2.3/32"},
	{"filter of an object", `{"a": {"p": {"ip": ["192.0.2.1"], "on": true}, "q": {"on": false}}}`,
		"$.a[?@.on==true].ip[*]", "192.0.2.1/32"},
	{"escapes", `{"\u0061": ["192.0.2.\u0031"]}`, "$.a[*]", "192.0.2.1/32"},
	{"nothing", `{"a": []}`, "$.b[*]", `list: select "$.b[*]" finds nothing in it`},
	{"nothing there", `{"a": ["192.0.2.1"], "b": {"c": "192.0.2.0/24"}}`, "$.b[*].d",
		`list: select "$.b[*].d" finds nothing in it; it has addresses at $.a[*] and $.b.c`},
	{
		"nothing in scalars",
		`{"a": "192.0.2.1"}`,
		"$.a.b",
		`list: select $.a.b finds nothing in it; it has addresses at $.a`,
	},
	{"number", "{\"a\": [\n  \"192.0.2.1\",\n  17]}", "$.a[*]",
		`list:3:3: $['a'][1]: 17 is not an address, a CIDR or a range`},
	{"null", `{"a": null}`, "$.a", `list:1:7: $['a']: null is not an address, a CIDR or a range`},
	{"object", `{"a": {"b": ["192.0.2.1"]}, "c": 1}`, "$.a",
		`list:1:7: $['a']: an object is not an address, a CIDR or a range`},
	{"arrays", `[["192.0.2.1"], true]`, "$[*]",
		`list:1:2: $[0]: an array is not an address, a CIDR or a range` + "\n" +
			`list:1:17: $[1]: true is not an address, a CIDR or a range`},
	{"host bits", `["192.0.2.1/24"]`, "$[*]", `list:1:2: $[0]: "192.0.2.1/24" has host bits set; ` +
		`write 192.0.2.0/24 for the network, or 192.0.2.1 for the one address`},
	{"numbers", "[1]", "$[*]", `list:1:2: $[0]: 1 is not an address, a CIDR or a range`},
	{"filtered number", `[{"s": 1, "ip": 5}]`, "$[?@.s==1].ip",
		`list:1:2: selected in $[0]: 5 is not an address, a CIDR or a range`},
	{"cut off", `{"a": ["192.0.2.1"`, "$.a[*]", `list:1:19: the JSON ends in the middle`},
	{"trailing text", "[\"192.0.2.1\"]\n]", "$[*]",
		"list:2:1: this is not valid JSON: ']' where a value belongs"},
	{"bad JSON", "{\"a\": [\"192.0.2.1\",\n x]}", "$.a[*]",
		`list:2:3: this is not valid JSON: "x" is not a value`},
	{"deep", strings.Repeat("[", 100_000), "$.a", "list:1:34: it is nested deeper than 32 levels"},
	{"deep and held", "[" + strings.Repeat("[", 200) + strings.Repeat("]", 200) + "]", "$..a",
		"list:1:33: it is nested deeper than 32 levels"},
	{"plain with select", "192.0.2.1\n", "$.a",
		"list:1:1: this is not JSON, and select is for JSON alone: leave select out"},

	{
		"strings, one a line",
		"\"192.0.2.1\"\n\"192.0.2.\\u0033\"\n",
		"$",
		"192.0.2.1/32 192.0.2.3/32",
	},
	{
		"strings, one a line, as text",
		"\"192.0.2.1\"\n\"192.0.2.3\"\n",
		"",
		"192.0.2.1/32 192.0.2.3/32",
	},
	{"strings, one a line, with a path", "\"192.0.2.1\"\n\"192.0.2.3\"\n", "$[*]",
		"list:1:1: these are strings, one a line: write select: $"},
	{"quoted columns with a path", "\"192.0.2.1\",\"US\"\n", "$",
		"list:1:1: this is not JSON, and select is for JSON alone: leave select out"},
	{"JSON behind a comment", "# x\n\n// y\n[\"192.0.2.1\"]\n", "",
		"list:1:1: this is JSON behind comments, which JSON does not have: delete the lines before " +
			`it, and add select: "$[*]"`},
	{"JSON behind a comment, with a select", "# x\n{\"a\": \"192.0.2.1\"}\n", "$.a",
		"list:1:1: this is JSON behind comments, which JSON does not have: delete the lines before it"},
	{"an address in brackets behind a comment", "# x\n[2001:db8::1]\n", "",
		`list:2:1: "[2001:db8::1]" is not an address or CIDR; write "2001:db8::1" without the brackets`},
	{"JSON lines without select", "{\"cidr\":\"192.0.2.0/24\",\"sblid\":\"SBL1\"}\n", "",
		"list:1:1: this is JSON lines: add select: $.cidr"},
	{
		"JSON without select",
		`{"createDate": "2025", "prefixes": [{"ip_prefix": "3.4.12.4/32"}]}`,
		"",
		`list:1:1: this is JSON: add select: "$.prefixes[*].ip_prefix"`,
	},
	{"two paths", `{"a": [{"ipv4Prefix": "8.8.4.0/24"}, {"ipv6Prefix": "2001:db8::/32"}]}`, "",
		`list:1:1: this is JSON: add select: "$.a[*].ipv4Prefix" (it has addresses at $.a[*].ipv6Prefix, too)`},
	{"odd key", `{"a-b": ["8.8.4.0/24"]}`, "", `list:1:1: this is JSON: add select: "$['a-b'][*]"`},
	{"array", "[\n  \"192.0.2.1\"\n]\n", "", `list:1:1: this is JSON: add select: "$[*]"`},
	{
		"rows",
		`[["192.0.2.1","DE"],["192.0.2.3","US",1]]`,
		"",
		"list:1:1: this is JSON: add select: " +
			`"$[*][0]"`,
	},
	{"rows of lines", "[\"DE\",\"192.0.2.1\"]\n[\"US\",\"192.0.2.3\"]\n", "",
		`list:1:1: this is JSON: add select: "$[1]"`},
	{"lists of addresses", `[["192.0.2.1"],["192.0.2.3","192.0.2.5"]]`, "",
		`list:1:1: this is JSON: add select: "$[*][*]"`},
	{"rows with other text", `[["192.0.2.1","DE"],["x","192.0.2.3"]]`, "", besideOthers("$[*][*]")},
	{"an array with other text", `["192.0.2.1","x"]`, "", besideOthers("$[*]")},
	{"a null", `[{"ip":"192.0.2.1"},{"ip":null}]`, "",
		`list:1:1: this is JSON: add select: "$[?@.ip!=null].ip"`},
	{"a null that select finds", `[{"ip":"192.0.2.1"},{"ip":null}]`, "$[*].ip",
		`list:1:27: $[1]['ip']: null is not an address, a CIDR or a range; select: ` +
			`"$[?@.ip!=null].ip" passes over it`},
	{"a null that a filter passes over", `[{"ip":"192.0.2.1"},{"ip":null},{}]`, "$[?@.ip!=null].ip",
		"192.0.2.1/32"},
	{"nulls in an array", `{"a-b":["192.0.2.1",null]}`, "$['a-b'][*]",
		`list:1:21: $['a-b'][1]: null is not an address, a CIDR or a range; select: ` +
			`"$['a-b'][?@!=null]" passes over it`},
	{"nulls in an array, passed over", `{"a-b":["192.0.2.1",null]}`, "$['a-b'][?@!=null]",
		"192.0.2.1/32"},
	{"nulls deep below", `[{"a":{"ip":null}},{"a":{"ip":"192.0.2.1"}}]`, "",
		`list:1:1: this is JSON: add select: "$[?@.a.ip!=null].a.ip"`},
	{"nulls at two keys", `[{"a":null,"b":"192.0.2.1"}]`, "$[*]['a','b']",
		`list:1:7: $[0]['a']: null is not an address, a CIDR or a range`},
	{"nulls in lines", "{\"ip\":\"192.0.2.1\"}\n{\"ip\":null}\n", "",
		strings.Replace(besideOthers("$.ip"), "JSON", "JSON lines", 1)},
	{"empty texts", `[{"ip":"192.0.2.1"},{"ip":""}]`, "", besideOthers("$[*].ip")},
	{"lengths apart", `[{"prefix":"192.0.2.0","length":24}]`, "",
		standsApart("$[*].prefix and $[*].length")},
	{"lengths apart, of two kinds",
		`[{"x":"192.0.2.1","v4":"192.0.2.0","mask-length":24},{"v6":"2001:db8::","Prefix_Len":"32"}]`,
		"", standsApart("$[*].x and $[*].v4 and $[*]['mask-length']")},
	{"masks apart", `{"net":{"ip":"192.0.2.0","netmask":"255.255.255.0"}}`, "",
		standsApart("$.net.ip and $.net.netmask")},
	{"ends apart", `{"a":[{"start_ip":"192.0.2.0","end_ip":"192.0.2.255"}]}`, "",
		standsApart("$.a[*].start_ip and $.a[*].end_ip")},
	{"ends and sizes as numbers", `[{"start":"192.0.2.0","end":3221226239}]`, "",
		standsApart("$[*].start and $[*].end")},
	{"sizes", `[{"start":"192.0.2.0","count":256}]`, "",
		standsApart("$[*].start and $[*].count")},
	{"masks in hexadecimal", `[{"ip":"192.0.2.0","mask":"0xffffff00"}]`, "",
		standsApart("$[*].ip and $[*].mask")},
	{"ends beside a CIDR", `[{"cidr":"192.0.2.0/24","first":"192.0.2.0","last":"192.0.2.255"}]`, "",
		`list:1:1: this is JSON: add select: "$[*].cidr"`},
	{"lengths in rows", `[["192.0.2.0",24]]`, "", standsApart("$[*][0] and $[*][1]")},
	{"masks in rows", `[["192.0.2.0","255.255.255.0"]]`, "", standsApart("$[*][0] and $[*][1]")},
	{"whole lengths", `[{"ip":"192.0.2.1","length":32}]`, "",
		`list:1:1: this is JSON: add select: "$[*].ip"`},
	{"named hosts", `{"hosts":{"a":"192.0.2.1","b":"192.0.2.3"}}`, "",
		`list:1:1: this is JSON: add select: "$.hosts.*"`},
	{
		"named hosts with more",
		`{"hosts":{"a":{"ip":"192.0.2.1","os":"x"},"b":{"ip":"192.0.2.3"}}}`,
		"",
		`list:1:1: this is JSON: add select: "$.hosts.*.ip"`,
	},
	{"named hosts with nulls", `{"hosts":{"a":"192.0.2.1","b":null,"c":"192.0.2.3"}}`, "",
		`list:1:1: this is JSON: add select: "$.hosts[?@!=null]"`},
	{"one named host", `{"hosts":{"a":"192.0.2.1"}}`, "",
		`list:1:1: this is JSON: add select: $.hosts.a`},
	{"names with a meaning", `{"eth0":{"ip":"192.0.2.1","gateway":"192.0.2.3"}}`, "",
		`list:1:1: this is JSON: add select: $.eth0.ip (it has addresses at $.eth0.gateway, too)`},
	{
		"a log",
		"{\"src\":\"192.0.2.1\",\"dst\":\"192.0.2.3\"}\n{\"src\":\"192.0.2.5\",\"dst\":\"192.0.2.3\"}\n",
		"",
		`list:1:1: this is JSON lines: add select: $.src (it has addresses at $.dst, too)`,
	},
	{"no address", `{"a": 1}`, "", `list:1:1: this is JSON: add select: and the JSON path of its ` +
		`addresses, such as "$.prefixes[*].cidr"`},

	{"HTML", "\n<!DOCTYPE html>\n<html>", "", "list:1:1: " + htmlMessage},
	{"HTML with select", "<html><body>", "$.a", "list:1:1: " + htmlMessage},
	{"XML", "<?xml version=\"1.0\"?>\n<list>", "",
		"list:1:1: this is XML: write its addresses into a text file, one a line"},
	{"UTF-16", encodeUTF16("\ufeff192.0.2.1\r\n", false), "", "list:1:1: " + wide("UTF-16")},
	{"UTF-16, big endian", encodeUTF16("\ufeff192.0.2.1\r\n", true), "",
		"list:1:1: " + wide("UTF-16")},
	{"UTF-16 without a mark", encodeUTF16("192.0.2.1\r\n", false), "",
		"list:1:1: " + wide("UTF-16LE")},
	{"UTF-16 without a mark, big endian", encodeUTF16("192.0.2.1\r\n", true), "",
		"list:1:1: " + wide("UTF-16BE")},
	{"UTF-32", encodeUTF32("\ufeff192.0.2.1\r\n", binary.LittleEndian), "",
		"list:1:1: " + wide("UTF-32")},
	{"UTF-32, big endian", encodeUTF32("\ufeff192.0.2.1\r\n", binary.BigEndian), "$.a",
		"list:1:1: " + wide("UTF-32")},
	{"UTF-32 without a mark", encodeUTF32("192.0.2.1\r\n", binary.LittleEndian), "",
		"list:1:1: " + wide("UTF-32LE")},
	{"UTF-32 without a mark, big endian", encodeUTF32("192.0.2.1\r\n", binary.BigEndian), "",
		"list:1:1: " + wide("UTF-32BE")},
	{"zeros", strings.Repeat("\x00", 100), "",
		"list:1:1: this is not text: a list has one address or CIDR a line"},
	{"PDF", "%PDF-1.7\n", "",
		"list:1:1: this is a PDF document: write its addresses into a text file, one a line"},
	{"zip", "PK\x03\x04\x14\x00", "",
		"list:1:1: this is a zip archive: unpack it first; of packed lists only gzip is read"},
	{"xz", "\xfd7zXZ\x00\x00", "",
		"list:1:1: this is packed with xz: unpack it first; of packed lists only gzip is read"},
	{"zstd", "\x28\xb5\x2f\xfd\x04", "",
		"list:1:1: this is packed with zstd: unpack it first; of packed lists only gzip is read"},
	{"bzip2", "BZh91AY", "",
		"list:1:1: this is packed with bzip2: unpack it first; of packed lists only gzip is read"},
	{"tar", "list.txt" + strings.Repeat("\x00", 249) + "ustar\x00", "",
		"list:1:1: this is a tar archive: unpack it first; of packed lists only gzip is read"},

	{"long line", "192.0.2.1\n# " + strings.Repeat("x", 1<<17) + "\n192.0.2.3\n", "",
		"list:2:1: the line is longer than 64 KiB; a list has one entry a line"},
	{"dash", "- 192.0.2.1\n", "",
		`list:1:1: "- 192.0.2.1" is not an address or CIDR; leave the dash out: write 192.0.2.1`},
	{"space in a CIDR", "192.0.2.0 /24\n", "",
		`list:1:1: "192.0.2.0 /24" is not an address or CIDR; without the space it is 192.0.2.0/24`},
	{"mask", "192.0.2.0 255.255.255.0\n", "",
		`list:1:1: "192.0.2.0 255.255.255.0" is not an address or CIDR; write 192.0.2.0/24`},
	{"mask of a host", "10.0.0.1 255.0.0.0\n", "",
		`list:1:1: "10.0.0.1 255.0.0.0" is not an address or CIDR; write 10.0.0.0/8 for the network, ` +
			`or 10.0.0.1 for the one address`},
	{"mask of a host behind a slash", "10.0.0.1/255.0.0.0\n", "",
		`list:1:1: "10.0.0.1/255.0.0.0": the prefix length of an IPv4 CIDR is a number from 0 to 32; ` +
			`write 10.0.0.0/8 for the network, or 10.0.0.1 for the one address`},
	{"two with a space", "10.0.0.1 10.0.0.2\n", "",
		`list:1:1: "10.0.0.1 10.0.0.2" is not an address or CIDR; write each as an entry of its own: 10.0.0.1, 10.0.0.2`},
	{"a range in words", "192.0.2.0 to 192.0.2.255\n192.0.2.4..192.0.2.7\n", "",
		`list:1:1: "192.0.2.0 to 192.0.2.255" is not an address or CIDR; write a range as CIDRs: ` +
			"192.0.2.0/24\n" + `list:2:1: "192.0.2.4..192.0.2.7" is not an address or CIDR; ` +
			"write a range as CIDRs: 192.0.2.4/30"},
	{"a mask of a router", "10.0.0.0 0.255.255.255\n10.0.0.1 0.0.0.3\n10.0.0.0 0.0.0.0\n", "",
		`list:1:1: "10.0.0.0 0.255.255.255" is not an address or CIDR; write 10.0.0.0/8` + "\n" +
			`list:2:1: "10.0.0.1 0.0.0.3" is not an address or CIDR; write 10.0.0.0/30 for the ` +
			"network, or 10.0.0.1 for the one address\n" +
			`list:3:1: "10.0.0.0 0.0.0.0" is not an address or CIDR; a line has one address, ` +
			"CIDR or range, and comments behind #"},
	{"a CIDR and text", "10.0.0.0/8 office\n10.0.0.0/8 and (192.0.2.1)\n", "",
		`list:1:1: "10.0.0.0/8 office" is not an address or CIDR; a comment stands behind #` + "\n" +
			`list:2:1: "10.0.0.0/8 and (192.0.2.1)" is not an address or CIDR; a line has one ` +
			"address, CIDR or range, and comments behind #"},
	{"text behind it", "192.0.2.1 gateway\n", "",
		`list:1:1: "192.0.2.1 gateway" is not an address or CIDR; a comment stands behind #`},
}

func TestListFormats(t *testing.T) {
	for _, f := range formatCases {
		t.Run(f.name, func(t *testing.T) {
			expect(t, "the list", readText(t, f.content, f.path), f.want)
			expect(t, "the packed list", readText(t, gzipped(t, f.content), f.path), f.want)
		})
	}
}

func TestPackedLists(t *testing.T) {
	list := gzipped(t, "192.0.2.1\n")
	expect(t, "two members",
		readText(t, list+gzipped(t, "192.0.2.3\n"), ""), "192.0.2.1/32 192.0.2.3/32")
	expect(t, "cut off", readText(t, list[:len(list)-4], ""),
		"list: its gzip data is damaged or cut off (unexpected EOF)")
	expect(t, "cut off in its head", readText(t, list[:5], ""),
		"list: its gzip data is damaged or cut off (unexpected EOF)")
	expect(t, "followed by something", readText(t, list+"x\n", ""),
		"list: its gzip data is damaged or cut off (unexpected EOF)")
	broken := list[:len(list)-5] + "xxxxx"
	expect(t, "damaged", readText(t, broken, ""),
		"list: its gzip data is damaged or cut off (gzip: invalid checksum)")
	expect(t, "packed twice", readText(t, gzipped(t, list), ""),
		"list:1:1: this is packed with gzip twice: unpack it once")
	expect(t, "a bomb", readText(t, gzipped(t, strings.Repeat("# nothing\n", 7<<20)), ""),
		"list: unpacked, it is larger than 64 MiB")
	text := `{"a": ["192.0.2.1"], "b": [` +
		strings.Repeat(`"`+strings.Repeat("x", 1000)+`",`, maxListBytes/1000)
	expect(t, "a bomb of JSON", readText(t, gzipped(t, text), "$.a[*]"),
		"list: unpacked, it is larger than 64 MiB")
	long := strings.Repeat("x", maxHeldBytes)
	expect(t, "a long text that is passed over",
		readText(t, `{"b":"`+long+`","a":["192.0.2.1"]}`, "$.a[*]"),
		"192.0.2.1/32")
	long = `{"b": ["` + long + `"]}`
	expectPart(t, readText(t, long, "$.b[*]"), ": a key, string or number is longer than 64 KiB")
	expect(t, "a long text that is held",
		readText(t, long, "$.b[-1]"), "list:1:7: "+errTooMuchHeld.Error())
}

// TestLinkedListsAreHidden checks that messages don't quote a list behind a link, in any format.
func TestLinkedListsAreHidden(t *testing.T) {
	for _, f := range formatCases {
		o := listReader{name: "list", limit: 1000, hideText: true}
		if f.path != "" {
			o.selects, _ = parseSelect(f.path)
		}
		_, err := o.read(strings.NewReader(f.content))
		if err == nil {
			continue
		}
		for _, word := range []string{"192", "2001", "cidr", "prefix", "gateway", "invalid"} {
			if strings.Contains(err.Error(), word) && !strings.Contains(f.path, word) {
				t.Errorf("%s: %v", f.name, err)
			}
		}
	}
}

// TestListFiles reads the lists of testdata from files and URLs, with and without gzip.
func TestListFiles(t *testing.T) {
	for name, c := range map[string]struct{ more, want string }{
		"semicolon.txt": {"", "192.0.2.0/24"},
		"range.txt":     {"", "192.0.2.10/31 192.0.2.12/30 192.0.2.16/30 192.0.2.20/32"},
		"lines.jsonl":   {", select: $.cidr", "192.0.2.0/24"},
		"geofeed.csv":   {"", "192.0.2.0/24"},
		"rfc8805.csv":   {"", "192.0.2.0/24 2001:db8:cafe::/48"},
		"geolite2.csv":  {"", "1.0.0.0/23"},
	} {
		t.Run(name, func(t *testing.T) {
			content, err := os.ReadFile(filepath.Join("testdata", "lists", name))
			if err != nil {
				t.Fatal(err)
			}
			for _, text := range []string{string(content), gzipped(t, string(content))} {
				w := newWorld(t)
				path := filepath.Join(t.TempDir(), name)
				write(t, path, text)
				expect(t, "the file", w.allowed(fmt.Sprintf("{file: %s%s}", path, c.more)), c.want)
				s := w.server(func(rw http.ResponseWriter, _ *http.Request) {
					fmt.Fprint(rw, text)
				})
				expect(t, "the download",
					w.allowed(fmt.Sprintf(`{url: "%s"%s}`, s.URL, c.more)), c.want)
			}
		})
	}
}

// TestSelectIsPartOfTheSource checks that content of another select is not reused.
func TestSelectIsPartOfTheSource(t *testing.T) {
	w := newWorld(t)
	asked := 0
	s := w.server(func(rw http.ResponseWriter, r *http.Request) {
		asked++
		rw.Header().Set("ETag", `"one"`)
		if r.Header.Get("If-None-Match") != "" {
			rw.WriteHeader(http.StatusNotModified)
			return
		}
		fmt.Fprint(rw, `{"a": ["192.0.2.1"], "b": ["203.0.113.1"]}`)
	})
	network := func(path string) string {
		return fmt.Sprintf(`{url: "%s", select: "%s"}`, s.URL, path)
	}
	expect(t, "a", w.allowed(network("$.a[*]")), "192.0.2.1/32")
	expect(t, "a", w.allowed(network("$.a[*]")), "192.0.2.1/32")
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
	expect(t, "b", w.allowed(network("$.b[*]")), "203.0.113.1/32")
	expectPart(t, w.refused(network("$.c[*]")), `: select "$.c[*]" finds nothing in it`)
}

// TestSelectKeepsLastGoodContent checks that JSON in a new format counts as a failure.
func TestSelectKeepsLastGoodContent(t *testing.T) {
	w := newWorld(t)
	path := filepath.Join(t.TempDir(), "list.json")
	n := fmt.Sprintf(`{file: %s, select: "$.a[*]"}`, path)
	write(t, path, `{"a": ["192.0.2.1"]}`)
	expect(t, "content", w.allowed(n), "192.0.2.1/32")
	for _, bad := range []string{`{"b": ["192.0.2.1"]}`, `{"a": []}`, `{"a": ["192.0.2.1", 5]}`,
		`{"a": ["192.0.2.1"`, "192.0.2.3\n", "<html>", ""} {
		write(t, path, bad)
		content, _ := w.stale(n)
		expect(t, bad, content, "192.0.2.1/32")
	}
}

func TestBadSelects(t *testing.T) {
	for path, want := range map[string]string{
		".prefixes[].ip":         `".prefixes[].ip" is not a JSON path (unexpected '.' at position 1); write "$.prefixes[*].ip"`,
		"prefixes[*].ip":         `"prefixes[*].ip" is not a JSON path (unexpected identifier at position 1); write "$.prefixes[*].ip"`,
		"cidr":                   `"cidr" is not a JSON path (unexpected identifier at position 1); write $.cidr`,
		"$.ip-list[*]":           `"$.ip-list[*]" is not a JSON path (invalid number literal at position 5); write "$['ip-list'][*]"`,
		".ip-list[].x":           `".ip-list[].x" is not a JSON path (unexpected '.' at position 1); write "$['ip-list'][*].x"`,
		`."ip list"[]`:           `".\"ip list\"[]" is not a JSON path (unexpected '.' at position 1); write "$['ip list'][*]"`,
		"$.a.2024[*]":            `"$.a.2024[*]" is not a JSON path (unexpected integer at position 5); write "$.a['2024'][*]"`,
		"$.a['b.c-d'].e-f":       `"$.a['b.c-d'].e-f" is not a JSON path (invalid number literal at position 15)`,
		"$.a[?@.b=='c.d-e'].f-g": `"$.a[?@.b=='c.d-e'].f-g" is not a JSON path (invalid number literal at position 21)`,
		"$.a[":                   `"$.a[" is not a JSON path (unexpected eof at position 5)`,
		"$.a[?@.b==$.c].d":       "a filter looks at the entry alone: write @ instead of $ in it",
		"$..a..b":                "a JSON path may have one .. in it: write out more of the path",
		"$[?search(@,'[')]": "the regular expression \"[\" is not valid (missing closing ]: `[`), " +
			"and would find nothing",
		`$[?@.a=="(" && match(@["b"], "a(b")].c`: "the regular expression \"a(b\" is not valid " +
			"(missing closing ): `a(b`), and would find nothing",
		`$[?match(@.b, '10\\..*') || search(@['c'], @.d)].c`: "",
		"$..a[?@..b]":                   "a JSON path may have one .. in it: write out more of the path",
		"$.a[?@.b=='$..']":              "",
		"$['..']..b":                    "",
		"$" + strings.Repeat(".a", 500): "a JSON path may have 1000 bytes",
	} {
		got := ""
		if _, err := parseSelect(path); err != nil {
			got = err.Error()
		}
		expect(t, path, got, want)
	}
}
