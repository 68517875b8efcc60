package nftjson

import (
	"encoding/json"
	"fmt"

	"github.com/portgrave/portgrave/firewall/exposure"
)

// document is a listing on its way into a ruleset.
type document struct {
	name    string
	base    int // base chains so far
	tables  []*table
	byName  map[[2]string]*table
	missing []exposure.Missing
}

// table is a table with what its rules refer to.
type table struct {
	*exposure.Table
	sets map[string]*set
}

// place is where an object belongs.
type place struct{ Family, Table, Name string }

func build(name string, objects []object, rs *exposure.Ruleset) error {
	d := &document{name: name, base: rs.BaseChains(), byName: map[[2]string]*table{}}
	byKind := map[string][]object{}
	for _, o := range objects {
		switch o.kind {
		case "metainfo", "table", "chain", "set", "map", "element", "rule":
			byKind[o.kind] = append(byKind[o.kind], o)
		case "add", "create", "insert", "delete", "replace", "flush", "rename", "reset", "list", "destroy":
			return o.errorf("%s: it holds the command %q. Take it with `nft -j list ruleset`", notListing, o.kind)
		default:
			byKind["other"] = append(byKind["other"], o)
		}
		if len(byKind["rule"]) > exposure.MaxFileRules {
			return o.errorf("%s", exposure.TooManyRules)
		}
	}
	// Rules refer to chains and sets, sets to chains, all of them to tables: whatever the order of the listing, each is there in time.
	for _, step := range []struct {
		kind string
		read func(object) error
	}{{"table", d.table}, {"chain", d.chain}, {"set", d.set}, {"map", d.set}, {"element", d.elements}, {"rule", d.rule}, {"other", d.other}} {
		for _, o := range byKind[step.kind] {
			if err := step.read(o); err != nil {
				return err
			}
		}
		if step.kind == "element" { // no more of them
			for _, t := range d.tables {
				for _, s := range t.sets {
					s.finish()
				}
			}
		}
	}
	for _, t := range d.tables {
		d.checkDevices(t)
		rs.AddTable(t.Table)
	}
	rs.Missing = append(rs.Missing, d.missing...)
	rs.MarkDynamic()
	return nil
}

