package iptsave

import (
	"slices"
	"strings"
)

// Option is one option of a rule with its arguments: "! --dport 80:90".
type Option struct {
	Name   string // in one spelling, dashes included: "-s", never "--source"
	Not    bool
	Values []string
	Text   string // as it was written
	Column int
}

// Value is the option's only argument; "" if it has none.
func (o Option) Value() string {
	if len(o.Values) == 0 {
		return ""
	}
	return o.Values[0]
}

// Extension is a match or a target with its options: "-m conntrack --ctstate NEW".
type Extension struct {
	Name    string
	Text    string // how it was asked for: "-m conntrack"; "" where a protocol implied it
	Goto    bool   // -g
	Options []Option
}

// String is the extension as it was written.
func (e Extension) String() string {
	var parts []string
	if e.Text != "" {
		parts = append(parts, e.Text)
	}
	for _, o := range e.Options {
		parts = append(parts, o.Text)
	}
	return strings.Join(parts, " ")
}

// Rule is a rule cut into its parts.
type Rule struct {
	Header  []Option // what every rule can ask: -s, -d, -i, -o, -p, -f
	Matches []Extension
	Target  *Extension // nil if the rule only counts

	// newest is the last match of each name, where there are more than manyMatches: a line of a
	// file may have any number. implied is the match that the protocol loads.
	newest  map[string]int
	implied string
}

// ParseRule sorts a rule's words into its parts. It finds errors of form only: an option that lacks
// its argument, a word that belongs to none, an option of the header that comes twice.
func ParseRule(words []Word) (Rule, error) {
	var r Rule
	for len(words) > 0 {
		var o Option
		var err error
		first := words[0]
		if o, words, err = cutOption(words); err != nil {
			return r, err
		}
		switch {
		case o.Name == "-m":
			r.add(Extension{Name: o.Value(), Text: o.Text})
		case o.Name == "-j" || o.Name == "-g":
			if r.Target != nil {
				return r, errorAt(o.Column, "a second %s: a rule has one target", first.Text)
			}
			r.Target = &Extension{Name: o.Value(), Text: o.Text, Goto: o.Name == "-g"}
		case headerOptions[o.Name]:
			if i := slices.IndexFunc(r.Header, func(h Option) bool { return h.Name == o.Name }); i >= 0 {
				return r, errorAt(o.Column, "a second %s: a rule has one", first.Text)
			}
			r.Header = append(r.Header, o)
			if o.Name == "-p" && !o.Not {
				r.implied = ImpliedMatch[strings.ToLower(o.Value())]
			}
		default:
			r.place(o)
		}
	}
	return r, nil
}

// Words makes words of a program's arguments. One that an option takes is quoted where it looks
// like an option itself.
func Words(arguments []string) []Word {
	words := make([]Word, len(arguments))
	taken := 0
	for i, text := range arguments {
		words[i] = Word{Text: text, Quoted: taken > 0 && strings.HasPrefix(text, "-")}
		if taken > 0 {
			taken--
		} else {
			taken = argumentsOf[text]
		}
	}
	return words
}

// cutOption takes the first option with its arguments off a rule.
func cutOption(words []Word) (o Option, rest []Word, err error) {
	text := make([]string, 0, 4)
	not := false
	i := 0
	for ; i < len(words) && isNegation(words[i]); i++ {
		not = true
	}
	if i == len(words) {
		return o, nil, errorAt(words[i-1].Column, `nothing follows the "!": is the line cut off?`)
	}
	w := words[i]
	if w.Quoted || len(w.Text) < 2 || w.Text[0] != '-' {
		return o, nil, errorAt(w.Column, "%q is neither an option nor belongs to one", w.Text)
	}
	o = Option{Name: w.Text, Not: not, Column: w.Column}
	if s, ok := spellings[o.Name]; ok {
		o.Name = s
	}
	if not {
		text = append(text, "!")
	}
	text = append(text, w.String())
	count, known := argumentsOf[o.Name]
	for i++; i < len(words) && (!known || len(o.Values) < count); i++ {
		v := words[i]
		if isNegation(v) {
			// Before 1.4.3 the negation stood behind the option: "--dport ! 80".
			if len(o.Values) > 0 || !known {
				break
			}
			o.Not = true
			text = append(text, "!")
			continue
		}
		if !known && isOption(v) {
			break
		}
		o.Values = append(o.Values, v.Text)
		text = append(text, v.String())
	}
	if known && len(o.Values) < count {
		return o, nil, errorAt(
			w.Column,
			"%s needs %d argument(s) and has %d: is the line cut off?",
			w.Text,
			count,
			len(o.Values),
		)
	}
	o.Text = strings.Join(text, " ")
	return o, words[i:], nil
}

func isNegation(w Word) bool { return w.Text == "!" && !w.Quoted }

// isOption reports whether a word behind an option that isn't known is the next option.
func isOption(w Word) bool {
	return !w.Quoted && len(w.Text) > 1 && w.Text[0] == '-' && !isNumber(w.Text)
}

func isNumber(s string) bool { return strings.Trim(s, "-0123456789") == "" }

// manyMatches is the number of matches from which a look-up is faster than a search.
const manyMatches = 16

// add appends a match.
func (r *Rule) add(e Extension) {
	r.Matches = append(r.Matches, e)
	switch n := len(r.Matches); {
	case n == manyMatches:
		r.newest = map[string]int{}
		for i, m := range r.Matches {
			r.newest[m.Name] = i
		}
	case n > manyMatches:
		r.newest[e.Name] = n - 1
	}
}

// last is the place of the newest match of a name, -1 if there is none.
func (r *Rule) last(name string) int {
	if r.newest != nil {
		if i, ok := r.newest[name]; ok {
			return i
		}
		return -1
	}
	for i := len(r.Matches) - 1; i >= 0; i-- {
		if r.Matches[i].Name == name {
			return i
		}
	}
	return -1
}

// place gives an option to the extension that it belongs to: the newest that is known to have it,
// or else the match that the protocol implies ("-p tcp --dport 22"), or else the newest of all.
func (r *Rule) place(o Option) {
	newest := -1
	for _, name := range takers[o.Name] {
		if r.Target != nil && r.Target.Name == name {
			r.Target.Options = append(r.Target.Options, o)
			return
		}
		newest = max(newest, r.last(name))
	}
	switch n := len(r.Matches); {
	case newest >= 0:
	case HasOption(r.implied, o.Name):
		r.add(Extension{Name: r.implied, Options: []Option{o}})
		return
	case r.Target != nil: // iptables prints an extension's options right behind it
		r.Target.Options = append(r.Target.Options, o)
		return
	case n > 0:
		newest = n - 1
	default:
		r.add(Extension{Options: []Option{o}})
		return
	}
	r.Matches[newest].Options = append(r.Matches[newest].Options, o)
}
