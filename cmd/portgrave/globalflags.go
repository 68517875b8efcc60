package main

import (
	"slices"
	"strings"

	"github.com/portgrave/portgrave/policy"
	"github.com/urfave/cli/v2"
)

// moreForms are the forms of output that a verb has beside text and json.
var moreForms = map[string][]string{"check": {"junit", "sarif"}}

// formsOf lists the forms of output of a verb.
func formsOf(verb string) []string {
	return append([]string{"text", "json"}, moreForms[verb]...)
}

// globalFlags work before and after the verb. "" is the program before its verb.
func globalFlags(verb string) []cli.Flag {
	readers := ", for people or for programs"
	if len(moreForms[verb]) > 0 {
		readers = ", for people, for programs, or as a report for CI"
	}
	return []cli.Flag{
		&cli.StringFlag{
			Name:    "config",
			Aliases: []string{"c"},
			Usage: "policy `FILE`, or folder with policy.yaml and policy.d/*.yaml, instead of " +
				policy.DefaultPath,
		},
		&cli.StringFlag{
			Name:  "backend",
			Value: "auto",
			Usage: "what enforces the policy: `auto|nftables|iptables`",
		},
		&cli.StringFlag{
			Name:    "output",
			Aliases: []string{"o"},
			Value:   "text",
			Usage:   "print `" + strings.Join(formsOf(verb), "|") + "`" + readers,
		},
		&cli.BoolFlag{
			Name:               "quiet",
			Aliases:            []string{"q"},
			Usage:              "print errors only; the exit code says the rest",
			DisableDefaultText: true,
		},
		&cli.BoolFlag{
			Name:               "verbose",
			Aliases:            []string{"v"},
			Usage:              "also say what is read, who does the work, and how long it takes",
			DisableDefaultText: true,
		},
	}
}

// Environment variables that stand for flags; a flag that is given wins.
const (
	configVariable  = "PORTGRAVE_CONFIG"
	backendVariable = "PORTGRAVE_BACKEND"
)

// -v asks for more words, as elsewhere, so the version is -V.
func init() {
	cli.VersionFlag = &cli.BoolFlag{
		Name:               "version",
		Aliases:            []string{"V"},
		Usage:              "print the version",
		DisableDefaultText: true,
	}
}

// flag reads a global flag, given before or after the verb; after wins.
func flag(c *cli.Context, name string) string {
	if level := levelWith(c, name); level != nil {
		return level.String(name)
	}
	return c.String(name)
}

// flagOrVariable is flag where an environment variable stands for an absent one. from says how the
// value was given, for messages.
func flagOrVariable(
	c *cli.Context, name, variable string, getenv func(string) string,
) (value, from string) {
	if v := getenv(variable); v != "" && levelWith(c, name) == nil {
		return v, "set " + variable + "="
	}
	return flag(c, name), "write --" + name + " "
}

// switchedOn reports whether a global flag without a value was given, before or after the verb.
func switchedOn(c *cli.Context, name string) bool {
	level := levelWith(c, name)
	return level != nil && level.Bool(name)
}

// levelWith is where a global flag was given: behind the verb, or before it; nil if nowhere.
func levelWith(c *cli.Context, name string) *cli.Context {
	for _, level := range c.Lineage() {
		if level.Command != nil && slices.Contains(level.LocalFlagNames(), name) {
			return level
		}
	}
	return nil
}
