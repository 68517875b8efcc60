package nfttext

import (
	"fmt"
	"slices"

	"github.com/portgrave/portgrave/firewall"
)

// rule reads "inet filter input tcp dport 22 accept" after "add rule".
func (s *script) rule(insert bool) error {
	owner, err := s.owner()
	if err != nil {
		return err
	}
	t, err := s.next()
	if err != nil {
		return err
	}
	if t.kind != word && t.kind != quoted {
		return unexpected(t, "a chain's name")
	}
	c := owner.chainNames[t.text]
	if c == nil {
		return errorAt(
			t.at, "a rule of chain %s of table %s %s, which isn't there: is something cut out?",
			firewall.Excerpt(t.text), owner.Family, owner.Name,
		)
	}
	next, err := s.peek()
	if err != nil {
		return err
	}
	if next.is("position", "index", "handle") {
		return errorAt(
			next.at, "a rule by its %s: give the output of `nft list ruleset` instead", next.text,
		)
	}
	part, err := s.span()
	if insert {
		c.inserted = append(c.inserted, part)
	} else {
		c.rules = append(c.rules, part)
	}
	if err == nil {
		err = s.countRule(t)
	}
	return err
}

// element reads "inet filter set { … }" after "add element".
func (s *script) element() error {
	owner, err := s.owner()
	if err != nil {
		return err
	}
	t, err := s.next()
	if err != nil {
		return err
	}
	x := owner.setNames[t.text]
	if x == nil {
		return errorAt(
			t.at, "elements of set %s of table %s %s, which isn't there: is something cut out?",
			firewall.Excerpt(t.text), owner.Family, owner.Name,
		)
	}
	part, err := s.span()
	x.elements = append(x.elements, part)
	return err
}

// remove reads "flush ruleset" and "delete table", which scripts begin with.
func (s *script) remove(verb token) error {
	object, err := s.next()
	if err != nil {
		return err
	}
	switch {
	case object.is("ruleset") && verb.text == "flush":
		next, err := s.peek()
		if err != nil {
			return err
		}
		s.drop(func(t *table) bool {
			return !slices.Contains(families, next.text) || t.Family == next.text
		})
		return s.line()
	case object.is("table"):
		before := len(s.tables)
		owner, err := s.owner()
		if err != nil {
			return err
		}
		switch {
		case verb.text != "flush" || len(s.tables) > before: // or it didn't exist
			s.dropTable(owner)
		default:
			for _, c := range owner.chains {
				c.rules, c.inserted = nil, nil
			}
		}
		return s.line()
	case object.is("chain", "set", "map") && verb.text == "flush":
		owner, err := s.owner()
		if err != nil {
			return err
		}
		name, err := s.name("a name")
		if err != nil {
			return err
		}
		if c := owner.chainNames[name]; c != nil && object.is("chain") {
			c.rules, c.inserted = nil, nil
		}
		if x := owner.setNames[name]; x != nil && !object.is("chain") {
			x.elements = nil
		}
		return s.line()
	}
	what := fmt.Sprint(verb.text, " ", firewall.Excerpt(object.text))
	return errorAt(
		verb.at, "%q is not followed: give the output of `nft list ruleset` instead", what,
	)
}

// Statement returns the end of the command that begins at an offset of a text: after its line or
// block. An unclosed block ends with the text.
func Statement(text string, from int) int {
	l := &lexer{text: text, pos: from, end: len(text)}
	depth := 0
	for {
		t, err := l.scan()
		switch {
		case err != nil || t.kind == end:
			return len(text)
		case t.kind == newline && t.text == "\n" && depth == 0:
			return l.pos
		case t.is("{", "("):
			depth++
		case t.is("}", ")"):
			depth--
		}
	}
}
