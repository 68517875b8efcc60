package nfttext

import (
	"fmt"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/exposuretest"
)

// From the first statement that isn't understood, the rule becomes an unknown with its text. What
// nft 1.0.6 doesn't print, or this kernel doesn't accept, is read as nft(8) describes it.
func TestRules(t *testing.T) {
	for _, c := range []struct{ rule, want string }{
		{"frobnicate 5 accept", "unknown effect: frobnicate 5 accept"},
		{"tcp dport 22 frobnicate accept", "l4proto in {0x6}; th dport in {0x16}; unknown effect: frobnicate accept"},
		{"tcp dport quux accept", "l4proto in {0x6}; unknown match: tcp dport quux; accept"},
		{"tcp dport @gone accept", "l4proto in {0x6}; unknown match: tcp dport @gone; accept"},
		{"tcp flags == syn,ack accept", "unknown effect: tcp flags == syn,ack accept"},
		{"tcp flags { syn } accept", "unknown effect: tcp flags { syn } accept"},
		{"tcp flags & (syn|ack) syn accept", "unknown effect: tcp flags & (syn|ack) syn accept"},
		{"synproxy mss 1460 accept", "unknown effect: synproxy mss 1460 accept"},
		{`xt match "recent" accept`, "unknown match: xt match recent; accept"},
		{"limit rate until 5/second accept", "unknown match: limit rate 5/second; accept"},
		{"limit rate over 5/second accept", "unknown match: limit rate over 5/second; accept"},
		{`xt target "MASQUERADE"`, "masquerade inet"},
		{"redirect to 8080", "redirect inet port 0x1f90"},
		{"redirect to 8080-8090 random", "redirect inet port 0x1f90 to 0x1f9a (random)"},
		{"redirect to : 8080", "redirect inet port 0x1f90"},
		{"redirect to http-alt", "redirect inet port 0x1f90"},
		{"redirect to tcp dport map { 80 : 8080, 81-82 : 8090 }",
			"l4proto in {0x6}; redirect inet port map(th dport in {0x50 : 0x1f90, 0x51-0x52 : 0x1f9a} column 0)"},
		{"redirect to :tcp dport map { 80 : 8080 }",
			"l4proto in {0x6}; redirect inet port map(th dport in {0x50 : 0x1f90} column 0)"},
		{"masquerade to :1024-2048", "masquerade inet port 0x400 to 0x800"},
		{"masquerade to 1024-2048", "masquerade inet port 0x400 to 0x800"},
		{"redirect to 10.0.0.1:80", "redirect inet port unknown (10.0.0.1:80) up to 0xffff"},
		{"tcp dport 22 # xt_recent", "l4proto in {0x6}; th dport in {0x16}; unknown effect: xt_recent"},
		{"tcp dport 22 # only a remark", "l4proto in {0x6}; th dport in {0x16}"},
		{"ip6 nexthdr tcp", "nfproto in {0xa}; payload(1,48,8,0) in {0x6}"},
		{"hbh nexthdr tcp accept", "nfproto in {0xa}; payload(4,0,8,0) in {0x6}; accept"},
		{"exthdr dst exists drop", "nfproto in {0xa}; present(4,60) in {0x1}; drop"},
		{"socket cgroupv2 level 2 \"a.slice\" accept", "unknown match: socket cgroupv2 a.slice; accept"},
		{"meta mark (0x1 | 0x2) accept", "meta mark in {0x3}; accept"},
		{"dup to 10.0.0.1 device eth0", "nothing: {\"dup\":{\"dev\":\"eth0\"}}"},
		{"fwd to eth0", "stolen eth0"},
		{"queue flags bypass,fanout to 1-3", "queue 1-3"},
		{"queue num 5 bypass", "queue 5"},
		{"flow add @f", "nothing: {\"flow\":{\"flowtable\":\"@f\",\"op\":\"add\"}}"},
		{"tcp option maxseg size set rt mtu", "nothing: tcp option maxseg size set rt mtu"},
		{"meter m size 100 { ip saddr limit rate over 5/second } drop",
			"nfproto in {0x2}; add ip saddr to @m{} unknown: the elements of a meter aren't in the listing grows if limit rate over 5/second unless full; drop"},
		{"ct count over 20 drop", "unknown match: ct count over 20; drop"},
		{`counter name ip saddr map { 10.0.0.1 : "x" } accept`, "nothing: counter name of a map; accept"},
		{`log prefix "a; } drop" level warn accept`, `nothing: log prefix "a; } drop" level warn; accept`},
		{"ct original saddr 10.0.0.1 accept", "unknown (ct original saddr) in {0xa000001}; accept"},
		{"@nh,96,32 0x0a000001 accept", "payload(1,96,32,0) in {0xa000001}; accept"},
		{"vlan id 5 accept", "unknown (vlan id) in {0x5}; accept"},
		{"icmpv6 type echo-request accept", "l4proto in {0x3a}; icmp type in {0x80}; accept"},
		{strings.Repeat("(", 40) + "meta mark" + strings.Repeat(")", 40) + " 1 accept",
			"unknown effect: " + strings.Repeat("(", 40) + "meta mark" + strings.Repeat(")", 40) + " 1 accept"},
		{"ip saddr . tcp dport { 10.0.0.1 . ssh-80 } accept", "nfproto in {0x2}; l4proto in {0x6}; ip saddr . th dport in {0xa000001 . 0x16-0x50}; accept"},
		{"jump x comment \"why\"", "jump x"},
	} {
		rs := readText(t, "table inet t {\n chain x { }\n chain c {\n  "+c.rule+"\n }\n}\n")
		r := rs.Tables[0].Chain("c").Rules[0]
		if got := exposuretest.Statements(r.Statements); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.rule, got, c.want)
		}
		if r.Text != c.rule || r.Origin != (exposure.Origin{File: "f", Line: 4}) {
			t.Errorf("%q in %v", r.Text, r.Origin)
		}
	}
}

