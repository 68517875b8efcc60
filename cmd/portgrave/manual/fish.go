package manual

import (
	"fmt"
	"strings"
)

// fish writes one line a verb, flag or argument, each with the condition under which it is offered.
func fish(name string, program command) string {
	var b strings.Builder
	b.WriteString(heading(name, "fish"))
	b.WriteString(strings.NewReplacer("NAME", name, "VALUED", strings.Join(valued(program), " ")).Replace(fishFunctions))
	line := func(condition, rest, usage string) {
		fmt.Fprintf(&b, "complete -c %s -n %s %s", name, fishQuoted(condition), rest)
		if usage != "" {
			b.WriteString(" -d " + fishQuoted(usage))
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "\ncomplete -c %s -f\n", name)
	for _, c := range program.all() {
		here := strings.TrimSpace("__" + name + "_is 0 " + c.name)
		for _, v := range c.below {
			line(here, "-a "+v.last(), v.usage)
		}
		for i, a := range c.arguments {
			if a := a.fish(name); a != "" {
				line(strings.TrimSpace(fmt.Sprintf("__%s_is %d %s", name, i, c.name)), a, "")
			}
		}
		own := c.flags
		if c.name != "" {
			own = c.own(program)
			here = "__" + name + "_below " + c.name
		}
		for _, f := range own {
			rest := ""
			for _, n := range f.names {
				if long, ok := strings.CutPrefix(n, "--"); ok {
					rest += " -l " + long
				} else {
					rest += " -s " + n[1:]
				}
			}
			if f.placeholder != "" {
				rest += strings.TrimRight(" -x "+f.value.fish(name), " ")
			}
			if f.value.kind == files {
				rest = strings.Replace(rest, " -x -F", " -r -F", 1)
			}
			condition := here
			if c.name == "" {
				condition = "true" // these work everywhere
			}
			line(condition, strings.TrimSpace(rest), f.usage)
		}
	}
	return b.String()
}

func (c completion) fish(name string) string {
	switch c.kind {
	case files:
		return "-F"
	case folders:
		return "-a '(__fish_complete_directories)'"
	case anything:
		if len(c.words) > 0 {
			return "-a " + fishQuoted(strings.Join(c.words, " "))
		}
		return ""
	}
	return fmt.Sprintf("-a '(%s %s %s 2>/dev/null)'", name, Asked, c.kind)
}

// fishQuoted is a text in single quotes, in which fish knows backslashes.
func fishQuoted(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(s) + "'"
}

const fishFunctions = `
# The words before the cursor, without flags and their values, one a line.
function __NAME_words
    set -l skip 0
    for word in (commandline -opc)[2..-1]
        if test $skip = 1
            set skip 0
            continue
        end
        switch $word
            case VALUED
                set skip 1
            case '-*'
            case '*'
                echo $word
        end
    end
end

# __NAME_is N VERB...: this verb stands there, and N arguments behind it.
function __NAME_is
    set -l words (__NAME_words)
    test (count $words) -eq (math $argv[1] + (count $argv) - 1); or return 1
    __NAME_below $argv[2..-1]
end

# __NAME_below VERB...: this verb stands there.
function __NAME_below
    set -l words (__NAME_words)
    test (count $words) -ge (count $argv); or return 1
    for i in (seq (count $argv))
        test $words[$i] = $argv[$i]; or return 1
    end
end
`
