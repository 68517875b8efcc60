package exposure

import (
	"bytes"
	"fmt"
	"io"
	"unsafe"
)

// Ruleset holds all rules of a host, from nf_tables and x_tables alike.
//
// Readers build it with AddTable, AddChain and AddRule, which link every object to its parent.
// Afterwards it is immutable and may be shared between goroutines.
type Ruleset struct {
	// Tables in the order in which they were read: the kernel's, or the files'.
	Tables []*Table
	// Missing lists what may exist but couldn't be read. While it isn't empty, nothing is certain.
	Missing []Missing
	// Partly lists what rules name and was not read, or in part, for people: sets, whose
	// Set.Unknown says so, and targets, which are Unknown.
	Partly []string
}

// MaxText is the largest text that rules are read from, in bytes: some 400 000 rules or 1 800 000
// elements of sets. Larger input is refused before it is parsed, so that none exhausts memory.
const MaxText = 40 << 20

// ReadText reads a text of at most MaxText. Errors contain name, and advice on how to give less.
//
// The text of a bytes.Buffer is not copied. Nobody may change it afterwards: see StringOf.
func ReadText(name string, r io.Reader, advice string) ([]byte, error) {
	var text []byte
	var err error
	if b, inMemory := r.(*bytes.Buffer); inMemory {
		text = b.Bytes()
	} else {
		text, err = io.ReadAll(io.LimitReader(r, MaxText+1))
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", name, err)
	case len(text) > MaxText:
		return nil, fmt.Errorf("%s: more than %d MiB: %s", name, MaxText>>20, advice)
	}
	return text, nil
}

// StringOf is a text that nobody changes, as a string of the same memory.
func StringOf(text []byte) string { return unsafe.String(unsafe.SliceData(text), len(text)) }

// MaxFileRules bounds the rules read from files. Each takes up to 4 KiB when prepared for
// evaluation, so that all fit into 512 MiB. The rules of the running host aren't bounded.
const MaxFileRules = 100_000

// TooManyRules is the message for files with more than MaxFileRules rules.
var TooManyRules = fmt.Sprintf(
	"more than %d rules: leave out the tables and chains that don't matter, put addresses that many "+
		"rules treat alike into a set (ipset, nft), or audit the host itself, without --ruleset",
	MaxFileRules,
)

// Missing is a part of the ruleset that couldn't be read. The evaluator treats it as an Unknown
// effect in every hook of the family: it may drop, accept and rewrite.
type Missing struct {
	Family Family // FamilyUnspec: all
	What   string // "nf_tables", "chain ip6 filter FORWARD"
	Why    string // "operation not permitted"
}

// RuleCount counts the rules.
func (rs *Ruleset) RuleCount() int {
	n := 0
	for _, t := range rs.Tables {
		for _, c := range t.Chains {
			n += len(c.Rules)
		}
	}
	return n
}

// System is the kernel's rule system that runs a table.
type System uint8

const (
	NFTables System = iota
	// XTables is legacy x_tables, or a save file, which doesn't name its system. Tables that
	// iptables-nft wrote are NFTables when read from the kernel. The evaluator doesn't use it:
	// readers have written out every difference.
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
	// Dormant (NFT_TABLE_F_DORMANT): its base chains aren't hooked in, so packets don't meet it.
	Dormant bool
	Chains  []*Chain
	// Sets holds named sets and maps. Anonymous ones are only in the statements that use them. It
	// is empty for XTables, as ipsets don't belong to a table.
	Sets []*Set
	// Others are objects that packets meet only where a rule names them (flowtables, counters,
	// quotas, helpers), as text for people.
	Others []string
	Origin Origin

	byName map[string]*Chain
}

// AddTable appends a table.
func (rs *Ruleset) AddTable(t *Table) *Table {
	rs.Tables = append(rs.Tables, t)
	return t
}

// BaseChains counts the base chains. Readers without a hook dump number new ones backwards by it:
// see Base.Rank.
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

// AddChain appends a chain. Names are unique in a table: if two are equal, Chain finds the first,
// and readers refuse such input.
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

// Chain finds a chain by its name; nil if there is none. A jump to a missing chain is an unknown
// effect.
func (t *Table) Chain(name string) *Chain { return t.byName[name] }

// Chain is a base chain, which the kernel calls at a hook, or a user chain, which rules jump to. A
// jump leads to a chain of the same table.
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

// Rule is a list of statements that the kernel runs in order until one ends the rule: see
// Statement.
type Rule struct {
	Chain *Chain
	// Statements holds everything that the rule does, including what decides nothing (NoEffect), so
	// that it can be explained.
	Statements []Statement
	// Text is the rule for people: in the language that it was written in, or built from the
	// statements by the reader. It is never parsed.
	Text    string
	Comment string // without quotes; "" if there is none
	Handle  uint64 // nf_tables' handle, 0 elsewhere
	Number  int    // place in its chain, from 1
	Origin  Origin
}

// Origin is where an object was read.
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