// Scripts: defines, blocks that extend others, several commands in a line, continued lines.
func TestScripts(t *testing.T) {
	const head = "table ip t { chain c { type filter hook input priority 0; }\n }\n"
	for name, c := range map[string]struct{ text, want string }{
		"a define in a define": {"define a = { 22, 80 }\ndefine b = { $a, 443 }\n" + head + "add rule ip t c tcp dport $b accept",
			"l4proto in {0x6}; th dport in {0x16, 0x50, 0x1bb}; accept"},
		"a define that changes": {"define a = 22\n" + head + "add rule t c tcp dport $a accept\nredefine a = 23\nadd rule t c tcp dport $a drop",
			"l4proto in {0x6}; th dport in {0x16}; accept | l4proto in {0x6}; th dport in {0x17}; drop"},
		"inserted":            {head + "add rule t c accept; insert rule t c drop; insert rule t c return", "return | drop | accept"},
		"a line that goes on": {head + "add rule t c tcp dport 22 \\\n accept", "l4proto in {0x6}; th dport in {0x16}; accept"},
		"flushed":             {"table ip x { }\nflush ruleset\n" + head + "add rule t c accept", "accept"},
		"made anew":           {"table ip t { chain c { accept\n } }\ntable ip t\ndelete table ip t\n" + head + "add rule t c drop", "drop"},
		"a flushed chain":     {head + "add rule t c accept\nflush chain ip t c\nadd rule t c drop", "drop"},
		"with nft before":     {head + "nft add rule ip t c drop", "drop"},
		"added to a block":    {head + "table ip t { chain c { drop; }; }", "drop"},
		"handles":             {"table ip t { # handle 1\n chain c { # handle 2\n accept # handle 3\n } }", "accept"},
		"a set of names":      {"table ip t { set s { type ifname . inet_proto; elements = { \"eth*\" . tcp } }\n chain c { iifname . meta l4proto @s accept; } }", "iifname . l4proto in @s{0x65746800000000000000000000000000-0x657468ffffffffffffffffffffffffff . 0x6}; accept"},
		"an unknown element": {"table ip t { set s { type ipv4_addr; elements = { 10.0.0.1, frob nicate } }\n chain c { ip saddr @s accept; } }",
			"ip saddr in @s{0xa000001} unknown: its element frob has no model; accept"},
	} {
		var got []string
		for _, r := range readText(t, c.text).Tables[0].Chain("c").Rules {
			got = append(got, exposuretest.Statements(r.Statements))
		}
		if s := strings.Join(got, " | "); s != c.want {
			t.Errorf("%s:\n got %s\nwant %s", name, s, c.want)
		}
	}
}

