package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// Every verb shows two command lines, which the program understands.
func TestHelpExamples(t *testing.T) {
	known := map[string]bool{"": true}
	everyVerb(func(c *cli.Command) {
		if c.Hidden {
			return
		}
		known[c.Name] = true
		help, _, _ := ran(t, "help", c.Name)
		if c.Name == "nft" {
			help, _, _ = ran(t, "export", "nft", "--help")
		}
		if len(helpExamples[c.Name]) < 2 {
			t.Errorf("%s has no two examples", c.Name)
		}
		for _, x := range helpExamples[c.Name] {
			if !strings.Contains(help, "\n   "+x+"\n") {
				t.Errorf("the help of %s doesn't show %q:\n%s", c.Name, x, help)
			}
		}
		if strings.Contains(help, "(default: false)") || strings.Contains(help, "(default: 0") ||
			strings.Contains(help, `(default: "")`) {
			t.Errorf("the help of %s has defaults that say nothing", c.Name)
		}
	})
	known["export"] = true
	for verb, examples := range helpExamples {
		if !known[verb] {
			t.Errorf("%q is not a verb", verb)
		}
		for _, line := range examples {
			for command := range strings.SplitSeq(line, "&&") {
				command, _, _ = strings.Cut(command, "|")
				command, _, _ = strings.Cut(command, " > ")
				if verb != "" && !understood(t, strings.Fields(command), verb) {
					t.Errorf("%q isn't understood", command)
				}
			}
		}
	}
}

// understood reports whether a command line comes to its verb. Quotes are not looked at.
func understood(t *testing.T, words []string, verb string) bool {
	t.Helper()
	var out, errors bytes.Buffer
	getenv := func(string) string { return "" }
	screen := &output{to: &out}
	app := newApp(screen, &errors, getenv)
	came := false
	var stub func([]*cli.Command)
	stub = func(all []*cli.Command) {
		for _, c := range all {
			stub(c.Subcommands)
			name, arguments := c.Name, c.ArgsUsage
			c.Action = func(x *cli.Context) error {
				came = name == verb || verb == "export" && name == "nft"
				if came && x.NArg() > 0 && arguments == "" {
					t.Errorf("%v has arguments", words)
				}
				return nil
			}
		}
	}
	stub(app.Commands)
	return runApp(app, words, screen, &errors, getenv) == exitFine && came
}
