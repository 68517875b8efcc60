package manual

import (
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall/pattern"
	"github.com/urfave/cli/v2"
)

// command is a verb, a format below a verb, or, without a name, the program itself.
type command struct {
	name        string // all its words: "export nft"
	usage       string
	description string
	synopsis    string // its arguments
	arguments   []completion
	repeats     bool     // the last argument may stand several times
	flags       []option // its own, then, if it has an action, those that every verb takes
	below       []command
}

// option is a flag.
type option struct {
	names       []string // with dashes, the longest first
	usage       string   // without backquotes
	placeholder string   // "" if it takes no value
	standard    string   // the value in force when it is absent; "" if there is none
	value       completion
}

// completion is what completes a value: words that are known, or one of the kinds below.
type completion struct {
	words []string
	kind  string
}

// The kinds of values that are looked up at each completion. The exported ones are asked of the
// program, by Complete; files and folders are found by the shell.
const (
	anything    = ""
	files       = "files"
	folders     = "folders"
	Generations = "generations"
	Leases      = "leases"
	Interfaces  = "interfaces"
	Services    = "services"
	Networks    = "networks"
)

// read turns an app into what pages and completions need of it. What is hidden stays so.
func read(app *cli.App) command {
	return command{
		usage:       app.Usage,
		description: app.Description,
		flags:       options(app.Flags),
		below:       commands("", app.Commands),
	}
}

func commands(above string, all []*cli.Command) (list []command) {
	for _, c := range all {
		if c.Hidden {
			continue
		}
		name := strings.TrimSpace(above + " " + c.Name)
		list = append(
			list,
			command{
				name:        name,
				usage:       c.Usage,
				description: c.Description,
				synopsis:    c.ArgsUsage,
				arguments:   arguments(c.ArgsUsage),
				repeats:     strings.Contains(c.ArgsUsage, "…"),
				flags:       options(c.Flags),
				below:       commands(name, c.Subcommands),
			},
		)
	}
	return list
}

// all is a command and what is below it, in order.
func (c command) all() []command {
	list := []command{c}
	for _, b := range c.below {
		list = append(list, b.all()...)
	}
	return list
}

// last is the word by which a command is called, below the one above it.
func (c command) last() string {
	return c.name[strings.LastIndexByte(c.name, ' ')+1:]
}

// own are the flags that the program itself doesn't take.
func (c command) own(program command) (list []option) {
	for _, f := range c.flags {
		if !slices.ContainsFunc(
			program.flags,
			func(g option) bool { return g.names[0] == f.names[0] },
		) {
			list = append(list, f)
		}
	}
	return list
}

var (
	backquoted = pattern.New("`([^`]*)`")
	bracketed  = pattern.New(`[\[<]([^\]>]*)[\]>]`)
)

func options(all []cli.Flag) (list []option) {
	for _, f := range all {
		d, ok := f.(cli.DocGenerationFlag)
		if v, may := f.(cli.VisibleFlag); !ok || may && !v.IsVisible() {
			continue
		}
		o := option{usage: strings.ReplaceAll(d.GetUsage(), "`", "")}
		for _, n := range f.Names() {
			if len(n) == 1 {
				o.names = append(o.names, "-"+n)
			} else {
				o.names = append([]string{"--" + n}, o.names...)
			}
		}
		if d.TakesValue() {
			o.placeholder = "VALUE"
			if m := backquoted.Regexp().FindStringSubmatch(d.GetUsage()); m != nil {
				o.placeholder = m[1]
			}
			o.standard = d.GetValue()
			if _, number := f.(*cli.IntFlag); number && o.standard == "0" {
				o.standard = "" // an absent number
			}
			if _, duration := f.(*cli.DurationFlag); duration && o.standard == "0s" {
				o.standard = ""
			}
			o.value = completes(o.placeholder)
		}
		list = append(list, o)
	}
	return list
}

func arguments(synopsis string) (list []completion) {
	for _, m := range bracketed.Regexp().FindAllStringSubmatch(synopsis, -1) {
		list = append(list, completes(m[1]))
	}
	return list
}

// completes is what a placeholder stands for.
func completes(placeholder string) completion {
	switch strings.TrimSuffix(placeholder, "…") {
	case "FILE":
		return completion{kind: files}
	case "DIR", "FOLDER":
		return completion{kind: folders}
	case "N":
		return completion{kind: Generations}
	case "LEASE":
		return completion{kind: Leases}
	case "PORT":
		return completion{kind: Services}
	case "SOURCE":
		return completion{kind: Networks}
	case "INTERFACE":
		return completion{kind: Interfaces}
	}
	if strings.Contains(placeholder, "|") {
		return completion{words: strings.Split(placeholder, "|")}
	}
	return completion{}
}
