package xtables

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/iptsave"
)

// lessText says how to give less than exposure.MaxText.
const lessText = "leave out what isn't needed, or split it by table"

// ReadSave reads a text as iptsave.Read does, and adds its tables to rs.
//
// name stands in errors and origins. family is FamilyIPv4 or FamilyIPv6; FamilyUnspec lets the text
// tell: see FamilyOf. sets holds the ipsets that rules name; with nil their contents are unknown.
// Errors are "name:line:column: what is wrong, and what to do", and then rs is as it was.
func ReadSave(
	name string,
	family exposure.Family,
	r io.Reader,
	sets *Sets,
	rs *exposure.Ruleset,
) error {
	text, err := exposure.ReadText(name, r, lessText)
	if err != nil {
		return err
	}
	return readSave(source{name: name, file: name}, family, text, sets, rs)
}

// source is where a text came from.
type source struct {
	name string // in errors
	file string // in origins; "" for the kernel
}

func readSave(
	src source,
	family exposure.Family,
	text []byte,
	sets *Sets,
	rs *exposure.Ruleset,
) error {
	if family == exposure.FamilyUnspec {
		var ok bool
		if family, ok = FamilyOf(text); !ok {
			return fmt.Errorf("%s:1:1: nothing in it tells whether it is iptables-save's or "+
				"ip6tables-save's: keep the comment line that they begin with, or say which", src.name)
		}
	}
	if sets == nil {
		sets = NewSets()
	}
	s := &saveReader{
		source: src,
		family: family,
		sets:   sets,
		base:   rs.BaseChains(),
		seen:   map[string]int{},
		known:  map[string]exposure.Statement{},
		shared: exposure.NewShared(),
	}
	if err := iptsave.Read(bytes.NewReader(text), s.line); err != nil {
		return src.at(err)
	}
	for _, t := range s.tables {
		if src.file != "" { // what the kernel holds has none
			if err := checkLoops(t); err != nil {
				return src.at(err)
			}
			if isFragment(t) && VariantOf(text) == iptsave.Unknown {
				return src.at(&iptsave.Error{Line: t.Origin.Line, Column: 1, Err: fmt.Errorf(
					"table %s has none of the chains that the kernel runs, so this is "+
						"a part of the rules: give the whole output of iptables-save", t.Name,
				)})
			}
		}
		rs.AddTable(t)
	}
	rs.Missing = append(rs.Missing, s.missing...)
	rs.Partly = append(rs.Partly, s.warnings...)
	if src.file != "" {
		rs.Partly = append(rs.Partly, sets.warnings()...)
	}
	rs.MarkDynamic()
	sets.settle()
	return nil
}

// isFragment reports whether a table has rules, and only in chains that nothing runs: a file for
// iptables-restore -n, as ufw's user.rules is. iptables-save prints the chains of the kernel too.
func isFragment(t *exposure.Table) bool {
	rules := 0
	for _, c := range t.Chains {
		if c.Base != nil {
			return false
		}
		rules += len(c.Rules)
	}
	return rules > 0 && exposure.XTablesBase(t.Name, "OUTPUT", exposure.VerdictAccept) != nil
}

// at says in which source an error is.
func (s source) at(err error) error {
	if at := (*iptsave.Error)(nil); errors.As(err, &at) {
		return fmt.Errorf("%s:%d:%d: %w", s.name, at.Line, at.Column, err)
	}
	return fmt.Errorf("%s: %w", s.name, err)
}

// saveReader makes tables of lines.
type saveReader struct {
	source  source
	family  exposure.Family
	sets    *Sets
	base    int // base chains so far
	rules   int
	known   map[string]exposure.Statement // see translator
	shared  *exposure.Shared
	seen    map[string]int
	tables  []*exposure.Table
	missing []exposure.Missing
	// warnings go to Ruleset.Partly.
	warnings []string

	table   *exposure.Table // the one that is open
	pending []*pendingNetmap
	// undeclared are built-in chains of the open table that rules have named, and no line ":CHAIN
	// …".
	undeclared map[string]bool
	moved      int
}

// maxMoved bounds the work of -I: rules moved on to make room for one, in all. It takes a second.
const maxMoved = 500_000_000