func (d *document) table(o object) error {
	var in struct {
		Family, Name string
		Flags        any
	}
	if err := o.decode(&in); err != nil {
		return err
	}
	family, ok := exposure.ParseFamily(in.Family)
	if !ok {
		return o.errorf("%q is no family of tables", in.Family)
	}
	key := [2]string{in.Family, in.Name}
	if d.byName[key] != nil {
		return o.errorf("table %s %s is there twice: give each listing once", in.Family, in.Name)
	}
	t := &table{&exposure.Table{System: exposure.NFTables, Family: family, Name: in.Name, Origin: exposure.Origin{File: d.name}}, map[string]*set{}}
	for _, flag := range listOf(in.Flags) {
		switch flag {
		case "dormant":
			t.Dormant = true
		case "owner", "persist":
		default:
			d.missing = append(d.missing, exposure.Missing{Family: family, What: fmt.Sprintf("table %s %s", in.Family, in.Name),
				Why: fmt.Sprintf("its flag, printed as %q, doesn't tell whether the table is dormant; a newer nft would", fmt.Sprint(flag))})
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

func (d *document) find(o object, p place) (*table, error) {
	t := d.byName[[2]string{p.Family, p.Table}]
	if t == nil {
		return nil, o.errorf("%s %q belongs to table %s %s, which isn't in the listing: is something cut out?", o.kind, p.Name, p.Family, p.Table)
	}
	return t, nil
}

func (d *document) chain(o object) error {
	var in struct {
		place
		Type, Hook, Policy string
		Prio               json.Number
		Dev                any
	}
	if err := o.decode(&in); err != nil {
		return err
	}
	t, err := d.find(o, in.place)
	if err != nil {
		return err
	}
	if t.Chain(in.Name) != nil {
		return o.errorf("chain %s %s %s is there twice", in.Family, in.Table, in.Name)
	}
	c := &exposure.Chain{Name: in.Name, Origin: exposure.Origin{File: d.name}}
	if in.Hook != "" {
		hook, ok1 := exposure.ParseHook(in.Hook)
		kind, ok2 := exposure.ParseChainType(in.Type)
		priority, err := in.Prio.Int64()
		policy, ok3 := map[string]exposure.VerdictKind{"": exposure.VerdictAccept, "accept": exposure.VerdictAccept, "drop": exposure.VerdictDrop}[in.Policy]
		if !ok1 || !ok2 || !ok3 || err != nil || priority != int64(int32(priority)) {
			return o.errorf("chain %s %s %s: type %q, hook %q, priority %q, policy %q make no base chain", in.Family, in.Table, in.Name, in.Type, in.Hook, in.Prio, in.Policy)
		}
		c.Base = &exposure.Base{Type: kind, Hook: hook, Priority: int32(priority), Policy: policy, Rank: -d.base}
		d.base++
		for _, dev := range listOf(in.Dev) {
			c.Base.Devices = append(c.Base.Devices, fmt.Sprint(dev))
		}
	}
	t.AddChain(c)
	return nil
}

// checkDevices finds chains that are hooked to devices that the listing leaves out. An empty one that lets all pass does nothing anywhere.
func (d *document) checkDevices(t *table) {
	for _, c := range t.Chains {
		if c.Base == nil || c.Base.Hook != exposure.HookIngress && c.Base.Hook != exposure.HookEgress || len(c.Base.Devices) > 0 {
			continue
		}
		if len(c.Rules) > 0 || c.Base.Policy != exposure.VerdictAccept {
			d.missing = append(d.missing, exposure.Missing{Family: t.Family, What: "the devices of chain " + c.Where(),
				Why: "this nft doesn't print them; a newer one does"})
		}
	}
}

func (d *document) rule(o object) error {
	var in struct {
		Family, Table, Chain, Comment string
		Handle                        uint64
		Expr                          []map[string]any
	}
	if err := o.decode(&in); err != nil {
		return err
	}
	t, err := d.find(o, place{in.Family, in.Table, in.Chain})
	if err != nil {
		return err
	}
	c := t.Chain(in.Chain)
	if c == nil {
		return o.errorf("a rule of chain %s %s %s, which isn't in the listing: is something cut out?", in.Family, in.Table, in.Chain)
	}
	r := ruleReader{table: t, version: t.Family}
	line := "a rule nested too deeply to read"
	if deep(in.Expr, mostDepth) {
		r.add(exposure.Unknown{Text: line, Effect: true})
	} else {
		line = ruleText(in.Expr)
		for i, s := range in.Expr {
			r.statement(s, i == len(in.Expr)-1)
		}
	}
	c.AddRule(&exposure.Rule{Statements: r.out, Text: line, Comment: in.Comment, Handle: in.Handle, Number: len(c.Rules) + 1,
		Origin: exposure.Origin{File: d.name}})
	return nil
}

// other keeps objects that no packet meets unless a rule names them: counters, quotas, limits, helpers, flowtables.
func (d *document) other(o object) error {
	var in place
	if err := o.decode(&in); err != nil {
		return err
	}
	t, err := d.find(o, in)
	if err != nil {
		return err
	}
	t.Others = append(t.Others, o.kind+" "+in.Name)
	return nil
}

// mostDepth bounds the nesting of a rule or element: nft's own is below ten, and work grows with the square of it.
const mostDepth = 32

func deep[T any](v T, most int) bool {
	if most == 0 {
		return true
	}
	switch v := any(v).(type) {
	case []map[string]any:
		for _, x := range v {
			if deep(x, most-1) {
				return true
			}
		}
	case []any:
		for _, x := range v {
			if deep(x, most-1) {
				return true
			}
		}
	case map[string]any:
		for _, x := range v {
			if deep(x, most-1) {
				return true
			}
		}
	}
	return false
}
