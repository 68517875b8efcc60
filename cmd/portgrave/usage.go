package main

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/portgrave/portgrave/firewall/host"
	"github.com/urfave/cli/v2"
)

// What package flag says of a command line that it can't read.
var (
	unknownFlag = regexp.MustCompile(`^flag provided but not defined: -+(.*)$`)
	valueless   = regexp.MustCompile(`^flag needs an argument: -+(.*)$`)
	notBoolean  = regexp.MustCompile(`^invalid boolean value (".*") for -+(.*): parse error$`)
	noHelp      = regexp.MustCompile(`^No help topic for '(.*)'$`)
)

// examples are values of flags, for messages.
var examples = map[string]string{
	"backend":     "nftables",
	"c":           "policy.yaml",
	"config":      "policy.yaml",
	"confirm":     "60s",
	"denied":      "json",
	"denied-file": "/var/log/portgrave-denied.json",
	"fail-on":     "critical",
	"folder":      "new",
	"for":         "2h",
	"from":        "203.0.113.7",
	"interface":   "eth0",
	"output":      "json",
	"o":           "json",
	"out":         "plan.json",
	"plan":        "plan.json",
	"port":        "9090",
	"protocol":    "tcp",
	"reason":      "INC-42",
	"root":        "/mnt/image",
	"ruleset":     "rules.v4",
	"to":          "192.0.2.10",
}

// flagError is what is wrong with a flag of a verb; "" is the program before its verb.
type flagError struct {
	verb string
	error
}

// usageError says in plain words what is wrong with a flag.
func usageError(c *cli.Context, err error, _ bool) error {
	return flagError{verbOf(c), inPlainWords(c, err)}
}

// verbOf is the verb of a command line as people write it, such as "export nft"; "" if it has not
// come to one.
func verbOf(c *cli.Context) string {
	if c.Command.Name == c.App.Name {
		return ""
	}
	return strings.TrimPrefix(c.Command.HelpName, c.App.Name+" ")
}

func inPlainWords(c *cli.Context, err error) error {
	text := err.Error()
	if m := unknownFlag.FindStringSubmatch(text); m != nil {
		return noSuchFlag(c, m[1])
	}
	if m := valueless.FindStringSubmatch(text); m != nil {
		return fmt.Errorf("%s needs a value: write %s %s", dashed(m[1]), dashed(m[1]),
			exampleOf(c, m[1]))
	}
	if m := notBoolean.FindStringSubmatch(text); m != nil {
		return fmt.Errorf("%s is neither true nor false: write %s alone", m[1], dashed(m[2]))
	}
	return err
}

// exampleOf is a value for a flag of a verb. plan compares generations, not addresses.
func exampleOf(c *cli.Context, flag string) string {
	if c.Command.Name == "plan" && (flag == "from" || flag == "to") {
		return "3"
	}
	return examples[flag]
}

// dashed is a flag as people write it.
func dashed(flag string) string {
	if len(flag) == 1 {
		return "-" + flag
	}
	return "--" + flag
}

// noSuchFlag says that a verb, or the program before its verb, has no such flag, and what may have
// been meant.
func noSuchFlag(c *cli.Context, flag string) error {
	none := verbOf(c) + " has no flag " + dashed(flag)
	if verbOf(c) == "" {
		none = "there is no flag " + dashed(flag)
		var verbs []string
		for _, v := range c.App.VisibleCommands() {
			if hasFlag(v.Flags, flag) {
				verbs = append(verbs, v.Name)
			}
		}
		if len(verbs) > 0 {
			return fmt.Errorf("%s before the verb; behind it, %s", none, have(verbs))
		}
	}
	var names []string
	for _, f := range c.Command.VisibleFlags() {
		names = append(names, f.Names()...)
	}
	if near := nearest(flag, names); near != "" {
		return fmt.Errorf("%s; did you mean %s?", none, dashed(near))
	}
	return errors.New(none)
}

func hasFlag(flags []cli.Flag, name string) bool {
	for _, f := range flags {
		for _, n := range f.Names() {
			if n == name {
				return true
			}
		}
	}
	return false
}

// have is "apply has it", or "apply, rollback and open have it".
func have(verbs []string) string {
	last := len(verbs) - 1
	if last == 0 {
		return verbs[0] + " has it"
	}
	return strings.Join(verbs[:last], ", ") + " and " + verbs[last] + " have it"
}

// noSuchVerb says so, and which one may have been meant.
func noSuchVerb(word string, commands []*cli.Command) error {
	var names []string
	for _, c := range commands {
		if !c.Hidden {
			names = append(names, c.Name)
		}
	}
	hint := ""
	if near := nearest(word, names); near != "" {
		hint = fmt.Sprintf(" (did you mean %q?)", near)
	}
	return fmt.Errorf("unknown verb %q%s", word, hint)
}

// commandLineError is what is wrong with a command line that came to no verb.
func commandLineError(app *cli.App, err error) error {
	if m := noHelp.FindStringSubmatch(err.Error()); m != nil {
		err = noSuchVerb(m[1], app.Commands)
	}
	return host.UsageError{Err: err}
}

// whereHelpIs says where a verb, or the program, is explained.
func whereHelpIs(verb string) string {
	if verb == "" {
		return "Run 'portgrave help' for the verbs, 'portgrave help VERB' for one."
	}
	topic, _, _ := strings.Cut(verb, " ")
	return "Run 'portgrave help " + topic + "' for its arguments and flags."
}

// errNoVerb: a program that reads JSON gets no use out of the help.
var errNoVerb = errors.New("the verb is missing: write portgrave status -o json")

// nearest is the name that shares the most letters with a mistyped one; "" if none is near.
func nearest(word string, names []string) string {
	best, score := "", 1
	for _, name := range names {
		common := 0
		rest := name
		for _, r := range word {
			if i := strings.IndexRune(rest, r); i >= 0 {
				common, rest = common+1, rest[i+1:]
			}
		}
		if missing := max(len(word), len(name)) - common; missing <= 2 && common > score {
			best, score = name, common
		}
	}
	return best
}
