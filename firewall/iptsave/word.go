package iptsave

import "strings"

// Word is one argument in a line.
type Word struct {
	Text   string
	Quoted bool // a word that stood in quotes is never an option
	Column int  // where it begins, from 1
}

// String is the word as iptables-restore reads it back.
func (w Word) String() string {
	if w.Quoted || w.Text == "" || strings.ContainsAny(w.Text, spaces+`"`) {
		return `"` + escapes.Replace(w.Text) + `"`
	}
	return w.Text
}

const spaces = " \t"

var escapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// Join is words as a line.
func Join(words []Word) string {
	var line strings.Builder
	for i, w := range words {
		if i > 0 {
			line.WriteByte(' ')
		}
		line.WriteString(w.String())
	}
	return line.String()
}

// Split cuts a line of iptables into its words.
func Split(line string) ([]Word, error) { return (&lexer{line: line}).rest() }

// lexer cuts words off a line.
type lexer struct {
	line string
	at   int
	// plain is for ipset, which has quotes but no escapes: a comment can't hold a quote.
	plain bool
}

func (l *lexer) rest() ([]Word, error) {
	var out []Word
	for {
		w, found, err := l.next()
		if err != nil || !found {
			return out, err
		}
		out = append(out, w)
	}
}

// next is the next word; false at the end of the line. A word ends at a space and at the quote that
// closes: "a"b is two words.
func (l *lexer) next() (Word, bool, error) {
	l.skipSpaces()
	start := l.at
	if start == len(l.line) {
		return Word{}, false, nil
	}
	w := Word{Column: start + 1}
	end := strings.IndexAny(l.line[start:], spaces+`"`)
	if end < 0 {
		end = len(l.line) - start
	}
	l.at = start + end
	w.Text = l.line[start:l.at]
	if l.at == len(l.line) || l.line[l.at] != '"' {
		return w, true, nil
	}
	w.Quoted = true
	var text strings.Builder
	text.WriteString(w.Text)
	for i := l.at + 1; i < len(l.line); i++ {
		switch c := l.line[i]; {
		case c == '\\' && i+1 < len(l.line) && !l.plain:
			i++
			text.WriteByte(l.line[i])
		case c == '"':
			l.at = i + 1
			w.Text = text.String()
			return w, true, nil
		default:
			text.WriteByte(c)
		}
	}
	return w, false, errorAt(l.at+1, "the quote is never closed: is the line cut off?")
}

func (l *lexer) skipSpaces() {
	for l.at < len(l.line) && strings.IndexByte(spaces, l.line[l.at]) >= 0 {
		l.at++
	}
}