func TestErrorsSayWhere(t *testing.T) {
	for want, text := range map[string]string{
		"f:1:1: \"hello\" isn't one of nft's commands":                       "hello",
		"f:2:1: $a is not defined before: included files":                    "include \"/etc/x\"\n$a",
		"f:4:2: chain ip t c: jump x: chain x isn't in table ip t: give the": "table t {\n chain c {\n  accept;\n\tjump x\n } }",
		"f:1:27: chain ip t c: ip saddr vmap { 10.0.0.1 : goto x }: chain x": "table ip t { chain c {    ip saddr vmap { 10.0.0.1 : goto x }\n } }",
		"f:1:23: chain ip t c: tcp dport 99999 accept: 99999 isn't a port":   "table t { chain c {   tcp dport 99999 accept\n } }",
		"f:1:21: chain ip t c: tcp dport { 22, 65536 }: 65536 isn't a port":  "table t { chain c { tcp dport { 22, 65536 }\n } }",
		"f:1:21: chain ip t c: tcp dport 70000-80000: 70000 isn't a port":    "table t { chain c { tcp dport 70000-80000\n } }",
		"f:1:21: chain ip t c: ip saddr 10.0.0.0/33 drop: 10.0.0.0 has 32":   "table t { chain c { ip saddr 10.0.0.0/33 drop\n } }",
		"f:1:21: chain ip t c: dnat to 10.0.0.1:99999: 99999 isn't a port":   "table t { chain c { dnat to 10.0.0.1:99999\n } }",
		"f:1:54: set ip t s: 99999 isn't a port":                             "table t { set s { type inet_service;      elements = { 22, 99999 }\n } }",
		"f:1:17: the block is never closed":                                  "table ip filter {",
		"f:1:29: a brace is never closed":                                    "table ip filter { chain c { tcp dport { 22",
		"f:2:8: the quote is never closed":                                   "table ip filter { chain c {\nlog pre\"x\n",
		"f:1:1: \"delete rule\" is not followed":                             "delete rule ip t c handle 5",
		"f:1:15: a rule of chain c of table ip t, which isn't there":         "add rule ip t c accept",
		"f:3:17: a rule by its index":                                        "table t { chain c { accept\n } }\nadd rule ip t c index 5 accept",
		"f:1:18: elements of set s of table ip t, which isn't":               "add element ip t s { 1 }",
		"f:1:19: \"frob\" stands where a chain, a set or another part":       "table ip filter { frob }",
		"f:1:56: \"quick\" isn't a priority":                                 "table ip t { chain c { type filter hook input priority quick; } }",
		"f:1:1: $a is not defined before":                                    "$a",
		"f:1:1: chain ip t c: type \"frob\", hook \"input\", priority \"0\"": "table ip t { chain c { type frob hook input priority 0; } }",
	} {
		rs := &exposure.Ruleset{}
		err := Read("f", strings.NewReader(text), rs)
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v\nwant %s", err, want)
		}
		if len(rs.Tables) > 0 {
			t.Errorf("%s: something was added", want)
		}
	}
}

// A define that expands without bound is an error, and doesn't use unbounded memory.
func TestDefinesThatGrow(t *testing.T) {
	text := "define a0 = 1, 1, 1, 1, 1, 1, 1, 1, 1, 1\n"
	for i := range 20 {
		text += fmt.Sprintf(
			"define a%d = $a%d, $a%d, $a%d, $a%d, $a%d, $a%d\n",
			i+1,
			i,
			i,
			i,
			i,
			i,
			i,
		)
	}
	if err := Read("f", strings.NewReader(text), &exposure.Ruleset{}); err == nil ||
		!strings.Contains(err.Error(), "words where it is used") {
		t.Errorf("%v", err)
	}
}

// Named priorities, by family.
func TestPriorities(t *testing.T) {
	for text, want := range map[string]int32{
		"ip raw": -300, "ip mangle - 5": -155, "ip dstnat+10": -90, "inet filter": 0, "ip -7": -7, "ip security": 50,
		"ip srcnat + 1": 101, "bridge filter": -200, "bridge dstnat": -300, "bridge out": 100,
	} {
		family, priority, _ := strings.Cut(text, " ")
		rs := readText(
			t,
			"table "+family+" t { chain c { type filter hook input priority "+priority+"; } }",
		)
		if got := rs.Tables[0].Chain("c").Base.Priority; got != want {
			t.Errorf("%s: %d", text, got)
		}
	}
}

func TestTooManyRules(t *testing.T) {
	text := "table ip t { chain c {\n" + strings.Repeat("drop\n", exposure.MaxFileRules+1) + "} }\n"
	err := Read("f", strings.NewReader(text), &exposure.Ruleset{})
	if err == nil || !strings.HasPrefix(err.Error(), "f:100002:1: more than 100000 rules") {
		t.Errorf("%v", err)
	}
}

// Defines are bounded, and time is in proportion to the text.
func TestBoundsOfScripts(t *testing.T) {
	rs := &exposure.Ruleset{}
	err := Read(
		"f",
		strings.NewReader("define a = { "+strings.Repeat("1,", maxExpanded)+"1 }\n"),
		rs,
	)
	if err == nil || !strings.Contains(err.Error(), "what is defined has more than") {
		t.Errorf("%v", err)
	}
	var b strings.Builder
	b.WriteString("define a = 1\n")
	for i := range 40_000 {
		fmt.Fprintf(&b, "table ip t%d\nredefine a = %d\n", i, i%1000+1)
	}
	b.WriteString("delete table ip t3\ntable ip t3 { chain c { tcp dport $a accept; }\n }\n")
	rs = readText(t, b.String())
	last := rs.Tables[len(rs.Tables)-1]
	if len(rs.Tables) != 40_000 || last.Name != "t3" || len(last.Chain("c").Rules) != 1 {
		t.Errorf("%d tables, the last is %+v", len(rs.Tables), last)
	}
	if got := exposuretest.Statements(last.Chain("c").Rules[0].Statements); got != "l4proto in {0x6}; th dport in {0x3e8}; accept" {
		t.Error(got)
	}
}
