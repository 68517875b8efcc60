package nfttext

import (
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/nftjson"
)

// script is a text that is parsed into tables. It keeps the places of rules and elements.
type script struct {
	lexer
	lines  lines
	tables []*table
	named  map[[2]string]*table // by family and name
	rules  int
}

// countRule counts a rule.
func (s *script) countRule(t token) error {
	if s.rules++; s.rules > exposure.MaxFileRules {
		return errorAt(t.at, "%s", exposure.TooManyRules)
	}
	return nil
}

type table struct {
	nftjson.Table
	chains []*chain
	sets   []*set
	others [][2]string
	// byName holds chains and sets by their names.
	chainNames map[string]*chain
	setNames   map[string]*set
}

type chain struct {
	nftjson.Chain
	rules    []span
	inserted []span // in reverse order
}

type set struct {
	nftjson.Set
	elements []span
}

// span is a part of the text.
type span struct{ from, to int }

var families = []string{"ip", "ip6", "inet", "arp", "bridge", "netdev"}

// find returns a table, and makes it if needed: a second block extends the first.
func (s *script) find(family, name string, at int) *table {
	if t := s.named[[2]string{family, name}]; t != nil {
		return t
	}
	t := &table{Table: nftjson.Table{Family: family, Name: name, Line: s.lines.of(at)},
		chainNames: map[string]*chain{}, setNames: map[string]*set{}}
	s.tables = append(s.tables, t)
	if s.named == nil {
		s.named = map[[2]string]*table{}
	}
	s.named[[2]string{family, name}] = t
	return t
}

// dropTable removes a table, usually the last one, which a script named in order to delete it.
func (s *script) dropTable(owner *table) {
	if n := len(s.tables) - 1; n >= 0 && s.tables[n] == owner {
		s.tables = s.tables[:n]
		delete(s.named, [2]string{owner.Family, owner.Name})
		return
	}
	s.drop(func(t *table) bool { return t == owner })
}

// drop removes tables.
func (s *script) drop(which func(*table) bool) {
	s.tables = slices.DeleteFunc(s.tables, func(t *table) bool {
		if !which(t) {
			return false
		}
		delete(s.named, [2]string{t.Family, t.Name})
		return true
	})
}

func (t *table) place(name string) nftjson.Place {
	return nftjson.Place{Family: t.Family, Table: t.Name, Name: name}
}

func (s *script) chain(t *table, name string, at int) *chain {
	c := t.chainNames[name]
	if c == nil {
		c = &chain{Chain: nftjson.Chain{Place: t.place(name), Line: s.lines.of(at)}}
		t.chainNames[name] = c
		t.chains = append(t.chains, c)
	}
	return c
}

func (s *script) set(t *table, name string, isMap bool, at int) *set {
	x := t.setNames[name]
	if x == nil {
		x = &set{Set: nftjson.Set{Place: t.place(name), IsMap: isMap, Line: s.lines.of(at)}}
		t.setNames[name] = x
		t.sets = append(t.sets, x)
	}
	return x
}

// commands reads the whole text.
func (s *script) commands() error {
	for {
		t, err := s.next()
		switch {
		case err != nil:
			return err
		case t.kind == end:
			return nil
		case t.kind == newline || t.kind == remark:
			continue
		case t.is("nft"): // a line of a shell script
			continue
		}
		if err := s.command(t); err != nil {
			return err
		}
	}
}

func (s *script) command(t token) error {
	switch {
	case t.is("define", "redefine"):
		return s.define()
	case t.is("undefine"):
		return s.line()
	case t.is("include"):
		return s.include()
	case t.is("add", "create"):
		object, err := s.next()
		if err != nil {
			return err
		}
		return s.object(object, false)
	case t.is("insert"):
		object, err := s.next()
		if err == nil && !object.is("rule") {
			err = unexpected(object, `"rule"`)
		}
		if err != nil {
			return err
		}
		return s.object(object, true)
	case t.is("flush", "delete", "destroy"):
		return s.remove(t)
	}
	return s.object(t, false)
}

// line skips the rest of a line.
func (s *script) line() error {
	_, err := s.span()
	return err
}

// span skips text up to the end of its line or block, and returns its place. Braces and parentheses
// may contain more lines.
func (s *script) span() (span, error) {
	t, err := s.next()
	if err != nil {
		return span{}, err
	}
	s.queue = s.queue[:0] // the value of a define is read again
	s.pos = t.at
	out := span{t.at, t.at}
	depth := 0
	for {
		t, err := s.scan()
		switch {
		case err != nil:
			return out, err
		case t.kind == end && depth > 0:
			return out, errorAt(out.from, "a brace is never closed: is something cut off?")
		case t.kind == end || t.kind == newline && depth == 0:
			out.to = t.at
			return out, nil
		case t.is("}") && depth == 0:
			out.to, s.pos = t.at, t.at
			return out, nil
		case t.is("{", "("):
			depth++
		case t.is("}", ")"):
			depth = max(depth-1, 0)
		}
	}
}

