package xt

import (
	"bufio"
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/portgrave/portgrave/firewall"
)

// readSave takes our part out of what iptables-save -c prints for one family, and adds it to r. Rules of
// others are counted for the position of our hooks and otherwise passed over.
//
// The format (iptables-save(8), and its source, since no document describes the quoting):
//
//	# comment
//	*table
//	:CHAIN POLICY [packets:bytes]
//	[packets:bytes] -A CHAIN words…
//	COMMIT
//
// A word with spaces or quotes stands in double quotes, inside which \ makes the next character literal.
func readSave(r *ruleset, f firewall.Family, out []byte) error {
	var t *table
	var name string
	lengths := map[string]int{} // rules seen so far, by chain
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 1<<20) // a rule line is at most a few thousand bytes: 1 MiB is no limit, but an end
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimSpace(lines.Text())
		if strings.HasPrefix(line, "#") {
			if strings.Contains(line, "is incompatible, use 'nft' tool") {
				return fmt.Errorf("%s: %s", program(f), strings.TrimSpace(strings.TrimPrefix(line, "#")))
			}
			continue
		}
		switch {
		case line == "":
		case line[0] == '*':
			name, t, lengths = line[1:], newTable(), map[string]int{}
		case t == nil:
			return fmt.Errorf("%s-save, line %d: %q stands outside of a table", program(f), number, line)
		case line == "COMMIT":
			if !t.empty() {
				r.tables[tableKey{f, name}] = t
			}
			t = nil
		case line[0] == ':':
			if chainName, _, ok := strings.Cut(line[1:], " "); ok && ours(chainName) {
				t.chains[chainName] = &chain{name: chainName, service: serviceOf(chainName)}
			}
		default:
			if err := readRule(t, line, lengths); err != nil {
				return fmt.Errorf("%s-save, table %s, line %d: %w", program(f), name, number, err)
			}
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%s-save: %w", program(f), err)
	}
	if t != nil {
		return fmt.Errorf("%s-save ended in the middle of table %s", program(f), name)
	}
	return nil
}

// readRule reads one "[packets:bytes] -A CHAIN words…".
func readRule(t *table, line string, lengths map[string]int) error {
	counter, rest, err := cutCounter(line)
	if err != nil {
		return err
	}
	rest, isRule := strings.CutPrefix(rest, "-A ")
	chainName, text, _ := strings.Cut(rest, " ")
	if !isRule {
		return fmt.Errorf("%q is no rule", line)
	}
	position := lengths[chainName]
	lengths[chainName]++
	if !ours(chainName) && !strings.Contains(text, baseChain) {
		return nil // others' business, not even parsed
	}
	words, err := splitWords(text)
	if err != nil {
		return err
	}
	x := newRule(words)
	x.counter = counter
	marked := strings.Contains(text, mark)
	if c := t.chains[chainName]; c != nil {
		c.rules = append(c.rules, x)
		t.marked = t.marked || marked
	} else if ours(x.target) && builtIn[chainName] {
		t.hooks[chainName] = append(t.hooks[chainName], hook{position, x})
		t.marked = t.marked || marked
	}
	return nil
}

// builtIn chains are where the kernel calls the rules.
var builtIn = map[string]bool{"PREROUTING": true, "INPUT": true, "FORWARD": true, "OUTPUT": true, "POSTROUTING": true}

func cutCounter(line string) (firewall.Counter, string, error) {
	var c firewall.Counter
	if line[0] != '[' {
		return c, line, nil
	}
	numbers, rest, ok := strings.Cut(line[1:], "] ")
	packets, bytes, both := strings.Cut(numbers, ":")
	var err error
	if c.Packets, err = strconv.ParseUint(packets, 10, 64); err == nil {
		c.Bytes, err = strconv.ParseUint(bytes, 10, 64)
	}
	if !ok || !both || err != nil {
		return c, "", fmt.Errorf("%q begins with no packet counter", line)
	}
	return c, rest, nil
}

// word is one argument; a quoted one is never an option.
type word struct {
	text   string
	quoted bool
}

// splitWords undoes the quoting of iptables-save.
func splitWords(s string) ([]word, error) {
	var out []word
	var w strings.Builder
	inWord, quoted, open := false, false, false
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case open && c == '\\' && i+1 < len(s):
			i++
			w.WriteByte(s[i])
		case c == '"':
			open, inWord, quoted = !open, true, true
		case !open && (c == ' ' || c == '\t'):
			if inWord {
				out = append(out, word{w.String(), quoted})
				w.Reset()
				inWord, quoted = false, false
			}
		default:
			w.WriteByte(c)
			inWord = true
		}
	}
	if open {
		return nil, fmt.Errorf("the quote is never closed in %q", s)
	}
	if inWord {
		out = append(out, word{w.String(), quoted})
	}
	return out, nil
}

// quote writes a word as iptables-restore reads it.
func quote(s string) string {
	if s != "" && !strings.ContainsAny(s, " \t\"'\\") {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
