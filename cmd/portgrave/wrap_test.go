package main

import (
	"strings"
	"testing"
)

func TestWrapped(t *testing.T) {
	for _, c := range []struct {
		text    string
		columns int
		want    string
	}{
		{"one two three", 0, "one two three"},
		{"one two three", 20, "one two three"},
		{"one two three", 9, "one two\n  three"},
		{"one two three four", 7, "one two\n  three\n  four"},
		{"a-word-that-is-longer b", 8, "a-word-that-is-longer\n  b"},
		{"\x1b[31mred\x1b[0m: two words", 9, "\x1b[31mred\x1b[0m: two\n  words"},
		{"äöü äöü", 7, "äöü äöü"},
		{"", 80, ""},
	} {
		if got := wrapped(c.text, c.columns); got != c.want {
			t.Errorf("%q in %d columns: %q, want %q", c.text, c.columns, got, c.want)
		}
	}
	long := strings.Repeat("word ", 50)
	for line := range strings.Lines(wrapped(long, 80)) {
		if len(strings.TrimSuffix(line, "\n")) > 80 {
			t.Errorf("a line of %d columns", len(line))
		}
	}
}
