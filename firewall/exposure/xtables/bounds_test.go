package xtables

import (
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall/exposure"
)

// What is more than fits into memory is refused, and the error says what to do.
func TestTooManyRules(t *testing.T) {
	text := "*filter\n:INPUT ACCEPT [0:0]\n" +
		strings.Repeat(
			"-A INPUT -p tcp --dport 22 -j ACCEPT\n",
			exposure.MaxFileRules+1,
		) + "COMMIT\n"
	err := ReadSave("x", exposure.FamilyIPv4, strings.NewReader(text), nil, &exposure.Ruleset{})
	if err == nil || !strings.HasPrefix(err.Error(), "x:100003:1: more than 100000 rules: ") {
		t.Error(err)
	}
}

// Rules that ask for the same share it, and matches of other names with the same words don't.
func TestSharedStatements(t *testing.T) {
	rs := &exposure.Ruleset{}
	text := `*filter
:INPUT ACCEPT [0:0]
-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
-A INPUT -p tcp -m tcp --dport 22 -j DROP
-A INPUT -p tcp -m tcp ! --dport 22 -j DROP
-A INPUT -m mark --mark 0x1 -j DROP
-A INPUT -m connmark --mark 0x1 -j DROP
COMMIT
`
	if err := ReadSave("x", exposure.FamilyIPv4, strings.NewReader(text), nil, rs); err != nil {
		t.Fatal(err)
	}
	rules := rs.Tables[0].Chain("INPUT").Rules
	match := func(rule, at int) exposure.Match { return rules[rule].Statements[at].(exposure.Match) }
	if match(0, 1).In != match(1, 1).In {
		t.Error("equal matches are there twice")
	}
	if !match(2, 1).Not || match(1, 1).Not {
		t.Error("a match and its negation are mixed up")
	}
	if match(3, 0).Key[0].Field != exposure.FieldMark ||
		match(4, 0).Key[0].Field != exposure.FieldCTMark {
		t.Error("the marks of packet and connection are mixed up")
	}
}

// A line with tens of thousands of matches is sorted in no time; if not, the test takes hours.
func TestManyMatchesInOneRule(t *testing.T) {
	const n = 200_000
	rs := &exposure.Ruleset{}
	text := "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p tcp" +
		strings.Repeat(" -m multiport --dports 1,2 --unheard of", n) + " -j ACCEPT\nCOMMIT\n"
	if err := ReadSave("x", exposure.FamilyIPv4, strings.NewReader(text), nil, rs); err != nil {
		t.Fatal(err)
	}
	if got := len(rs.Tables[0].Chain("INPUT").Rules[0].Statements); got != 2*n+2 {
		t.Errorf("%d statements", got)
	}
}
