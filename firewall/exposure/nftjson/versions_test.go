package nftjson

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/exposuretest"
)

// rulesOfNewVersions are rules that newer versions than nft 1.0.6 print, or that not every kernel
// accepts (libnftables-json(5), src/json.c).
var rulesOfNewVersions = []struct{ expr, want string }{
	{`{"xt": null}`, "unknown effect: {\"xt\":null}"},
	{
		`{"xt": null}, {"counter": null}, {"accept": null}`,
		"unknown match: {\"xt\":null}; nothing: counter; accept",
	},
	{`{"xt": {"type": "match", "name": "limit"}}`, "unknown match: xt match limit"},
	{
		`{"xt": {"type": "match", "name": "comment"}}, {"drop": null}`,
		"nothing: xt match comment; drop",
	},
	{`{"xt": {"type": "target", "name": "LOG"}}`, "nothing: xt target LOG"},
	{`{"xt": {"type": "target", "name": "CT"}}`, "unknown effect: xt target CT"},
	{`{"xt": {"type": "target", "name": "REJECT"}}`, "reject"},
	{`{"xt": {"type": "target", "name": "NFQUEUE"}}`, "queue"},
	{
		`{"xt": {"type": "target", "name": "MARK"}}`,
		"meta mark := unknown (xt target MARK) up to 0xffffffff",
	},
	{`{"xt": {"type": "target", "name": "MASQUERADE"}}`, "masquerade inet"},
	{`{"queue": {"num": {"range": [1, 3]}, "flags": ["bypass", "fanout"]}}`, "queue 1-3"},
	{
		`{"match": {"op": "==", "left": {"&": [{"payload": {"protocol": "tcp", "field": "flags"}}, {"|": ["fin", "syn", "rst", "ack"]}]}, "right": "syn"}}`,
		"l4proto in {0x6}; tcp flags & ^0xe8 in {0x2}",
	},
	{
		`{"match": {"op": "==", "left": {"|": [{"meta": {"key": "mark"}}, 1, 2]}, "right": 3}}`,
		"meta mark & ^0x3 ^ 0x3 in {0x3}",
	},
	{
		`{"match": {"op": "==", "left": {"&": [255, {"meta": {"key": "mark"}}]}, "right": 3}}`,
		"meta mark & ^0xffffff00 in {0x3}",
	},
	{
		`{"match": {"op": "==", "left": {">>": [{"meta": {"key": "mark"}}, 8]}, "right": 3}}`,
		"meta mark >> 8 in {0x3}",
	},
	{
		`{"match": {"op": "==", "left": {"&": [{"meta": {"key": "mark"}}, {"ct": {"key": "mark"}}]}, "right": 3}}`,
		"unknown (meta mark & ct mark) in {0x3}",
	},
	{
		`{"match": {"op": "==", "left": {"payload": {"tunnel": "vxlan", "protocol": "ip", "field": "saddr"}}, "right": "10.0.0.1"}}`,
		"unknown (vxlan ip saddr) in {0xa000001}",
	},
	{
		`{"match": {"op": "==", "left": {"payload": {"base": "ih", "offset": 0, "len": 8}}, "right": 5}}`,
		"payload(3,0,8,0) in {0x5}",
	},
	{
		`{"match": {"op": "==", "left": {"payload": {"base": "th", "offset": 16, "len": 16}}, "right": 22}}`,
		"th dport in {0x16}",
	},
	{
		`{"match": {"op": "==", "left": {"meta": {"key": "nfproto"}}, "right": "ipv6"}}, {"match": {"op": "==", "left": {"payload": {"base": "nh", "offset": 64, "len": 128}}, "right": "::1"}}`,
		"nfproto in {0xa}; ip6 saddr in {0x1}",
	},
	{
		`{"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": "tcp"}}, {"match": {"op": "==", "left": {"payload": {"base": "th", "offset": 104, "len": 8}}, "right": 2}}`,
		"l4proto in {0x6}; tcp flags in {0x2}",
	},
	{`{"match": {"op": "==", "left": {"meta": {"key": "iif"}}, "right": 7}}`, "iif in {0x7}"},
	{
		`{"match": {"op": "==", "left": {"fib": {"result": "check", "flags": "saddr"}}, "right": "missing"}}`,
		"fib saddr exists in {0x0}",
	},
	{
		`{"match": {"op": "==", "left": {"fib": {"result": "oif", "flags": ["daddr", "oif"]}}, "right": 7}}`,
		"fib daddr oif oif in {0x7}",
	},
	{
		`{"match": {"op": "==", "left": {"ct": {"key": "saddr", "dir": "reply", "family": "ip"}}, "right": "10.0.0.1"}}`,
		"nfproto in {0x2}; ct reply ip saddr in {0xa000001}",
	},
	{
		`{"match": {"op": "==", "left": {"ct": {"key": "proto-dst", "dir": "original"}}, "right": 80}}`,
		"ct original proto-dst in {0x50}",
	},
	{
		`{"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "odd\\*"}}`,
		"iifname in {odd*}",
	},
	{
		`{"match": {"op": "==", "left": {"concat": [{"payload": {"protocol": "ip", "field": "saddr"}}, {"meta": {"key": "mark"}}]}, "right": {"concat": ["10.0.0.1", 5]}}}`,
		"nfproto in {0x2}; ip saddr . meta mark in {0xa000001 . 0x5}",
	},
	{
		`{"match": {"op": "in", "left": {"meta": {"key": "mark"}}, "right": {"set": [1, {"range": [3, 5]}]}}}`,
		"meta mark in {0x1, 0x3-0x5}",
	},
	{`{"match": {"op": "<", "left": {"meta": {"key": "mark"}}, "right": 0}}`, "meta mark in {}"},
	{
		`{"match": {"op": ">=", "left": {"payload": {"protocol": "th", "field": "dport"}}, "right": 65535}}`,
		"th dport in {0xffff}",
	},
	{
		`{"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": "@gone"}}`,
		"l4proto in {0x6}; unknown match: tcp dport @gone",
	},
	{
		`{"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": {"set": ["http", "domain"]}}}`,
		"l4proto in {0x6}; th dport in {0x50, 0x35}",
	},
	{
		`{"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": {"set": ["quux"]}}}`,
		"l4proto in {0x6}; th dport in {} unknown: its element quux has no model",
	},
	{
		`{"match": {"op": "~", "left": {"meta": {"key": "mark"}}, "right": 5}}`,
		"unknown match: meta mark ~ 5",
	},
	{
		`{"vmap": {"key": {"meta": {"key": "mark"}}, "data": "@gone"}}`,
		"unknown effect: meta mark vmap @gone",
	},
	{
		`{"mangle": {"key": {"meta": {"key": "mark"}}, "value": {"^": [{"meta": {"key": "mark"}}, {"ct": {"key": "mark"}}]}}}`,
		"meta mark := meta mark ^ ct mark",
	},
	{
		`{"mangle": {"key": {"meta": {"key": "pkttype"}}, "value": "host"}}`,
		"unknown effect: meta pkttype set host",
	},
	{
		`{"mangle": {"key": {"payload": {"protocol": "ip", "field": "saddr"}}, "value": "10.0.0.1"}}`,
		"nfproto in {0x2}; ip saddr := 0xa000001",
	},
	{
		`{"mangle": {"key": {"payload": {"protocol": "tcp", "field": "window"}}, "value": 5}}`,
		"l4proto in {0x6}; raw 16@2,112 := 0x5",
	},
	{
		`{"mangle": {"key": {"ct": {"key": "helper"}}, "value": "ftp"}}`,
		"nothing: ct helper set ftp",
	},
	{
		`{"set": {"op": "update", "elem": {"meta": {"key": "mark"}}, "set": "@gone"}}`,
		"unknown effect: update @gone { meta mark }",
	},
	{
		`{"dnat": {"family": "ip", "addr": {"prefix": {"addr": "10.1.0.0", "len": 16}}, "flags": ["netmap"]}}`,
		"dnat ip addr ip daddr & ^0xffff0000 ^ 0xa010000 (netmap)",
	},
	{`{"dnat": {"family": "ip6", "addr": {"range": ["::1", "::5"]}}}`, "dnat ip6 addr 0x1 to 0x5"},
	{
		`{"dnat": {"family": "ip", "addr": {"map": {"key": {"meta": {"key": "mark"}}, "data": "@gone"}}}}`,
		"dnat ip addr unknown (meta mark map @gone) up to 0xffffffff",
	},
	{
		`{"dnat": {"addr": {"jhash": {"mod": 2, "expr": 5}}}}`,
		"dnat inet addr unknown (jhash 5 mod 2) up to 0x1",
	},
	{`{"reject": null}`, "reject"},
	{`{"tproxy": {"addr": "::1"}}`, "tproxy inet addr 0x1"},
	{
		`{"flow": {"op": "add", "flowtable": "@f"}}`,
		"nothing: {\"flow\":{\"flowtable\":\"@f\",\"op\":\"add\"}}",
	},
	{`{"last": {"used": 5}}`, "nothing: {\"last\":{\"used\":5}}"},
	{`{"sparkle": {"a": 1}}`, "unknown effect: {\"sparkle\":{\"a\":1}}"},
	{`{"accept": null, "drop": null}`, "unknown effect: {\"accept\":null,\"drop\":null}"},
	{`{}`, "unknown effect: {}"},
	{
		strings.Repeat(`{"match":{"left":`, 40) + "1" + strings.Repeat("}}", 40),
		"unknown effect: a rule nested too deeply to read",
	},
}

