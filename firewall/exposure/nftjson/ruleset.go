package nftjson

import (
	"encoding/json"
	"fmt"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// Document is a listing on its way into a ruleset. Callers add tables first, then chains, sets,
// elements and rules, since rules refer to chains and sets, and all refer to tables. Package
// nfttext fills one from text. Expressions and statements have the form in which encoding/json
// decodes nft's JSON with UseNumber, with Word in addition.
type Document struct {
	name     string
	base     int // base chains so far
	tables   []*table
	byName   map[Place]*table
	missing  []exposure.Missing
	omitted  map[*table]int // rules without their options
	filled   []*set         // with elements added since the last look-up: see finishSets
	shared   *exposure.Shared
	checked  map[*exposure.Set]bool // maps whose verdicts lead to chains that are there
	absent   map[Place]bool         // sets that rules name and that aren't here
	warnings []string               // for Ruleset.Partly
	// Open: chains may be declared elsewhere. Else a jump to one that isn't here is an error.
	Open bool
}

// NewDocument begins a document. Origins contain name.
func NewDocument(name string, rs *exposure.Ruleset) *Document {
	return &Document{
		name:    name,
		base:    rs.BaseChains(),
		byName:  map[Place]*table{},
		shared:  exposure.NewShared(),
		checked: map[*exposure.Set]bool{},
		absent:  map[Place]bool{},
		omitted: map[*table]int{},
	}
}

// Finish adds the tables to the ruleset. It returns an exposure.Loop if chains of a table jump in a
// loop.
func (d *Document) Finish(rs *exposure.Ruleset) error {
	d.finishSets()
	for _, t := range d.tables {
		if l := t.FindLoop(); l != nil {
			return fmt.Errorf("table %s %s: %w", t.Family, firewall.Excerpt(t.Name), l)
		}
	}
	for _, t := range d.tables {
		d.checkDevices(t)
		rs.AddTable(t.Table)
	}
	rs.Missing = append(rs.Missing, d.missing...)
	rs.Partly = append(append(rs.Partly, d.warnings...), d.omissions()...)
	rs.MarkDynamic()
	return nil
}

// table is a table with what its rules refer to.
type table struct {
	*exposure.Table
	sets map[string]*set
}

// Place is an object's table, and its name in the table.
type Place struct{ Family, Table, Name string }

// Table is a table's declaration.
type Table struct {
	Family, Name string
	Flags        any // a flag or a list of them
	Line         int `json:"-"` // 0 if unknown
}

// Chain is a chain's declaration; a user chain has no Hook.
type Chain struct {
	Place
	Type, Hook, Policy string
	Prio               json.Number
	Dev                any // a device or a list of them
	Line               int `json:"-"`
}

// Rule is a rule in its statements.
type Rule struct {
	Family, Table, Chain, Comment string
	Handle                        uint64
	Expr                          []map[string]any
	// Text is the rule as it was written; "" to build it from the statements.
	Text string `json:"-"`
	Line int    `json:"-"`
}

func build(name string, objects []object, rs *exposure.Ruleset) error {
	d := NewDocument(name, rs)
	byKind := map[string][]object{}
	for _, o := range objects {
		switch o.kind {
		case "metainfo", "table", "chain", "set", "map", "element", "rule":
			byKind[o.kind] = append(byKind[o.kind], o)
		case "add", "create", "insert", "delete", "replace", "flush", "rename", "reset", "list",
			"destroy":
			return o.errorf(
				"%s: it holds the command %q. Take it with `nft -j list ruleset`", notListing,
				o.kind,
			)
		default:
			byKind["other"] = append(byKind["other"], o)
		}
		if len(byKind["rule"]) > exposure.MaxFileRules {
			return o.errorf("%s", exposure.TooManyRules)
		}
	}
	// Rules refer to chains and sets, sets to chains, and all to tables. Reading them in these
	// steps works for any order of the listing.
	for _, step := range []struct {
		kind string
		read func(object) error
	}{
		{"table", decodeInto(d.AddTable)}, {"chain", decodeInto(d.AddChain)},
		{"set", d.addSet}, {"map", d.addSet},
		{"element", d.addElements}, {"rule", decodeInto(d.AddRule)},
		{"other", func(o object) error { return decodeInto(func(p Place) error { return d.AddOther(o.kind, p) })(o) }},
	} {
		for _, o := range byKind[step.kind] {
			if err := step.read(o); err != nil {
				return err
			}
		}
	}
	return d.Finish(rs)
}

// decodeInto decodes an object and adds it.
func decodeInto[T any](add func(T) error) func(object) error {
	return func(o object) error {
		var in T
		if err := o.decode(&in); err != nil {
			return err
		}
		if err := add(in); err != nil {
			return &positionError{o.offset, err}
		}
		return nil
	}
}

// origin is a line of the listing. Lines of JSON are omitted, as they don't help people.
func (d *Document) origin(line int) exposure.Origin {
	return exposure.Origin{File: d.name, Line: line}
}

// AddTable adds a table.
func (d *Document) AddTable(in Table) error {
	family, ok := exposure.ParseFamily(in.Family)
	if !ok {
		return fmt.Errorf("%q isn't a family of tables", in.Family)
	}
	key := Place{Family: in.Family, Table: in.Name}
	if d.byName[key] != nil {
		return fmt.Errorf("table %s %s is there twice: give each listing once", in.Family, in.Name)
	}
	model := &exposure.Table{
		System: exposure.NFTables,
		Family: family,
		Name:   in.Name,
		Origin: d.origin(in.Line),
	}
	t := &table{model, map[string]*set{}}
	for _, flag := range listOf(in.Flags) {
		switch flag {
		case "dormant":
			t.Dormant = true
		case "owner", "persist":
		default:
			d.missing = append(
				d.missing,
				exposure.Missing{
					Family: family,
					What:   fmt.Sprintf("table %s %s", in.Family, in.Name),
					Why: fmt.Sprintf(
						"its flag, printed as %q, doesn't tell whether the table is dormant; a newer nft would",
						fmt.Sprint(flag),
					),
				},
			)
		}
	}
	d.byName[key] = t
	d.tables = append(d.tables, t)
	return nil
}

// listOf is a list that may be written as a single value, or left out.
func listOf(v any) []any {
	switch v := v.(type) {
	case nil:
		return nil
	case []any:
		return v
	}
	return []any{v}
}

func (d *Document) find(kind string, p Place) (*table, error) {
	t := d.byName[Place{Family: p.Family, Table: p.Table}]
	if t == nil {
		return nil, fmt.Errorf(
			"%s %q belongs to table %s %s, which isn't in the listing: is something cut out?", kind,
			p.Name, p.Family, p.Table,
		)
	}
	return t, nil
}

// AddChain adds a chain.
func (d *Document) AddChain(in Chain) error {
	t, err := d.find("chain", in.Place)
	if err != nil {
		return err
	}
	if t.Chain(in.Name) != nil {
		return fmt.Errorf("chain %s %s %s is there twice", in.Family, in.Table, in.Name)
	}
	c := &exposure.Chain{Name: in.Name, Origin: d.origin(in.Line)}
	if in.Hook != "" {
		hook, ok1 := exposure.ParseHook(in.Hook)
		kind, ok2 := exposure.ParseChainType(in.Type)
		priority, err := in.Prio.Int64()
		policy, ok3 := map[string]exposure.VerdictKind{"": exposure.VerdictAccept, "accept": exposure.VerdictAccept, "drop": exposure.VerdictDrop}[in.Policy]
		if !ok1 || !ok2 || !ok3 || err != nil || priority != int64(int32(priority)) {
			return fmt.Errorf(
				"chain %s %s %s: type %q, hook %q, priority %q, policy %q don't make a base chain",
				in.Family, in.Table, in.Name, in.Type, in.Hook, in.Prio, in.Policy,
			)
		}
		c.Base = &exposure.Base{
			Type:     kind,
			Hook:     hook,
			Priority: int32(priority),
			Policy:   policy,
			Rank:     -d.base,
		}
		d.base++
		for _, dev := range listOf(in.Dev) {
			c.Base.Devices = append(c.Base.Devices, fmt.Sprint(dev))
		}
	}
	t.AddChain(c)
	return nil
}

// checkDevices finds chains whose devices the listing omits. An empty chain that accepts everything
// has no effect on any device.
func (d *Document) checkDevices(t *table) {
	for _, c := range t.Chains {
		if c.Base == nil ||
			c.Base.Hook != exposure.HookIngress && c.Base.Hook != exposure.HookEgress ||
			len(c.Base.Devices) > 0 {
			continue
		}
		if len(c.Rules) > 0 || c.Base.Policy != exposure.VerdictAccept {
			d.missing = append(
				d.missing,
				exposure.Missing{Family: t.Family, What: "the devices of chain " + c.Where(),
					Why: "this nft doesn't print them; a newer one does"},
			)
		}
	}
}

// AddRule adds a rule to the end of its chain.
func (d *Document) AddRule(in Rule) error {
	t, err := d.find("rule", Place{in.Family, in.Table, in.Chain})
	if err != nil {
		return err
	}
	c := t.Chain(in.Chain)
	if c == nil {
		return fmt.Errorf(
			"a rule of chain %s %s %s, which isn't in the listing: is something cut out?",
			in.Family, in.Table, in.Chain,
		)
	}
	d.finishSets()
	r := ruleReader{table: t, version: t.Family}
	line := "a rule nested too deeply to read"
	if tooDeep(in.Expr, maxDepth) {
		r.add(exposure.Unknown{Text: line, Effect: true})
	} else {
		if line = in.Text; line == "" {
			line = ruleText(in.Expr)
		}
		for i, s := range in.Expr {
			r.statement(s, i == len(in.Expr)-1)
		}
	}
	d.warn(t, r.absent)
	if r.omits {
		d.omitted[t]++
	}
	if !d.Open {
		d.checkChains(&r)
	}
	if r.wrong != "" {
		return fmt.Errorf("chain %s %s %s: %s: %s", in.Family, in.Table, in.Chain,
			firewall.Excerpt(line), r.wrong)
	}
	c.AddRule(
		&exposure.Rule{
			Statements: d.shared.Statements(r.out),
			Text:       line,
			Comment:    in.Comment,
			Handle:     in.Handle,
			Number:     len(c.Rules) + 1,
			Origin:     d.origin(in.Line),
		},
	)
	return nil
}

// checkChains finds verdicts of a rule that lead to chains which aren't there. It looks through a
// named map once.
func (d *Document) checkChains(r *ruleReader) {
	check := func(v exposure.Verdict) {
		if v.Chain != "" && r.table.Chain(v.Chain) == nil {
			r.fail(fmt.Sprintf(
				"chain %s isn't in table %s %s: give the whole output of `nft list ruleset`",
				firewall.Excerpt(v.Chain), r.table.Family, r.table.Name,
			))
		}
	}
	for _, s := range r.out {
		switch s := s.(type) {
		case exposure.Verdict:
			check(s)
		case exposure.VerdictMap:
			if d.checked[s.In] {
				continue
			}
			d.checked[s.In] = true
			for _, v := range s.In.Verdicts {
				check(v)
			}
		}
	}
}

// AddOther keeps objects that packets meet only where a rule names them: counters, quotas, limits,
// helpers, flowtables.
func (d *Document) AddOther(kind string, in Place) error {
	t, err := d.find(kind, in)
	if err != nil {
		return err
	}
	t.Others = append(t.Others, kind+" "+in.Name)
	return nil
}

// maxDepth bounds the nesting of a rule or element: nft's own is below ten, and work grows with its
// square.
const maxDepth = 32

func tooDeep[T any](v T, most int) bool {
	if most == 0 {
		return true
	}
	switch v := any(v).(type) {
	case []map[string]any:
		for _, x := range v {
			if tooDeep(x, most-1) {
				return true
			}
		}
	case []any:
		for _, x := range v {
			if tooDeep(x, most-1) {
				return true
			}
		}
	case map[string]any:
		for _, x := range v {
			if tooDeep(x, most-1) {
				return true
			}
		}
	}
	return false
}
