package manual

import (
	"fmt"
	"strings"
)

// bash writes tables as case statements, and one function that finds the verb and looks its words up. It needs nothing
// of the bash-completion package, which only loads it.
func bash(name string, program command) string {
	var words, flags, values, arguments strings.Builder
	for _, c := range program.all() {
		if len(c.below) > 0 {
			var below []string
			for _, b := range c.below {
				below = append(below, b.last())
			}
			fmt.Fprintf(&words, "        %s) REPLY=%s ;;\n", single(c.name), single(strings.Join(below, " ")))
		}
		var names []string
		for _, f := range c.flags {
			names = append(names, f.names...)
			if f.placeholder == "" {
				continue
			}
			for _, n := range f.names {
				fmt.Fprintf(&values, "        %s) REPLY=%s ;;\n", single(c.name+" "+n), single(f.value.reply()))
			}
		}
		fmt.Fprintf(&flags, "        %s) REPLY=%s ;;\n", single(c.name), single(strings.Join(names, " ")))
		for i, a := range c.arguments {
			fmt.Fprintf(&arguments, "        %s) REPLY=%s ;;\n", single(fmt.Sprintf("%s %d", c.name, i)), single(a.reply()))
		}
	}
	return strings.NewReplacer("NAME", name, "HEADING", strings.TrimSpace(heading(name, "bash")), "ASKED", Asked, "VALUED", strings.Join(valued(program), "|"),
		"WORDS\n", words.String(), "FLAGS\n", flags.String(), "VALUES\n", values.String(), "ARGUMENTS\n", arguments.String()).Replace(bashScript)
}

// reply is a completion for the script: words, or @ and a kind.
func (c completion) reply() string {
	if c.kind != anything {
		return "@" + c.kind
	}
	return strings.Join(c.words, " ")
}

const bashScript = `HEADING

# Each of these answers in REPLY: the verbs below a verb, its flags, what completes a flag's value or an argument.
__NAME_words() {
    case "$1" in
WORDS
        *) REPLY= ;;
    esac
}
__NAME_flags() {
    case "$1" in
FLAGS
        *) REPLY= ;;
    esac
}
__NAME_value() {
    case "$1 $2" in
VALUES
        *) REPLY= ;;
    esac
}
__NAME_argument() {
    case "$1 $2" in
ARGUMENTS
        *) REPLY= ;;
    esac
}

_NAME() {
    local cur=${COMP_WORDS[COMP_CWORD]} before=$((COMP_CWORD - 1)) flag='' verb='' word REPLY
    local -i i count=0
    COMPREPLY=()
    # bash takes --flag=value for three words.
    if [[ $cur == = ]]; then
        cur='' flag=${COMP_WORDS[before]}
    elif [[ ${COMP_WORDS[before]} == = ]]; then
        before=$((before - 1)) flag=${COMP_WORDS[before]}
    else
        case "${COMP_WORDS[before]}" in VALUED) flag=${COMP_WORDS[before]} ;; esac
    fi
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        case "$word" in
            =) i+=1 ;;
            VALUED) [[ ${COMP_WORDS[i + 1]} == = ]] || i+=1 ;;
            -*) ;;
            *)
                __NAME_words "$verb"
                if [[ $count == 0 && " $REPLY " == *" $word "* ]]; then
                    verb="${verb:+$verb }$word"
                else
                    count+=1
                fi
                ;;
        esac
    done
    if [[ -n $flag ]]; then
        __NAME_value "$verb" "$flag"
    elif [[ $cur == -* ]]; then
        __NAME_flags "$verb"
    else
        __NAME_words "$verb"
        [[ -n $REPLY ]] || __NAME_argument "$verb" "$count"
    fi
    case "$REPLY" in
        @files) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
        @folders) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
        @*) mapfile -t COMPREPLY < <(compgen -W "$(NAME ASKED "${REPLY#@}" 2>/dev/null | cut -f 1)" -- "$cur") ;;
        *) mapfile -t COMPREPLY < <(compgen -W "$REPLY" -- "$cur") ;;
    esac
}
complete -F _NAME NAME
`
