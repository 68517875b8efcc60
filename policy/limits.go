package policy

import (
	"bytes"
	"fmt"

	"github.com/goccy/go-yaml/token"
)

// Limits on what a policy file may be. The YAML parser is recursive, takes time that grows with the
// square of a mapping's keys, and keeps every value's whole path; these bounds are looked at
// before it is, so that a hostile file costs neither the stack nor the memory of the host.
const (
	maxFileBytes = 10 << 20
	// maxMarks bounds the characters that can begin a value, and so the parser's memory (about
	// 1 KB each). A hundred thousand quoted addresses in one list have three hundred thousand.
	maxMarks = 600_000
	// maxNesting is thrice what the language needs (a source with an expiry is five levels deep).
	maxNesting = 16
	// maxKeyBytes is more than any name or key of the language may have.
	maxKeyBytes = 64
	// maxKeySquares bounds the sum over all block mappings of their keys squared: one of
	// twenty thousand keys takes the parser about a second.
	maxKeySquares = 20_000 * 20_000
	// maxEmpty bounds list entries with nothing in them; the parser's time grows with their square too.
	maxEmpty = 10_000
	// maxExpanded bounds the values of a file with every alias and merge key written out.
	maxExpanded = 3_000_000
	// maxMerged bounds the keys copied by <<, the one thing that costs memory each time an alias is used.
	maxMerged = 1_000_000
)

// tooMany reports whether a file has more values than the parser should be given.
func tooMany(content []byte) bool {
	marks := 0
	for _, c := range []string{",", "[", "{", "\n", "- ", ": ", "\"", "'", "&", "*", "!", "? "} {
		marks += bytes.Count(content, []byte(c))
	}
	return marks > maxMarks
}

// guard walks over the tokens of a file, which costs no recursion, and judges the tree that they will make.
type guard struct {
	brackets int
	columns  []block // the open block collections, outermost first
	squares  int
	empty    int
	prefixes int // anchors, tags and the like in a row, each of which the parser descends into
}

// block is an open block collection: its column, and its keys if it is a mapping.
type block struct{ column, keys int }

// check returns what is too much about the tokens, and where; nil if nothing is.
func (g *guard) check(tokens token.Tokens) (*token.Position, string) {
	for i, t := range tokens {
		if t.Position == nil {
			continue
		}
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			g.brackets++
		case token.SequenceEndType, token.MappingEndType:
			g.brackets--
		}
		switch t.Type {
		case token.AnchorType, token.TagType, token.MappingKeyType:
			g.prefixes++
		case token.StringType: // an anchor's name is a token of its own
		default:
			g.prefixes = 0
		}
		switch t.Type {
		case token.MappingValueType:
			at := t.Position
			if i > 0 && tokens[i-1].Position != nil {
				at = tokens[i-1].Position
				if len(tokens[i-1].Value) > maxKeyBytes {
					return at, fmt.Sprintf("a key of more than %d characters; no key is so long", maxKeyBytes)
				}
			}
			if g.brackets <= 0 {
				g.open(at.Column, true)
			}
		case token.SequenceEntryType, token.MappingKeyType:
			if i > 0 && tokens[i-1].Type == token.SequenceEntryType {
				g.empty++
			}
			if g.brackets <= 0 {
				g.open(t.Position.Column, t.Type == token.MappingKeyType)
			}
		case token.DocumentHeaderType, token.DocumentEndType:
			g.columns = nil
		}
		switch {
		case g.brackets+len(g.columns) > maxNesting || g.prefixes > maxNesting:
			return t.Position, fmt.Sprintf("nested deeper than %d levels", maxNesting)
		case g.empty > maxEmpty:
			return t.Position, fmt.Sprintf("more than %d empty list entries", maxEmpty)
		case g.squares > maxKeySquares:
			return t.Position, "too many keys in one mapping; put some of them into drop-ins in policy.d"
		}
	}
	return nil, ""
}

// open notes an entry of a block collection at a column: what stands further right has ended.
func (g *guard) open(column int, key bool) {
	for len(g.columns) > 0 && g.columns[len(g.columns)-1].column > column {
		g.columns = g.columns[:len(g.columns)-1]
	}
	if n := len(g.columns); n == 0 || g.columns[n-1].column < column {
		g.columns = append(g.columns, block{column: column})
	}
	if key {
		last := &g.columns[len(g.columns)-1]
		last.keys++
		g.squares += 2*last.keys - 1
	}
}