func (s *saveReader) line(l *iptsave.Line) error {
	switch l.Kind {
	case iptsave.Remark:
		return s.remark(l.Text)
	case iptsave.Begin:
		return s.open(l)
	case iptsave.Declare:
		return s.chain(l)
	case iptsave.Policy:
		return s.policy(l)
	case iptsave.Append, iptsave.Insert:
		return s.rule(l)
	case iptsave.End:
		s.close()
	}
	return nil
}

// remark reads what the programs say in comments: which of them it is, and what they couldn't
// print.
func (s *saveReader) remark(line string) error {
	if program, ok := iptsave.GeneratedBy(line); ok {
		if s.family = FamilyOfProgram(program); s.family == exposure.FamilyUnspec {
			return fmt.Errorf(
				"this is the output of %s-save, which rules over no IP packets: give "+
					"iptables-save's or ip6tables-save's",
				program.Name,
			)
		}
	}
	if table, ok := iptsave.Incompatible(line); ok {
		s.missing = append(s.missing, exposure.Missing{
			Family: s.family,
			What:   fmt.Sprintf("table %s %s", s.family, table),
			Why:    "iptables-save can't print a table that nft made: give `nft -j list ruleset` instead",
		})
	}
	if strings.Contains(line, "legacy tables present") {
		s.missing = append(s.missing, exposure.Missing{
			Family: s.family,
			What:   "legacy tables",
			Why:    "iptables-nft-save doesn't print them: give iptables-legacy-save's output too",
		})
	}
	return nil
}

func (s *saveReader) close() {
	for _, c := range s.table.Chains {
		for i, r := range c.Rules {
			r.Number = i + 1
		}
	}
	settle(s.table, s.pending)
	s.table, s.pending = nil, nil
}

// policy reads "-P CHAIN POLICY", which only chains of the kernel have.
func (s *saveReader) policy(l *iptsave.Line) error {
	base := func(chain string) bool {
		return exposure.XTablesBase(s.table.Name, chain, exposure.VerdictAccept) != nil
	}
	if base("OUTPUT") && !base(l.Chain) {
		return fmt.Errorf(
			"chain %s isn't in table %s: keep the command lines (`iptables -t … -S`) "+
				"between the listings, or use iptables-save",
			firewall.Excerpt(l.Chain),
			s.table.Name,
		)
	}
	return s.chain(l)
}

func (s *saveReader) open(l *iptsave.Line) error {
	s.undeclared = map[string]bool{}
	key := s.family.String() + " " + l.Table
	if first, twice := s.seen[key]; twice {
		return fmt.Errorf("table %s was read in line %d: give each table once", key, first)
	}
	s.seen[key] = l.Number
	s.table = &exposure.Table{
		System: exposure.XTables,
		Family: s.family,
		Name:   l.Table,
		Origin: s.origin(l.Number),
	}
	s.tables = append(s.tables, s.table)
	if exposure.XTablesBase(l.Table, "OUTPUT", exposure.VerdictAccept) == nil {
		s.missing = append(s.missing, exposure.Missing{
			Family: s.family,
			What:   "table " + key,
			Why:    "where the kernel calls a table of that name isn't known",
		})
	}
	return nil
}

func (s *saveReader) origin(number int) exposure.Origin {
	if s.source.file == "" {
		return exposure.Origin{}
	}
	return exposure.Origin{File: s.source.file, Line: number}
}

func (s *saveReader) chain(l *iptsave.Line) error {
	c := s.table.Chain(l.Chain)
	if c != nil && !s.undeclared[l.Chain] {
		return fmt.Errorf("chain %s is there twice", l.Chain)
	}
	delete(s.undeclared, l.Chain)
	if c == nil {
		c = s.addChain(l)
	}
	if c.Base != nil {
		switch l.Policy {
		case "ACCEPT":
		case "DROP":
			c.Base.Policy = exposure.VerdictDrop
		default:
			return fmt.Errorf("%s is no policy of chain %s: ACCEPT or DROP", l.Policy, l.Chain)
		}
	}
	return nil
}

// addChain adds a chain. A built-in one accepts, until its line says otherwise.
func (s *saveReader) addChain(l *iptsave.Line) *exposure.Chain {
	c := &exposure.Chain{Name: l.Chain, Origin: s.origin(l.Number)}
	c.Base = exposure.XTablesBase(s.table.Name, l.Chain, exposure.VerdictAccept)
	if c.Base != nil {
		// Later chains were registered earlier or later, nobody knows: as the model wants it,
		// backwards from the order of the dump.
		c.Base.Rank = -s.base
		s.base++
	}
	s.table.AddChain(c)
	return c
}

