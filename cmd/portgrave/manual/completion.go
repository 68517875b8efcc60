package manual

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// Shells are the shells that Completion knows.
func Shells() []string { return []string{"bash", "zsh", "fish"} }

// Completion is the script that teaches a shell the command line of a program.
func Completion(shell string, app *cli.App) (string, error) {
	program := read(app)
	switch shell {
	case "bash":
		return bash(app.Name, program), nil
	case "zsh":
		return zsh(app.Name, program), nil
	case "fish":
		return fish(app.Name, program), nil
	}
	return "", fmt.Errorf("no completion for %q: there is one for %s", shell, listed(Shells(), "and"))
}

// valued are the flags, of any verb, that take a value: what follows them is no verb. A name means the same everywhere,
// so that shells need not know the verb to tell.
func valued(program command) (names []string) {
	for _, c := range program.all() {
		for _, f := range c.flags {
			if f.placeholder == "" {
				continue
			}
			for _, n := range f.names {
				if !slices.Contains(names, n) {
					names = append(names, n)
				}
			}
		}
	}
	return names
}

// single is a text in single quotes, for bash and zsh.
func single(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// heading is the comment at the top of a script.
func heading(program, shell string) string {
	return fmt.Sprintf("# %s completion for %s, made by: %s completion %s\n", shell, program, program, shell)
}
