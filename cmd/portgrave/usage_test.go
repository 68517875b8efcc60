package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// ran is what the program says of a command line that comes to no verb, and its exit code. A verb
// that is run all the same fails the test, and does nothing: this is the machine's own network.
func ran(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errors bytes.Buffer
	getenv := func(string) string { return "" }
	screen := &output{to: &out}
	app := newApp(screen, &errors, getenv)
	var stub func([]*cli.Command)
	stub = func(all []*cli.Command) {
		for _, c := range all {
			stub(c.Subcommands)
			c.Action = func(*cli.Context) error {
				t.Errorf("%v runs %s", args, c.Name)
				return nil
			}
		}
	}
	stub(app.Commands)
	code = runApp(app, append([]string{"portgrave"}, args...), screen, &errors, getenv)
	return out.String(), errors.String(), code
}

func TestUnknownFlags(t *testing.T) {
	everyVerb(func(c *cli.Command) {
		verb := c.Name
		if verb == "nft" {
			verb = "export nft"
		}
		words := strings.Fields(verb)
		stdout, stderr, code := ran(t, append(words, "--no-such-flag")...)
		want := "portgrave: " + verb + " has no flag --no-such-flag\n" +
			"Run 'portgrave help " + words[0] + "' for its arguments and flags.\n"
		if code != exitInvalid || stdout != "" || stderr != want {
			t.Errorf("%s: %d, %q, %q", verb, code, stdout, stderr)
		}
		for _, f := range c.Flags {
			if _, isBool := f.(*cli.BoolFlag); isBool {
				continue
			}
			for _, name := range f.Names() {
				_, stderr, code := ran(t, append(slices.Clone(words), dashed(name))...)
				asks := dashed(name) + " needs a value: write " + dashed(name) + " "
				_, example, ok := strings.Cut(strings.SplitN(stderr, "\n", 2)[0], asks)
				if code != exitInvalid || !ok || example == "" {
					t.Errorf("%s %s: %d, %q", verb, dashed(name), code, stderr)
				}
			}
		}
	})
}

func TestNearest(t *testing.T) {
	names := []string{"port", "protocol", "interface", "from", "to", "reason"}
	for word, want := range map[string]string{
		"prot": "port", "path": "port", "reson": "reason", "protcol": "protocol", "form": "from",
		"xyzzy": "", "": "", "p": "",
	} {
		if got := nearest(word, names); got != want {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
}