const before = `{"nftables":[{"table":{"family":"inet","name":"t"}},{"chain":{"family":"inet","table":"t","name":"c"}},{"rule":{"family":"inet","table":"t","chain":"c","handle":7,"comment":"why","expr":[`

func TestRulesOfNewVersions(t *testing.T) {
	for _, c := range rulesOfNewVersions {
		rs := &exposure.Ruleset{}
		if err := ReadJSON("f", strings.NewReader(before+c.expr+"]}}]}"), rs); err != nil {
			t.Errorf("%s: %v", c.expr, err)
			continue
		}
		r := rs.Tables[0].Chain("c").Rules[0]
		if got := exposuretest.Statements(r.Statements); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.expr, got, c.want)
		}
		if r.Handle != 7 || r.Comment != "why" || r.Where() != "inet t c rule 1 (handle 7) (f)" {
			t.Errorf("%+v", r)
		}
	}
}

func TestObjectsOfNewVersions(t *testing.T) {
	for want, objects := range map[string]string{
		"table nftables ip t dormant\n": `{"table":{"family":"ip","name":"t","flags":["dormant","owner"]}}`,
		"table nftables ip t\n":         `{"table":{"family":"ip","name":"t","flags":"owner"}},{"metainfo":{}}`,
		"missing ip table ip t: its flag, printed as \"t\", doesn't tell whether the table is dormant; a newer nft would\ntable nftables ip t\n": `{"table":{"family":"ip","name":"t","flags":"t"}}`,
		"table nftables netdev t\n  chain c filter ingress 5 policy drop devices [lo eth*]\n":                                                    `{"table":{"family":"netdev","name":"t"}},{"chain":{"family":"netdev","table":"t","name":"c","type":"filter","hook":"ingress","prio":5,"policy":"drop","dev":["lo","eth*"]}}`,
		"table nftables netdev t\n  chain c filter ingress 5 policy accept\n":                                                                    `{"table":{"family":"netdev","name":"t"}},{"chain":{"family":"netdev","table":"t","name":"c","type":"filter","hook":"ingress","prio":5,"policy":"accept"}}`,
		"table nftables inet t\n  set s @s{0xa000001 . 0x50}\n":                                                                                  `{"table":{"family":"inet","name":"t"}},{"set":{"family":"inet","table":"t","name":"s","type":{"typeof":{"concat":[{"payload":{"protocol":"ip","field":"saddr"}},{"payload":{"protocol":"tcp","field":"dport"}}]}},"elem":[{"concat":["10.0.0.1",80]}]}}`,
		"table nftables inet t\n  set s @s{} unknown: a set of type {\"typeof\":{\"sparkle\":5}} has no model\n":                                 `{"table":{"family":"inet","name":"t"}},{"set":{"family":"inet","table":"t","name":"s","type":{"typeof":{"sparkle":5}},"elem":[5]}}`,
		"table nftables ip t\n  set s @s{0xa000001, 0x0-0xffffffff} [0 if limit rate 5/second]\n":                                                `{"table":{"family":"ip","name":"t"}},{"set":{"family":"ip","table":"t","name":"s","type":"ipv4_addr","elem":[{"elem":{"val":"10.0.0.1","stmt":[{"counter":null},{"limit":{"rate":5,"per":"second"}}]}},"*"]}}`,
		"table nftables ip t\n  set s @s{0xa000001, 0xa000002}\n":                                                                                `{"element":{"family":"ip","table":"t","name":"s","elem":["10.0.0.2"]}},{"set":{"family":"ip","table":"t","name":"s","type":"ipv4_addr","elem":["10.0.0.1"]}},{"table":{"family":"ip","name":"t"}}`,
		"table nftables ip t\n  set m @m{0x5 : accept, * : goto c}\n":                                                                            `{"table":{"family":"ip","name":"t"}},{"map":{"family":"ip","table":"t","name":"m","type":"mark","map":"verdict","elem":[[5,{"accept":null}],["*",{"goto":{"target":"c"}}]]}}`,
		"table nftables ip t\n  set m @m{0x5 : 0xa000000 . 0xa0000ff, 0x6 : 0xa000001 . 0xa000001}\n":                                            `{"table":{"family":"ip","name":"t"}},{"map":{"family":"ip","table":"t","name":"m","type":"mark","map":"ipv4_addr","elem":[[5,{"prefix":{"addr":"10.0.0.0","len":24}}],[6,"10.0.0.1"]]}}`,
		"table nftables ip t\n  set m @m{0x5} unknown: its values are of several kinds\n":                                                        `{"table":{"family":"ip","name":"t"}},{"map":{"family":"ip","table":"t","name":"m","type":"mark","map":"verdict","elem":[[5,{"accept":null}],["*",7]]}}`,
		"table nftables ip t\n  other flowtable f\n":                                                                                             `{"table":{"family":"ip","name":"t"}},{"flowtable":{"family":"ip","table":"t","name":"f","hook":"ingress","prio":0,"dev":"lo"}}`,
	} {
		if got := show(t, `{"nftables":[`+objects+`]}`); got != want {
			t.Errorf("%s:\n got %s\nwant %s", objects, got, want)
		}
	}
}

