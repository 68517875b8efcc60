package policy

import (
	"bytes"
	"fmt"

	"github.com/goccy/go-yaml/token"
)

// Limits on a policy file. The YAML parser is recursive, takes time quadratic in the keys of a
// mapping, and stores the whole path of every value. These limits are checked before it runs, so
// that a hostile file exhausts neither the stack nor the memory of the host.
const (
	maxFileBytes = 10 << 20
	// maxMarks bounds the characters that can begin a value, and so the parser's memory (about 1 KB
	// each). A list of a hundred thousand quoted addresses has three hundred thousand.
	maxMarks = 600_000
	// maxNesting is three times what the language needs (a source with an expiry is five levels
	// deep).
	maxNesting = 16
	// maxKeyBytes bounds a key. Keys and names of the language are shorter (48).
	maxKeyBytes = 64
	// maxKeySquares bounds the sum, over all block mappings, of the square of the number of keys. A
	// mapping with twenty thousand keys takes the parser about a second.
	maxKeySquares = 20_000 * 20_000
	// maxEmptyEntries bounds empty list entries; the parser takes time quadratic in them.
	maxEmptyEntries = 10_000
	// maxExpandedNodes bounds the values of a file after all aliases and merge keys are expanded.
	maxExpandedNodes = 3_000_000
	// maxMergedKeys bounds the keys copied by <<. Only they cost memory for each use of an alias.
	maxMergedKeys = 1_000_000
)

// tooManyValues reports whether a file has more values than the parser can handle cheaply.
func tooManyValues(content []byte) bool {
	marks := 0
	for _, c := range []string{",", "[", "{", "\n", "- ", ": ", "\"", "'", "&", "*", "!", "? "} {
		marks += bytes.Count(content, []byte(c))
	}
	return marks > maxMarks
}

// guard checks the tokens of a file, without recursion, against the limits on the resulting tree.
type guard struct {
	brackets int
	columns  []block // the open block collections, outermost first
	squares  int
	empty    int
	prefixes int // consecutive anchors and tags; the parser recurses into each
}

// block is an open block collection: its column, and its keys if it is a mapping.
type block struct{ column, keys int }

// check returns the first limit that the tokens exceed, and where; nil if they exceed none.
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
		case token.StringType: // the name of an anchor is a token of its own
		default:
			g.prefixes = 0
		}
		switch t.Type {
		case token.MappingValueType:
			at := t.Position
			if i > 0 && tokens[i-1].Position != nil {
				at = tokens[i-1].Position
				if len(tokens[i-1].Value) > maxKeyBytes {
					message := fmt.Sprintf("a key of more than %d characters; no key is so long",
						maxKeyBytes)
					return at, message
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
		case g.empty > maxEmptyEntries:
			return t.Position, fmt.Sprintf("more than %d empty list entries", maxEmptyEntries)
		case g.squares > maxKeySquares:
			return t.Position, "too many keys in one mapping; put some of them into drop-ins in " +
				"policy.d"
		}
	}
	return nil, ""
}

// open records an entry of a block collection at a column, and closes the collections to its right.
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
