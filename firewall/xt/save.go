package xt

import (
	"bufio"
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/pattern"
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
func readSave(r *ruleset, p program, out []byte) error {
	var t *table
	var name string
	lengths := map[string]int{} // rules seen so far, by chain
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 1<<20) // a rule line is at most a few thousand bytes: 1 MiB is no limit, but an end
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimSpace(lines.Text())
		if strings.HasPrefix(line, "#") {
			if m := incompatible.Regexp().FindStringSubmatch(line); m != nil {
				r.blocked[tableKey{p.variant, p.family, m[1]}] = strings.TrimSpace(strings.TrimPrefix(line, "#"))
			}
			continue
		}
		switch {
		case line == "":
		case line[0] == '*':
			name, t, lengths = line[1:], newTable(), map[string]int{}
			r.loaded[tableKey{p.variant, p.family, name}] = true
		case t == nil:
			return fmt.Errorf("%s-save, line %d: %q stands outside of a table", p, number, line)
		case line == "COMMIT":
			if !t.empty() {
				r.tables[tableKey{p.variant, p.family, name}] = t
			}
			t = nil
		case line[0] == ':':
			chainName, policy, _ := strings.Cut(line[1:], " ")
			if ours(chainName) {
				t.chains[chainName] = &chain{name: chainName, service: serviceOf(chainName)}
			} else if !strings.HasPrefix(policy, "ACCEPT") {
				r.used[p.variant] = true // a chain of somebody's, or a policy that somebody set
			}
		default:
			foreign, err := readRule(t, line, lengths)
			if foreign {
				r.used[p.variant] = true
			}
			if err != nil {
				return fmt.Errorf("%s-save, table %s, line %d: %w", p, name, number, err)
			}
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%s-save: %w", p, err)
	}
	if t != nil {
		return fmt.Errorf("%s-save ended in the middle of table %s", p, name)
	}
	return nil
}

var incompatible = pattern.New("Table `([^']+)' is incompatible")

// readRule reads one "[packets:bytes] -A CHAIN words…", and reports whether it is somebody else's.
func readRule(t *table, line string, lengths map[string]int) (foreign bool, err error) {
	counter, rest, err := cutCounter(line)
	if err != nil {
		return false, err
	}
	rest, isRule := strings.CutPrefix(rest, "-A ")
	chainName, text, _ := strings.Cut(rest, " ")
	if !isRule {
		return false, fmt.Errorf("%q is no rule", line)
	}
	position := lengths[chainName]
	lengths[chainName]++
	c := t.chains[chainName]
	if c == nil && !(builtIn[chainName] && strings.Contains(text, baseChain)) {
		return true, nil // not even parsed
	}
	words, err := splitWords(text)
	if err != nil {
		return false, err
	}
	x := newRule(words)
	x.counter = counter
	switch {
	case c != nil:
		c.rules = append(c.rules, x)
	case ours(x.target):
		t.hooks[chainName] = append(t.hooks[chainName], hook{position, x})
	default:
		return true, nil
	}
	t.marked = t.marked || strings.Contains(text, mark)
	return false, nil
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
