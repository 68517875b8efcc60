package main

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/urfave/cli/v2"
)

// The help of the program and of every verb fits a terminal of 80 columns.
func TestHelpFits(t *testing.T) {
	texts := map[string]string{}
	texts["portgrave"], _, _ = ran(t, "help")
	everyVerb(func(c *cli.Command) {
		if c.Name != "nft" {
			texts[c.Name], _, _ = ran(t, "help", c.Name)
		}
	})
	for verb, text := range texts {
		if !strings.Contains(text, "NAME:") {
			t.Errorf("%s has no help: %q", verb, text)
		}
		for line := range strings.Lines(text) {
			line = strings.TrimRight(line, "\n")
			if utf8.RuneCountInString(line) > minHelpWidth {
				t.Errorf("%s: %q is too long", verb, line)
			}
		}
	}
}

func TestWrapHelp(t *testing.T) {
	for text, want := range map[string]string{
		"":                         "",
		"one two three":            "one two\n   three",
		"one\n\ntwo":               "one\n   \n   two",
		"averyverylongword is one": "averyverylongword\n   is one",
	} {
		if got := wrapHelp(text, 3, 12); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	const flags = "--all\tlist every change"
	if got, want := wrapHelp(flags, 6, 80), "--all                  list every change"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	const long = "--backend auto|nftables|iptables\twhat enforces it"
	want := "--backend auto|nftables|iptables\n                          what enforces it"
	if got := wrapHelp(long, 6, 80); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