// include notes a file that isn't read: it is another host's. Its rules may be anywhere, in the
// chains that stand here too.
func (s *script) include() error {
	part, err := s.span()
	file := strings.Trim(s.text[part.from:part.to], " \t\"'")
	s.defines.included = append(s.defines.included, file)
	return err
}

// define reads "define NAME = …": "$NAME" is replaced with the words.
func (s *script) define() error {
	name, err := s.name("a name")
	if err != nil {
		return err
	}
	if err := s.expect("="); err != nil {
		return err
	}
	part, err := s.span()
	if err != nil {
		return err
	}
	l := s.part(part)
	var tokens []token
	for {
		t, err := l.next()
		if err != nil {
			return err
		}
		if t.kind == end {
			break
		}
		if t.kind == newline {
			continue
		}
		if s.defines.kept++; s.defines.kept > maxExpanded {
			return errorAt(
				t.at, "what is defined has more than %d words: put long lists into sets",
				maxExpanded,
			)
		}
		tokens = append(tokens, t)
	}
	s.defines.values[name] = append(s.defines.values[name], definition{part.to, tokens})
	return nil
}

// part is a lexer for a part of the text.
func (s *script) part(p span) *lexer {
	return &lexer{text: s.text, start: p.from, pos: p.from, end: p.to, defines: s.defines}
}

// owner reads "[family] table".
func (s *script) owner() (*table, error) {
	t, err := s.next()
	if err != nil {
		return nil, err
	}
	family := "ip"
	if t.kind == word && slices.Contains(families, t.text) {
		family = t.text
		if t, err = s.next(); err != nil {
			return nil, err
		}
	}
	if t.kind != word && t.kind != quoted {
		return nil, unexpected(t, "a table's name")
	}
	return s.find(family, t.text, t.at), nil
}

// object reads an added object, after the word for its kind.
func (s *script) object(t token, insert bool) error {
	switch {
	case t.is("table"):
		owner, err := s.owner()
		if err != nil {
			return err
		}
		return s.block(func(t token) error { return s.inTable(owner, t) })
	case t.is("chain", "set", "map", "meter"):
		owner, err := s.owner()
		if err != nil {
			return err
		}
		return s.inTable(owner, t)
	case t.is("rule"):
		return s.rule(insert)
	case t.is("element"):
		return s.element()
	case t.is("counter", "quota", "limit", "flowtable", "secmark", "synproxy", "tunnel", "ct"):
		kind := t.text
		if kind == "ct" {
			second, err := s.name("what it is")
			if err != nil {
				return err
			}
			kind += " " + second
		}
		owner, err := s.owner()
		if err != nil {
			return err
		}
		return s.other(owner, kind)
	}
	return errorAt(
		t.at,
		"%q isn't one of nft's commands that make a ruleset: give the output of `nft list ruleset`, "+
			"or the file that nft -f loads",
		firewall.Excerpt(t.text),
	)
}

// block reads the lines of a block, if there is one.
func (s *script) block(read func(token) error) error {
	open, err := s.peek()
	if err != nil {
		return err
	}
	if !open.is("{") {
		return nil
	}
	if _, err := s.next(); err != nil {
		return err
	}
	for {
		t, err := s.next()
		switch {
		case err != nil:
			return err
		case t.kind == end:
			return errorAt(open.at, "the block is never closed: is something cut off?")
		case t.is("}"):
			return nil
		case t.kind == newline || t.kind == remark:
			continue
		}
		if err := read(t); err != nil {
			return err
		}
	}
}

// inTable reads a line or block of a table.
func (s *script) inTable(owner *table, t token) error {
	switch {
	case t.is("chain"):
		name, err := s.name("a chain's name")
		if err != nil {
			return err
		}
		c := s.chain(owner, name, t.at)
		return s.block(func(t token) error { return s.inChain(c, t) })
	case t.is("set", "map", "meter"):
		name, err := s.name("a set's name")
		if err != nil {
			return err
		}
		x := s.set(owner, name, t.is("map"), t.at)
		if t.is("meter") {
			x.Flags = []any{"dynamic"}
		}
		return s.block(func(t token) error { return s.inSet(x, t) })
	case t.is("flags"):
		flags, err := s.flags()
		owner.Flags = flags
		return err
	case t.is("comment"):
		return s.line()
	case t.is("define", "redefine", "undefine", "include"):
		return s.command(t)
	case t.is("counter", "quota", "limit", "flowtable", "secmark", "synproxy", "tunnel"):
		return s.other(owner, t.text)
	case t.is("ct"):
		kind, err := s.name("what it is")
		if err != nil {
			return err
		}
		return s.other(owner, "ct "+kind)
	}
	return unexpected(t, "a chain, a set or another part of a table")
}

// other skips an object that packets meet only where a rule names it.
func (s *script) other(owner *table, kind string) error {
	name, err := s.name("a name")
	if err != nil {
		return err
	}
	owner.others = append(owner.others, [2]string{kind, name})
	return s.line()
}

// flags reads "dynamic,timeout".
func (s *script) flags() (any, error) {
	var out []any
	for {
		name, err := s.name("a flag")
		if err != nil {
			return nil, err
		}
		out = append(out, name)
		more, err := s.accept(",")
		if err != nil || !more {
			return out, err
		}
	}
}
