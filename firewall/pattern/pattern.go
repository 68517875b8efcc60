// Package pattern holds regular expressions that are compiled on first use. Portgrave has some
// thirty and one run uses a few; compiling all of them at the start would take longer than loading
// a short allowlist.
//
// A Pattern can be used concurrently. New does not check the text: an invalid regular expression
// panics on first use, so each pattern needs a test that uses it.
package pattern

import (
	"regexp"
	"sync"
)

// Pattern is a regular expression (regexp/syntax).
type Pattern struct {
	text string
	// Regexp returns the compiled expression, and compiles it at the first call.
	Regexp func() *regexp.Regexp
}

// New returns a Pattern for a regular expression.
func New(text string) *Pattern {
	return &Pattern{text, sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text) })}
}

// String returns the text of the expression.
func (p *Pattern) String() string { return p.text }

// MatchString reports whether s contains a match.
func (p *Pattern) MatchString(s string) bool { return p.Regexp().MatchString(s) }
