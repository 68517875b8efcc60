package main

import (
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
	}
}
