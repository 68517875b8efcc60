// Package pattern holds regular expressions that are compiled when they are first asked. Portgrave has some thirty, of which one run of the program
// asks a few; compiled all at once at its start, they would take longer than loading a short allowlist.
//
// A Pattern can be used by several goroutines at once. New does not look at the text: one that is no regular expression panics when it is first
// asked, which the tests of whoever has it bring about.
package pattern

import (
	"regexp"
	"sync"
)

// Pattern is a regular expression (regexp/syntax).
type Pattern struct {
	text string
	// Regexp compiles it at the first call.
	Regexp func() *regexp.Regexp
}

// New makes a Pattern.
func New(text string) *Pattern {
	return &Pattern{text, sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text) })}
}

// String is the text that it was made of.
func (p *Pattern) String() string { return p.text }

// MatchString reports whether s contains a match.
func (p *Pattern) MatchString(s string) bool { return p.Regexp().MatchString(s) }
