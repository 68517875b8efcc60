package main

import "github.com/urfave/cli/v2"

// dryRunFlag is that of every verb that writes.
func dryRunFlag() *cli.BoolFlag {
	return &cli.BoolFlag{Name: "dry-run", Usage: "only say what would be done"}
}

// dryRun reports whether the verb must not write.
func (inv *invocation) dryRun() bool { return inv.cli.Bool("dry-run") }

// nothingDone ends the answer of a dry run.
const nothingDone = "Nothing was done (--dry-run)."
