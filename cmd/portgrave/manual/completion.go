package manual

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// The shells ask the program itself at every Tab, with the hidden verb Asked, what may stand there.
// So the command line is understood in one place, Complete, and a script only hands over the words
// and shows the answer.
//
// urfave/cli's own completion works the same way, but doesn't serve: its script for bash needs the
// bash-completion package, which servers often lack; the one for zsh offers files where nothing
// fits; fish gets fixed words. None of them knows which value a flag takes.

// Asked is the hidden verb that prints Complete's answer, one entry a line: what to insert, a tab,
// and a description.
const Asked = "complete"

// Shells are the shells that Completion knows.
func Shells() []string { return []string{"bash", "zsh", "fish"} }

//go:embed completion.bash
var bashScript string

//go:embed completion.zsh
var zshScript string

//go:embed completion.fish
var fishScript string

// Completion is the script that teaches a shell the command line of a program.
func Completion(shell string, app *cli.App) (string, error) {
	i := slices.Index(Shells(), shell)
	if i < 0 {
		return "", fmt.Errorf(
			"no completion for %q: there is one for %s",
			shell,
			listed(Shells(), "and"),
		)
	}
	script := []string{bashScript, zshScript, fishScript}[i]
	return strings.NewReplacer("PROGRAM", app.Name, "ASKED", Asked).Replace(script), nil
}

// Complete lists what may stand in place of the last of some words, which is being typed and may be
// empty. The words are those after the program's name. Entries that don't begin with what is typed
// are listed too, since shells match in ways of their own. Files and folders are left to the shell:
// the only entry is then ":files" or ":folders". The other kinds of values are what values returns.
func Complete(
	app *cli.App,
	words []string,
	values func(kind string) ([]Entry, error),
) ([]Entry, error) {
	if len(words) == 0 {
		words = []string{""}
	}
	before, typed := words[:len(words)-1], words[len(words)-1]
	here := read(app)
	arguments := 0    // of the verb
	var flag *option  // whose value comes next
	var prefix string // of the value, in the same word
	for i, word := range before {
		switch {
		case word == "=": // bash splits --flag=value into three words
		case flag != nil || i > 0 && before[i-1] == "=":
			flag = nil
		case strings.HasPrefix(word, "-"):
			flag = here.valued(word)
		default:
			i := slices.IndexFunc(here.below, func(c command) bool { return c.last() == word })
			if i < 0 { // an argument, or an unknown verb
				arguments++
			} else {
				here = here.below[i]
			}
		}
	}
	if name, _, ok := strings.Cut(typed, "="); ok && flag == nil {
		if flag = here.valued(name); flag != nil {
			prefix = name + "="
		}
	}
	var list []Entry
	var value completion
	switch {
	case flag != nil:
		value = flag.value
	case strings.HasPrefix(typed, "-"):
		for _, f := range here.flags {
			for _, name := range f.names {
				list = append(list, Entry{name, f.usage})
			}
		}
	case len(here.below) > 0 && arguments == 0:
		for _, c := range here.below {
			list = append(list, Entry{c.last(), c.usage})
		}
	case arguments < len(here.arguments):
		value = here.arguments[arguments]
	case here.repeats:
		value = here.arguments[len(here.arguments)-1]
	}
	switch value.kind {
	case anything:
		for _, word := range value.words {
			list = append(list, Entry{Term: prefix + word})
		}
		return list, nil
	case files, folders:
		return []Entry{{Term: ":" + value.kind}}, nil
	}
	found, err := values(value.kind)
	for _, e := range found {
		list = append(list, Entry{prefix + e.Term, e.Text})
	}
	return list, err
}

// valued is the flag of that name, if it takes a value; else nil.
func (c command) valued(name string) *option {
	for i, f := range c.flags {
		if f.placeholder != "" && slices.Contains(f.names, name) {
			return &c.flags[i]
		}
	}
	return nil
}