func TestErrorsSayWhere(t *testing.T) {
	const table = `{"nftables":[{"table":{"family":"ip","name":"t"}},` + "\n"
	for text, want := range map[string]string{
		``:                       "f:1:1: it ends in the middle",
		`[]`:                     "f:1:2: this is no output of `nft -j list ruleset`: found [ instead of {",
		`{"rules":[]}`:           "f:1:9: this is no output of `nft -j list ruleset`: found rules instead of nftables",
		`{"nftables":[{"x":1,}]`: "f:1:21: invalid character",
		`{"nftables":[{"add":{"table":{"family":"ip","name":"t"}}}]}`:                                                                                  "f:1:14: this is no output of `nft -j list ruleset`: it holds the command \"add\"",
		table + `{"chain":{"family":"ip","table":"u","name":"c"}}]}`:                                                                                   "f:1:50: chain \"c\" belongs to table ip u, which isn't in the listing",
		table + `{"chain":{"family":"ip","table":"t","name":"c"}},{"rule":{"family":"ip","table":"t","chain":"c","expr":[{"jump":{"target":"x"}}]}}]}`: "f:2:49: chain ip t c: jump x: chain x isn't in table ip t",
		table + `{"chain":{"family":"ip","table":"t","name":"c"}},{"rule":{"family":"ip","table":"t","chain":"c","expr":[{"match":{"op":"==","left":{"payload":{"protocol":"udp","field":"sport"}},"right":99999}}]}}]}`:                                  "f:2:49: chain ip t c: udp sport 99999: 99999 isn't a port: the highest is 65535",
		table + `{"chain":{"family":"ip","table":"t","name":"c"}},{"rule":{"family":"ip","table":"t","chain":"c","expr":[{"match":{"op":"!=","left":{"payload":{"protocol":"ip","field":"saddr"}},"right":"300.0.0.1"}}]}}]}`:                             "f:2:49: chain ip t c: ip saddr != 300.0.0.1: 300.0.0.1 isn't an address: 300 is more than 255",
		table + `{"chain":{"family":"ip","table":"t","name":"c"}},{"rule":{"family":"ip","table":"t","chain":"c","expr":[{"match":{"op":"!=","left":{"payload":{"protocol":"ip","field":"saddr"}},"right":{"prefix":{"addr":"10.0.0.0","len":40}}}}]}}]}`: "f:2:49: chain ip t c: ip saddr != 10.0.0.0/40: 10.0.0.0 has 32 bits, not 40",
		table + `{"set":{"family":"ip","table":"t","name":"s","type":["ipv4_addr","inet_service"],"elem":[{"concat":["10.0.0.1",{"range":[1,70000]}]}]}}]}`:                                                                                               "f:1:50: set ip t s: 70000 isn't a port",
		table + `{"table":{"family":"ip","name":"t"}}]}`:                                                     "f:1:50: table ip t is there twice",
		table + `{"table":{"family":"sparkle","name":"t"}}]}`:                                                "f:1:50: \"sparkle\" isn't a family",
		table + `{"rule":{"family":"ip","table":"t","chain":"c"}}]}`:                                         "f:1:50: a rule of chain ip t c, which isn't in the listing",
		table + `{"rule":{"family":"ip","table":5}}]}`:                                                       "f:1:50: rule: json: cannot unmarshal",
		table + `{"rule":{"family":"ip","table":"t"`:                                                         "f:2:35: it ends in the middle: is it cut off?",
		table + `{"chain":{"family":"ip","table":"t","name":"c","type":"filter","hook":"lunch","prio":0}}]}`: "f:1:50: chain ip t c: type \"filter\", hook \"lunch\"",
		table + `{"a":1,"b":2}]}`:                                                                            "f:2:14: this is no output of `nft -j list ruleset`: an object with 2 names",
	} {
		rs := &exposure.Ruleset{}
		err := ReadJSON("f", strings.NewReader(text), rs)
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s:\n got %v\nwant %s", text, err, want)
		}
		if len(rs.Tables) > 0 {
			t.Errorf("%s: an error, and tables", text)
		}
	}
	if err := ReadJSON("f", endless{}, &exposure.Ruleset{}); err == nil ||
		!strings.Contains(err.Error(), "more than 40 MiB") {
		t.Error(err)
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

func TestSetsThatRulesChange(t *testing.T) {
	rs := &exposure.Ruleset{}
	text := strings.Replace(
		before,
		`{"rule"`,
		`{"set":{"family":"inet","table":"t","name":"s","type":"mark","size":5,"flags":["dynamic"],"stmt":[{"limit":{"rate":5,"per":"second"}}]}},{"rule"`,
		1,
	)
	err := ReadJSON(
		"f",
		strings.NewReader(
			text+`{"set":{"op":"delete","elem":{"meta":{"key":"mark"}},"set":"@s"}},{"set":{"op":"add","elem":{"elem":{"val":{"meta":{"key":"mark"}},"timeout":5}},"set":"@s"}}]}}]}`,
		),
		rs,
	)
	if err != nil {
		t.Fatal(err)
	}
	s := rs.Tables[0].Chain("c").Rules[0].Statements
	if got, want := exposuretest.Statements(s), "delete meta mark to @s{} grows shrinks; add meta mark to @s{} grows shrinks if limit rate 5/second unless full"; got != want {
		t.Errorf("%s", got)
	}
	if s[0].(exposure.SetUpdate).Set.Size != 5 {
		t.Errorf("%+v", s[0])
	}
}

func BenchmarkReadJSON(b *testing.B) {
	rule := `{"rule":{"family":"inet","table":"t","chain":"c","handle":7,"expr":[{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"saddr"}},"right":{"prefix":{"addr":"10.0.0.0","len":8}}}},{"match":{"op":"==","left":{"payload":{"protocol":"tcp","field":"dport"}},"right":22}},{"accept":null}]}}`
	text := strings.TrimSuffix(
		before,
		`{"rule":{"family":"inet","table":"t","chain":"c","handle":7,"comment":"why","expr":[`,
	) + strings.Repeat(
		rule+",",
		9999,
	) + rule + "]}"
	if !json.Valid([]byte(text)) {
		b.Fatal("no JSON")
	}
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if err := ReadJSON("f", strings.NewReader(text), &exposure.Ruleset{}); err != nil {
			b.Fatal(err)
		}
	}
}

// Text after a listing is read as another listing, or refused.
func TestTextBehindListing(t *testing.T) {
	const a = `{"nftables": [{"table": {"family": "ip", "name": "a"}}]}`
	b := strings.Replace(a, `"a"`, `"b"`, 1)
	for text, want := range map[string]string{
		a + b:          "",
		a + "\n" + b:   "",
		a + " x":       "f:1:58: this follows the listing and isn't a listing",
		a + "\n" + `"`: "f:2:1: this follows",
		`"x`:           "f:1:3: it ends in the middle",
		a + "\n{":      "f:2:2: it ends in the middle",
	} {
		rs := &exposure.Ruleset{}
		err := ReadJSON("f", strings.NewReader(text), rs)
		if (err == nil) != (want == "") || err != nil && !strings.HasPrefix(err.Error(), want) ||
			err == nil && len(rs.Tables) != 2 {
			t.Errorf("%s: %v, %v", text, rs.Tables, err)
		}
	}
}
