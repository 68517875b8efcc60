package policy

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Location is a place in a policy or network file. Line and Column count from 1; 0 means the whole
// file.
type Location struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
}

func (l Location) String() string {
	if l.Line == 0 {
		return l.File
	}
	return fmt.Sprintf("%s:%d:%d", l.File, l.Line, l.Column)
}

// Problem is one mistake and what to write instead, or one warning. Its JSON shape is stable.
type Problem struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Message string `json:"message"`
	// Rule is the ID of the Rule that a warning belongs to; "" for mistakes.
	Rule string `json:"rule,omitempty"`

	more  int  // mistakes that Message counts in place of its own
	fault bool // see fault.go
}

func (p Problem) Error() string {
	return p.Location().String() + ": " + p.Message
}

// Location is where the problem is.
func (p Problem) Location() Location { return Location{p.File, p.Line, p.Column} }

// Problems are all mistakes of a policy, in order of location. Error prints one a line.
type Problems []Problem

func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, x := range p {
		lines[i] = x.Error()
	}
	return strings.Join(lines, "\n")
}

// FirstProblem returns the first of several Problems, with the number of the others.
func FirstProblem(err error) error {
	var problems Problems
	if errors.As(err, &problems) && len(problems) > 0 {
		if len(problems) == 1 {
			return problems[0]
		}
		return fmt.Errorf("%w (and %d more)", problems[0], len(problems)-1)
	}
	return err
}

// maxProblems bounds the mistakes that are reported. A message gives the number of the others.
const maxProblems = 200

// maxCollected bounds the mistakes that a hostile file makes us store before sorting.
const maxCollected = 20 * maxProblems

// reporter collects mistakes.
type reporter struct {
	list    Problems
	dropped int // mistakes beyond maxCollected
}

func (r *reporter) at(l Location, format string, args ...any) { r.warn("", l, format, args...) }

// warn is at for warnings, which belong to a rule.
func (r *reporter) warn(rule string, l Location, format string, args ...any) {
	if len(r.list) >= maxCollected {
		r.dropped++
		return
	}
	r.list = append(r.list, Problem{
		File: l.File, Line: l.Line, Column: l.Column, Message: fmt.Sprintf(format, args...),
		Rule: rule,
	})
}

// count returns the number of mistakes so far.
func (r *reporter) count() int { return len(r.list) + r.dropped }

// problems returns nil, or each mistake once, in order.
func (r *reporter) problems() error {
	if len(r.list) == 0 {
		return nil
	}
	return r.list.sorted(r.dropped)
}

// suggest is didYouMean for the names in a map, which the administrator chose. Two names that look
// alike may be different things, so the difference must look like a typing error. It returns ""
// after maxProblems mistakes, because a long file of them would take quadratic time.
func suggest[V any](r *reporter, word string, known map[string]V) string {
	if len(r.list) > maxProblems {
		return ""
	}
	return didYouMean(word, slices.DeleteFunc(sortedNames(known), func(name string) bool {
		return !mistyped(word, name)
	}))
}

// sorted returns each mistake once, by location. A last entry counts those beyond maxProblems and
// the dropped ones.
func (p Problems) sorted(dropped int) Problems {
	out := slices.Clone(p)
	slices.SortStableFunc(out, func(a, b Problem) int {
		return cmp.Or(
			strings.Compare(a.File, b.File),
			cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Column, b.Column),
		)
	})
	out = slices.Compact(out)
	if len(out) < maxProblems {
		return out // all that were dropped came twice
	}
	more := dropped
	for _, x := range out {
		more += x.more
	}
	out = slices.DeleteFunc(out, func(x Problem) bool { return x.more > 0 })
	if n := len(out) - maxProblems; n > 0 {
		out, more = out[:maxProblems], more+n
	}
	if more > 0 {
		last := out[len(out)-1]
		last.Message, last.Rule, last.more = fmt.Sprintf("… and %d more", more), "", more
		out = append(out, last)
	}
	return out
}

// didYouMean returns " (did you mean "x"?)" for the nearest known word, or "" if none is near. In
// short words one letter may differ: two of three letters make another word.
func didYouMean(word string, known []string) string {
	if best := nearestWord(word, known); best != "" {
		return fmt.Sprintf(" (did you mean %q?)", best)
	}
	return ""
}

func nearestWord(word string, known []string) string {
	best, distance := "", 4
	for _, k := range known {
		most := 3
		switch n := min(len(word), len(k)); {
		case n == 4 && strings.EqualFold(word[:2], k[:2]):
			most = 2 // kept, keep
		case n < 5:
			most = 1
		case n < 7:
			most = 2
		}
		d := editDistance(strings.ToLower(word), strings.ToLower(k))
		if d <= most && d < distance {
			best, distance = k, d
		}
	}
	return best
}

// editDistance is the number of insertions, deletions, replacements and swaps of neighbours between
// two words.
func editDistance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64 // every name is shorter, and the table would be large
	}
	d := make([][]int, len(a)+1)
	for i := range d {
		d[i] = make([]int, len(b)+1)
		d[i][0] = i
	}
	for j := range d[0] {
		d[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d[i][j] = min(d[i-1][j]+1, d[i][j-1]+1, d[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(a)][len(b)]
}
