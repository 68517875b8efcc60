package manual

import (
	"fmt"
	"strings"
)

// zsh writes a function of the completion system: _arguments for the program, and again for each verb.
func zsh(name string, program command) string {
	var b strings.Builder
	fmt.Fprintf(&b, "#compdef %s\n%s", name, heading(name, "zsh"))
	fmt.Fprintf(&b, `
# What only the program can tell: each line is a value, a tab and its description.
__%[1]s_%[2]s() {
    local -a found
    local line
    for line in ${(f)"$(%[1]s %[2]s $1 2>/dev/null)"}; do
        found+=("${${line%%%%$'\t'*}//:/\\:}:${line#*$'\t'}")
    done
    _describe -V -t $1 $1 found
}

_%[1]s() {
    local context state state_descr line
    typeset -A opt_args
`, name, Asked)
	zshLevel(&b, name, program, "    ")
	fmt.Fprintf(&b, "}\n\n_%s \"$@\"\n", name)
	return b.String()
}

// zshLevel completes one verb, or what is below it.
func zshLevel(b *strings.Builder, name string, c command, indent string) {
	var specs []string
	for _, f := range c.flags {
		specs = append(specs, zshFlag(name, f))
	}
	if len(c.below) == 0 {
		for i, a := range c.arguments {
			specs = append(specs, single(fmt.Sprintf("%d::argument:%s", i+1, zshAction(name, a))))
		}
		fmt.Fprintf(b, "%s_arguments -S \\\n%s    %s\n", indent, indent, strings.Join(specs, " \\\n"+indent+"    "))
		return
	}
	specs = append(specs, "'1: :->verb'", "'*:: :->rest'")
	fmt.Fprintf(b, "%s_arguments -C -S \\\n%s    %s\n", indent, indent, strings.Join(specs, " \\\n"+indent+"    "))
	fmt.Fprintf(b, "%scase $state in\n%sverb)\n%s    local -a verbs=(\n", indent, indent, indent)
	for _, v := range c.below {
		fmt.Fprintf(b, "%s        %s\n", indent, single(v.last()+":"+strings.ReplaceAll(v.usage, ":", `\:`)))
	}
	fmt.Fprintf(b, "%s    )\n%s    _describe -V -t verbs verb verbs ;;\n%srest)\n%s    case $words[1] in\n", indent, indent, indent, indent)
	for _, v := range c.below {
		fmt.Fprintf(b, "%s    %s)\n", indent, v.last())
		zshLevel(b, name, v, indent+"        ")
		fmt.Fprintf(b, "%s        ;;\n", indent)
	}
	fmt.Fprintf(b, "%s    esac ;;\n%sesac\n", indent, indent)
}

// zshFlag is an option for _arguments: --flag value and --flag=value both work. A repeatable one can't be told, and
// is offered once more.
func zshFlag(name string, f option) string {
	text := strings.NewReplacer("[", `\[`, "]", `\]`, ":", `\:`).Replace(f.usage)
	end, tail := "", "["+text+"]"
	if f.placeholder != "" {
		end = "="
		tail += ":" + strings.ToLower(strings.ReplaceAll(f.placeholder, "|", " or ")) + ":" + zshAction(name, f.value)
	}
	if len(f.names) == 1 {
		return single("*" + f.names[0] + end + tail)
	}
	var names []string
	for _, n := range f.names {
		if strings.HasPrefix(n, "--") {
			names = append(names, n+end)
		} else {
			names = append(names, n)
		}
	}
	return single("("+strings.Join(f.names, " ")+")") + "{" + strings.Join(names, ",") + "}" + single(tail)
}

func zshAction(name string, c completion) string {
	switch c.kind {
	case files:
		return "_files"
	case folders:
		return "_files -/"
	case anything:
		if len(c.words) > 0 {
			return "(" + strings.Join(c.words, " ") + ")"
		}
		return " "
	}
	return " __" + name + "_" + Asked + " " + c.kind // the space: nothing is put between them
}
