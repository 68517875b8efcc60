package main

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestFitted(t *testing.T) {
	var out bytes.Buffer
	s := &screen{out: &output{to: &out}}
	s.fitted([]column{{title: "NAME", min: 4}, {title: "FROM", min: 8}, {title: "N"}}, [][]cell{
		{{text: "a"}, {text: strings.Repeat("office, ", 12) + "vpn"}, {text: "7"}},
		{{text: "b"}, {text: "x\nand y"}, {text: "12345"}},
		{{text: strings.Repeat("n", 30)}, {text: strings.Repeat("2001:db8:", 12)}, {text: "1"}},
	})
	want := `NAME                            FROM                                       N
a                               office, office, office, office, office,    7
                                office, office, office, office, office,
                                office, office, vpn
b                               x                                          12345
                                and y
nnnnnnnnnnnnnnnnnnnnnnnnnnnnnn  2001:db8:2001:db8:2001:db8:2001:db8:2001:  1
                                db8:2001:db8:2001:db8:2001:db8:2001:db8:2
                                001:db8:2001:db8:2001:db8:
`
	if got := out.String(); got != want {
		t.Errorf("got\n%s", got)
	}
	for line := range strings.Lines(out.String()) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > minColumns {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}
