package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// reorder puts the flags of a verb before its arguments, where the flag package finds them, so
// that `check FILE -o json` works like `check -o json FILE`.
func reorder(app *cli.App, args []string) []string {
	takesValue := map[string]bool{}
	commands := app.Commands
	for _, f := range app.Flags {
		noteFlag(f, takesValue)
	}
	at := 1
	for at < len(args) && args[at] != "--" { // find the verb, and a format below it
		a := args[at]
		if a == "-" { // an argument: standard input or output
			break
		}
		if strings.HasPrefix(a, "-") {
			if takesValue[strings.TrimLeft(a, "-")] {
				at++
			}
			at++
			continue
		}
		i := slices.IndexFunc(commands, func(c *cli.Command) bool { return c.HasName(a) })
		if i < 0 {
			break
		}
		for _, f := range commands[i].Flags {
			noteFlag(f, takesValue)
		}
		commands = commands[i].Subcommands
		at++
	}
	var flags, rest []string
	for i := at; i < len(args); i++ {
		a := args[i]
		switch {
		case a == "--":
			return slices.Concat(args[:at], flags, args[i:i+1], rest, args[i+1:])
		case !strings.HasPrefix(a, "-") || a == "-":
			rest = append(rest, a)
		default:
			flags = append(flags, a)
			if takesValue[strings.TrimLeft(a, "-")] && i+1 < len(args) {
				i++
				flags = append(flags, args[i])
			}
		}
	}
	return slices.Concat(args[:min(at, len(args))], flags, rest)
}

func noteFlag(f cli.Flag, takesValue map[string]bool) {
	if _, isBool := f.(*cli.BoolFlag); !isBool {
		for _, n := range f.Names() {
			takesValue[n] = true
		}
	}
}
