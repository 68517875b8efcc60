package main

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/portgrave/portgrave/policy"
	"github.com/urfave/cli/v2"
)

// everyVerb calls f for each verb, and each format below one.
func everyVerb(f func(*cli.Command)) {
	var walk func([]*cli.Command)
	walk = func(all []*cli.Command) {
		for _, c := range all {
			f(c)
			walk(c.Subcommands)
		}
	}
	walk(newApp(&output{to: io.Discard}, io.Discard, os.Getenv).Commands)
}

// TestCommandLineDescribesItself: manual and completions are made from the command line, so all of
// it has words, details are those of verbs, and a flag takes a value with every verb or with none,
// so that nobody has to remember with which.
func TestCommandLineDescribesItself(t *testing.T) {
	var verbs []string
	values := map[string]bool{}
	everyVerb(func(c *cli.Command) {
		verbs = append(verbs, c.Name)
		if c.Usage == "" {
			t.Errorf("%s says nothing of itself", c.Name)
		}
		for _, f := range c.Flags {
			d := f.(cli.DocGenerationFlag)
			if d.GetUsage() == "" {
				t.Errorf("%s --%s says nothing of itself", c.Name, f.Names()[0])
			}
			for _, n := range f.Names() {
				if before, known := values[n]; known && before != d.TakesValue() {
					t.Errorf(
						"--%s takes a value with some verbs and not with others; so does %s",
						n,
						c.Name,
					)
				}
				values[n] = d.TakesValue()
			}
		}
	})
	for name := range details {
		if !slices.Contains(verbs, name) {
			t.Errorf("details of %s, which is no verb", name)
		}
	}
}

// TestExampleOfTheManual: it is a policy that holds its own tests.
func TestExampleOfTheManual(t *testing.T) {
	path := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(path, policy.ExampleYAML(), 0o600); err != nil {
		t.Fatal(err)
	}
	if code := run(
		[]string{"portgrave", "check", path}, io.Discard, os.Stderr, os.Getenv,
	); code != exitFine {
		t.Errorf("check ends with %d", code)
	}
}
