package exposure

import (
	"fmt"
	"io"
)

// Ruleset is everything on the host that rules over packets, from nf_tables and x_tables alike.
//
// Readers build it with AddTable, AddChain and AddRule, so that every object knows where it belongs. After
// that it is never modified and may be shared between goroutines.
type Ruleset struct {
	// Tables in the order in which they were read: the kernel's, or that of the files.
	Tables []*Table
	// Missing lists what there may be but couldn't be read. While it isn't empty nothing is certain.
	Missing []Missing
	// Partly lists sets that were only read in part, for people. The sets themselves say it, too:
	// Set.Unknown.
	Partly []string
}

// MaxText bounds a text that rules are read from, in bytes: some 600 000 rules or 2 000 000 elements
// of sets. What is larger is refused before it is looked at, so that no input exhausts memory.
const MaxText = 64 << 20

// ReadText reads a text of at most MaxText. name stands in errors, and advice says how to give less.
func ReadText(name string, r io.Reader, advice string) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, MaxText+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", name, err)
	case len(text) > MaxText:
		return nil, fmt.Errorf("%s: more than %d MiB: %s", name, MaxText>>20, advice)
	}
	return text, nil
}

// MaxFileRules bounds the rules of files. Each takes up to 4 KiB, prepared for evaluation, so that many
// fit into 512 MiB. The rules of the host itself are not bounded: it has room for them.
const MaxFileRules = 100_000

// TooManyRules says that there are more than MaxFileRules, and what to do.
var TooManyRules = fmt.Sprintf(
	"more than %d rules: leave out the tables and chains that don't matter, put addresses that many "+
		"rules treat alike into a set (ipset, nft), or audit the host itself, without --ruleset",
	MaxFileRules,
)

// Missing is a part of the ruleset that couldn't be read. For the evaluator it is an Unknown effect in every
// hook of the family: it may drop, accept and rewrite.
type Missing struct {
	Family Family // FamilyUnspec: all
	What   string // "nf_tables", "chain ip6 filter FORWARD"
	Why    string // "operation not permitted"
}

// RuleCount is how many rules there are.
func (rs *Ruleset) RuleCount() int {
	n := 0
	for _, t := range rs.Tables {
		for _, c := range t.Chains {
			n += len(c.Rules)
		}
	}
	return n
}

// System is which of the kernel's two rule systems runs a table.
type System uint8

const (
	NFTables System = iota
	// XTables is legacy x_tables, or a save file, which doesn't say which system it was read from. The
	// tables that iptables-nft writes are NFTables when read from the kernel. Nothing in the semantics depends on it: the
	// reader has written out every difference.
	XTables
)

func (s System) String() string {
	if s == XTables {
		return "xtables"
	}
	return "nftables"
}

// Table is a table of either system.
type Table struct {
	System System
	Family Family
	Name   string
	// Dormant (NFT_TABLE_F_DORMANT): its base chains are not hooked in. No packet sees any of it.
	Dormant bool
	Chains  []*Chain
	// Sets holds named sets and maps; anonymous ones are only in the statements that use them. For XTables it is
	// empty: ipsets belong to no table.
	Sets []*Set
	// Others are objects that no packet meets unless a rule names them (flowtables, counters, quotas,
	// helpers), as text, for people.
	Others []string
	Origin Origin

	byName map[string]*Chain
}

// AddTable appends a table.
func (rs *Ruleset) AddTable(t *Table) *Table {
	rs.Tables = append(rs.Tables, t)
	return t
}

// BaseChains is how many base chains there are. A reader that has nothing else to go by numbers new ones backwards with it: see Base.Rank.
func (rs *Ruleset) BaseChains() int {
	n := 0
	for _, t := range rs.Tables {
		for _, c := range t.Chains {
			if c.Base != nil {
				n++
			}
		}
	}
	return n
}

// AddChain appends a chain. Names are unique in a table: of two with one name the first is found by
// Chain, and a reader that meets such a dump refuses it.
func (t *Table) AddChain(c *Chain) *Chain {
	c.Table = t
	t.Chains = append(t.Chains, c)
	if t.byName == nil {
		t.byName = map[string]*Chain{}
	}
	if t.byName[c.Name] == nil {
		t.byName[c.Name] = c
	}
	return c
}

// Chain finds a chain by its name; nil if there is none. A jump to a chain that isn't there is an
// unknown effect.
func (t *Table) Chain(name string) *Chain { return t.byName[name] }

// Chain is a base chain, which the kernel calls at a hook, or a user chain, which rules jump to.
// A jump only ever leads to a chain of the same table.
type Chain struct {
	Table *Table
	Name  string
	// Base is nil for a user chain. The built-in chains of x_tables are base chains (XTablesBase).
	Base   *Base
	Rules  []*Rule
	Origin Origin
}

// AddRule appends a rule.
func (c *Chain) AddRule(r *Rule) *Rule {
	r.Chain = c
	c.Rules = append(c.Rules, r)
	return r
}

// Rule is a list of statements that the kernel runs in order, for as long as they let it: see Statement.
type Rule struct {
	Chain *Chain
	// Statements holds everything that the rule does, whatever decides nothing included (NoEffect), so that it can be explained.
	Statements []Statement
	// Text is the rule as its author would recognise it, for people: in the language it was written in, or
	// put together from the statements by the reader. Never interpreted.
	Text    string
	Comment string // without quotes; "" if there is none
	Handle  uint64 // nf_tables' handle, 0 elsewhere
	Number  int    // place in its chain, from 1
	Origin  Origin
}

// Origin is where something was read.
type Origin struct {
	File string // "" for the kernel
	Line int    // from 1; 0 if the format has no lines (JSON)
}

func (o Origin) String() string {
	switch {
	case o.File == "":
		return "kernel"
	case o.Line == 0:
		return o.File
	}
	return fmt.Sprintf("%s:%d", o.File, o.Line)
}

// Where names the rule: "ip filter INPUT rule 3", with the handle or the line where there is one.
func (r *Rule) Where() string {
	s := fmt.Sprintf("rule %d", r.Number)
	if r.Chain != nil {
		s = r.Chain.Where() + " " + s
	}
	if r.Handle != 0 {
		s += fmt.Sprintf(" (handle %d)", r.Handle)
	}
	if r.Origin.File != "" {
		s += " (" + r.Origin.String() + ")"
	}
	return s
}

// Where names the chain: "ip filter INPUT".
func (c *Chain) Where() string {
	if c.Table == nil {
		return c.Name
	}
	return fmt.Sprintf("%s %s %s", c.Table.Family, c.Table.Name, c.Name)
}
