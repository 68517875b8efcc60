package nfttext

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/portgrave/portgrave/firewall/exposure/nftjson"
)

// script is a text on its way into tables: what they hold, and where the rules and elements are.
type script struct {
	lexer
	lines  lines
	tables []*table
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
	inserted []span // each before those before it
}

type set struct {
	nftjson.Set
	elements []span
}

// span is a part of the text.
type span struct{ from, to int }

var families = []string{"ip", "ip6", "inet", "arp", "bridge", "netdev"}

// find is a table, made if it isn't there: a second block adds to the first.
func (s *script) find(family, name string, at int) *table {
	for _, t := range s.tables {
		if t.Family == family && t.Name == name {
			return t
		}
	}
	t := &table{Table: nftjson.Table{Family: family, Name: name, Line: s.lines.of(at)},
		chainNames: map[string]*chain{}, setNames: map[string]*set{}}
	s.tables = append(s.tables, t)
	return t
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
		return errorAt(t.at, "what it includes is not read: give that file too, or the output of `nft list ruleset`")
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

// line passes over the rest of a line.
func (s *script) line() error {
	_, err := s.span()
	return err
}

// span passes over text up to the end of its line or block, and tells where it is. Braces and
// parentheses may hold more lines.
func (s *script) span() (span, error) {
	t, err := s.next()
	if err != nil {
		return span{}, err
	}
	s.queue = s.queue[:0] // what a define stands for is read again
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

// define reads "define NAME = …": the words are put in where "$NAME" stands.
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
		if t.kind != newline {
			tokens = append(tokens, t)
		}
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

// object reads what is added, behind the word for its kind.
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
	return errorAt(t.at, "%q is none of nft's commands that make a ruleset: give the output of `nft list ruleset`, "+
		"or the file that nft -f loads", shorten(t.text))
}

// block reads what stands in braces, if there are any, by lines.
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

// other passes over an object that no packet meets unless a rule names it.
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

// inChain reads a line of a chain.
func (s *script) inChain(c *chain, t token) error {
	var err error
	switch {
	case t.is("type"):
		return s.base(c)
	case t.is("policy"):
		c.Policy, err = s.name("a policy")
		return err
	case t.is("comment", "flags"):
		return s.line()
	case t.is("device", "devices"):
		return s.devices(c)
	case t.is("define", "redefine", "undefine", "include"):
		return s.command(t)
	}
	s.push(t)
	part, err := s.span()
	c.rules = append(c.rules, part)
	return err
}

// base reads "filter hook input device "eth0" priority filter + 10".
func (s *script) base(c *chain) error {
	kind, err := s.name("a type")
	if err != nil {
		return err
	}
	if err := s.expect("hook"); err != nil {
		return err
	}
	hook, err := s.name("a hook")
	if err != nil {
		return err
	}
	c.Type, c.Hook = kind, hook
	for {
		t, err := s.next()
		if err != nil {
			return err
		}
		switch {
		case t.is("device", "devices"):
			if err := s.devices(c); err != nil {
				return err
			}
		case t.is("priority"):
			return s.priority(c)
		default:
			return unexpected(t, "a priority")
		}
	}
}

// devices reads `device "eth0"` and `devices = { eth0, eth1 }`.
func (s *script) devices(c *chain) error {
	if _, err := s.accept("="); err != nil {
		return err
	}
	t, err := s.next()
	if err != nil {
		return err
	}
	if !t.is("{") {
		if t.kind != word && t.kind != quoted {
			return unexpected(t, "a device")
		}
		c.Dev = []any{t.text}
		return nil
	}
	var list []any
	for {
		t, err := s.next()
		switch {
		case err != nil:
			return err
		case t.is("}"):
			c.Dev = list
			return nil
		case t.kind == word || t.kind == quoted:
			list = append(list, t.text)
		case t.kind == end:
			return unexpected(t, "a device")
		}
	}
}

// priorities are the names of nft(8), those of the bridge family first.
var priorities = map[bool]map[string]int{
	true:  {"dstnat": -300, "filter": -200, "out": 100, "srcnat": 300},
	false: {"raw": -300, "mangle": -150, "dstnat": -100, "filter": 0, "security": 50, "srcnat": 100},
}

// priority reads "-10", "filter", "filter + 10".
func (s *script) priority(c *chain) error {
	var text strings.Builder
	first, err := s.peek()
	for err == nil {
		var t token
		if t, err = s.peek(); err != nil || t.kind != word && t.kind != sign && t.kind != quoted || t.is("}") {
			break
		}
		if text.WriteString(t.text); text.Len() > 64 {
			break
		}
		_, err = s.next()
	}
	if err != nil {
		return err
	}
	name := text.String()
	number := 0
	if i := strings.IndexAny(name, "+-0123456789"); i >= 0 {
		if number, err = strconv.Atoi(strings.ReplaceAll(name[i:], "+", "")); err != nil {
			return errorAt(first.at, "%q is no priority", shorten(name))
		}
		name = name[:i]
	}
	base, ok := priorities[c.Family == "bridge"][name]
	if !ok && name != "" {
		return errorAt(first.at, "%q is no priority", shorten(name))
	}
	c.Prio = json.Number(strconv.Itoa(base + number))
	return nil
}

// inSet reads a line of a set.
func (s *script) inSet(x *set, t token) error {
	switch {
	case t.is("type"):
		return s.setType(x)
	case t.is("typeof"):
		return s.setTypeof(x)
	case t.is("flags"):
		flags, err := s.flags()
		x.Flags = flags
		return err
	case t.is("size"):
		n, err := s.integer("a size")
		x.Size, _ = strconv.Atoi(n.String())
		return err
	case t.is("timeout", "gc-interval", "policy", "comment", "auto-merge"):
		return s.line()
	case t.is("elements"):
		if err := s.expect("="); err != nil {
			return err
		}
		part, err := s.span()
		x.elements = append(x.elements, part)
		return err
	case t.is("counter", "limit", "quota", "ct", "last"):
		s.push(t)
		part, err := s.span()
		if err != nil {
			return err
		}
		var r nftjson.Rule
		s.part(part).rule(&r)
		x.Stmt = append(x.Stmt, r.Expr...)
		return nil
	}
	return unexpected(t, "a part of a set")
}

// setType reads "ipv4_addr . inet_service : verdict".
func (s *script) setType(x *set) error {
	var sides [2]string
	side := 0
	for {
		t, err := s.peek()
		if err != nil {
			return err
		}
		switch {
		case t.is(":") && side == 0:
			side = 1
		case t.is("."):
			sides[side] += " . "
		case t.kind == word && t.text != "interval":
			sides[side] += t.text
		case t.kind != word:
			x.Type = sides[0]
			if side == 1 {
				x.Map = sides[1]
			}
			return nil
		}
		if _, err := s.next(); err != nil {
			return err
		}
	}
}

// setTypeof reads "ip saddr . tcp dport : verdict". One that isn't understood has no model.
func (s *script) setTypeof(x *set) error {
	part, err := s.span()
	if err != nil {
		return err
	}
	l := s.part(part)
	x.Type = expr{nftjson.Unparsed: s.text[part.from:part.to]}
	key, err := l.tuple()
	if err != nil {
		return nil
	}
	mapped, err := l.accept(":")
	if err != nil {
		return nil
	}
	if mapped {
		if _, err := l.accept("interval"); err != nil {
			return nil
		}
		data, err := l.tuple()
		if err != nil {
			return nil
		}
		if x.Map = (expr{"typeof": data}); data == any(nftjson.Word("verdict")) {
			x.Map = "verdict"
		}
	}
	if t, err := l.peek(); err == nil && t.kind == end {
		x.Type = expr{"typeof": key}
	}
	return nil
}

// rule reads "inet filter input tcp dport 22 accept" behind "add rule".
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
		return errorAt(t.at, "a rule of chain %s of table %s %s, which isn't there: is something cut out?", t.text, owner.Family, owner.Name)
	}
	next, err := s.peek()
	if err != nil {
		return err
	}
	if next.is("position", "index", "handle") {
		return errorAt(next.at, "a rule by its %s: give the output of `nft list ruleset` instead", next.text)
	}
	part, err := s.span()
	if insert {
		c.inserted = append(c.inserted, part)
	} else {
		c.rules = append(c.rules, part)
	}
	return err
}

// element reads "inet filter set { … }" behind "add element".
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
		return errorAt(t.at, "elements of set %s of table %s %s, which isn't there: is something cut out?", shorten(t.text), owner.Family, owner.Name)
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
		s.tables = slices.DeleteFunc(s.tables, func(t *table) bool {
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
		case verb.text != "flush":
			s.tables = slices.DeleteFunc(s.tables, func(t *table) bool { return t == owner })
		case len(s.tables) > before: // it wasn't there
			s.tables = s.tables[:before]
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
	return errorAt(verb.at, "%q is not followed: give the output of `nft list ruleset` instead", fmt.Sprint(verb.text, " ", shorten(object.text)))
}

// Statement is where the command that begins at an offset of a text ends, behind its line or block.
// One that is never closed ends with the text.
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
