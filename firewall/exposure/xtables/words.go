package xtables

import (
	"fmt"
	"strings"
)

// word is one argument of a rule. A quoted one is never an option.
type word struct {
	text   string
	quoted bool
	column int // from 1
}

// splitWords undoes the quoting of iptables-save: a word with spaces or quotes stands in double quotes, inside which \ makes
// the next character literal (xtables_save_string in libxtables; add_param_to_argv in iptables/xshared.c reads it back).
func splitWords(s string) ([]word, error) {
	var out []word
	var w strings.Builder
	inWord, quoted, open, start := false, false, 0, 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !inWord && c != ' ' && c != '\t' {
			inWord, start = true, i+1
		}
		switch {
		case open > 0 && c == '\\' && i+1 < len(s):
			i++
			w.WriteByte(s[i])
		case c == '"' && open > 0:
			open = 0
		case c == '"':
			open, quoted = i+1, true
		case open == 0 && (c == ' ' || c == '\t'):
			if inWord {
				out = append(out, word{w.String(), quoted, start})
				w.Reset()
				inWord, quoted = false, false
			}
		default:
			w.WriteByte(c)
		}
	}
	if open > 0 {
		return nil, &columnError{open, fmt.Errorf("the quote is never closed: is the line cut off?")}
	}
	if inWord {
		out = append(out, word{w.String(), quoted, start})
	}
	return out, nil
}

// quote writes a word as iptables-save does.
func quote(w word) string {
	if !w.quoted {
		return w.text
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(w.text) + `"`
}

// columnError is an error at a place in its line.
type columnError struct {
	column int
	err    error
}

func (e *columnError) Error() string { return e.err.Error() }
func (e *columnError) Unwrap() error { return e.err }
