package iptsave

import (
	"io"
	"strings"

	"github.com/portgrave/portgrave/firewall"
)

// SetLine is one line of ipset save: it creates a set, or adds an element to one.
type SetLine struct {
	Number int // from 1
	Add    bool
	Set    string
	Text   string // what follows the set's name: its type, or the element; then options
}

// SplitSet cuts what follows a set's name into its words.
func SplitSet(text string) ([]Word, error) { return (&lexer{line: text, plain: true}).rest() }

// ReadSets passes what `ipset save` printed to a function, line by line: a create line for each
// set, an add line for each of its elements. The line is only valid during the call.
//
//	create NAME hash:ip,port family inet hashsize 1024 maxelem 65536 timeout 0 bucketsize 12 …
//	add NAME 10.0.0.1,tcp:80 timeout 3599
//
// It ends at the first error, as Read does.
func ReadSets(text io.Reader, each func(*SetLine) error) error {
	lines := scanner(text)
	for number := 1; lines.Scan(); number++ {
		line := lines.Text()
		verb, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		l := SetLine{Number: number, Add: verb == "add"}
		l.Set, l.Text, _ = strings.Cut(rest, " ")
		var err error
		switch {
		case verb == "" || verb[0] == '#' || verb == "COMMIT":
		case verb == "create" && l.Set != "", verb == "add" && l.Text != "":
			err = each(&l)
		default:
			err = errorAt(1, "%q is neither \"create NAME TYPE\" nor \"add NAME ELEMENT\", "+
				"as `ipset save` prints", firewall.Excerpt(line))
		}
		if err != nil {
			return inLine(err, number, 0)
		}
	}
	return lines.Err()
}