func (s *saveReader) rule(l *iptsave.Line) error {
	words, err := l.Words()
	if err != nil {
		return err
	}
	c := s.table.Chain(l.Chain)
	if c == nil && exposure.XTablesBase(s.table.Name, l.Chain, exposure.VerdictAccept) != nil {
		// iptables-restore too needs no line for a chain that is always there.
		c = s.addChain(l)
		s.undeclared[c.Name] = true
	}
	if c == nil {
		return &iptsave.Error{Column: l.ChainColumn, Err: fmt.Errorf("chain %s of table %s is not "+
			"announced by a line \":%s …\", so there is no such chain: give the whole output of "+
			"iptables-save", l.Chain, s.table.Name, l.Chain)}
	}
	at, err := place(c, l)
	if err != nil {
		return err
	}
	parts, err := iptsave.ParseRule(words)
	if err != nil {
		return err
	}
	x := &translator{
		family: s.family,
		sets:   s.sets,
		known:  s.known,
		chain:  func(name string) bool { return s.table.Chain(name) != nil },
	}
	statements, ours := x.rule(parts)
	if !ours {
		return nil
	}
	if live := s.source.file == ""; !live { // the kernel has taken what it holds
		if x.wrong != nil {
			return x.wrong
		}
		if err := s.checkTarget(parts.Target, l.Number, words); err != nil {
			return err
		}
	}
	if s.rules++; s.rules > exposure.MaxFileRules && s.source.file != "" {
		return errors.New(exposure.TooManyRules)
	}
	r := c.AddRule(&exposure.Rule{
		Statements: s.shared.Statements(statements),
		Text:       l.Text,
		Comment:    x.comment,
		Number:     len(c.Rules) + 1,
		Origin:     s.origin(l.Number),
	})
	if behind := len(c.Rules) - 1 - at; behind > 0 { // close numbers them anew
		if s.moved += behind; s.moved > maxMoved {
			return errors.New("too many rules with -I to put in their places: list them with -A")
		}
		copy(c.Rules[at+1:], c.Rules[at:])
		c.Rules[at] = r
	}
	if x.pending != nil {
		x.pending.rule = r
		s.pending = append(s.pending, x.pending)
	}
	return nil
}

// checkTarget finds a target that is no chain of the table, and that no extension is named after.
// One whose name may be an extension's stays undecided.
func (s *saveReader) checkTarget(e *iptsave.Extension, line int, words []iptsave.Word) error {
	if e == nil || s.table.Chain(e.Name) != nil || !e.Goto && isKnownTarget(e.Name) {
		return nil
	}
	if e.Goto || len(e.Options) == 0 && !maybeExtension(e.Name) {
		at := slices.IndexFunc(words, func(w iptsave.Word) bool { return w.Text == e.Name })
		return &iptsave.Error{
			Column: words[at].Column,
			Err: fmt.Errorf("chain %s isn't in table %s: "+
				"give the whole output of iptables-save", firewall.Excerpt(e.Name), s.table.Name),
		}
	}
	s.partly(fmt.Sprintf(
		"%s:%d: %s is neither a chain of table %s nor a known target, so what it does is undecided",
		s.source.name, line, firewall.Excerpt(e.Name), s.table.Name,
	))
	return nil
}

// maxPartly bounds the warnings of a text.
const maxPartly = 16

func (s *saveReader) partly(what string) {
	if len(s.warnings) < maxPartly {
		s.warnings = append(s.warnings, what)
	}
}

// maybeExtension reports whether a name is like those of extensions: capitals and digits.
func maybeExtension(name string) bool {
	return strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") == ""
}

// place is where a rule goes in its chain.
func place(c *exposure.Chain, l *iptsave.Line) (int, error) {
	switch {
	case l.Kind == iptsave.Append:
		return len(c.Rules), nil
	case l.Place.Text == "":
		return 0, nil
	}
	n, ok := parseNumber(l.Place.Text, 31)
	if !ok || n < 1 || n > uint64(len(c.Rules))+1 {
		return 0, &iptsave.Error{Column: l.Place.Column, Err: fmt.Errorf(
			"chain %s has no place %s: it has %d rules", c.Name, l.Place.Text, len(c.Rules))}
	}
	return int(n) - 1, nil
}
