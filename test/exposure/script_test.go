package exposure

import (
	"fmt"
	"strings"

	"github.com/portgrave/portgrave/firewall/exposure"
)

// table is a table, as model and as text.
type table struct {
	legacy  bool // x_tables, else nft
	ingress bool // of inet, with chains at ingress only
	family  exposure.Family
	name    string
	sets    []string // declarations, nft only
	chains  []*chain

	dynamic map[string]*exposure.Set // by name, nft only
}

type chain struct {
	name  string
	base  *exposure.Base
	hook  string // as in the script, for a base chain
	rules []*rule
}

// rule is a rule, as model and as text.
type rule struct {
	model []exposure.Statement
	text  string
}

// description is a whole ruleset.
type description struct {
	tables []*table
	ipsets []string // as `ipset restore` takes them
	seed   uint64
}

// model is the description for the evaluator.
func (d *description) model() *exposure.Ruleset {
	rs := &exposure.Ruleset{}
	rank := 0
	for _, t := range d.tables {
		mt := rs.AddTable(&exposure.Table{Family: t.family, Name: t.name})
		if t.legacy {
			mt.System = exposure.XTables
		}
		for _, c := range t.chains {
			mc := mt.AddChain(&exposure.Chain{Name: c.name})
			if c.base != nil {
				b := *c.base
				rank--
				b.Rank, b.RankKnown = rank, true // the chain registered last runs first
				mc.Base = &b
			}
			for i, r := range c.rules {
				mc.AddRule(&exposure.Rule{Statements: r.model, Text: r.text, Number: i + 1})
			}
		}
	}
	rs.MarkDynamic()
	return rs
}

// nft is the description's nft tables as a script.
func (d *description) nft() string {
	var b strings.Builder
	b.WriteString("flush ruleset\n")
	for _, t := range d.tables {
		if t.legacy {
			continue
		}
		fmt.Fprintf(&b, "table %s %s {\n", t.family, t.name)
		for _, s := range t.sets {
			fmt.Fprintf(&b, "\t%s\n", s)
		}
		for _, c := range t.chains {
			fmt.Fprintf(&b, "\tchain %s {\n", c.name)
			if c.base != nil {
				fmt.Fprintf(
					&b,
					"\t\ttype %s hook %s priority %d; policy %s;\n",
					c.base.Type,
					c.hook,
					c.base.Priority,
					c.base.Policy,
				)
			}
			for _, r := range c.rules {
				fmt.Fprintf(&b, "\t\t%s\n", r.text)
			}
			b.WriteString("\t}\n")
		}
		b.WriteString("}\n")
	}
	return b.String()
}

// builtin are the chains whose policies a restore keeps unless it names them.
var builtin = map[string][]string{
	"raw":    {"PREROUTING", "OUTPUT"},
	"mangle": {"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"},
	"nat": {
		"PREROUTING",
		"INPUT",
		"OUTPUT",
		"POSTROUTING",
	},
	"filter": {"INPUT", "FORWARD", "OUTPUT"},
}

// save prints the x_tables of a family in the form of iptables-save. It has every table, so that no
// table of an earlier ruleset stays.
func (d *description) save(f exposure.Family) string {
	var b strings.Builder
	for _, name := range []string{"raw", "mangle", "nat", "filter"} {
		fmt.Fprintf(&b, "*%s\n", name)
		for _, c := range builtin[name] {
			fmt.Fprintf(&b, ":%s ACCEPT\n", c)
		}
		for _, t := range d.tables {
			if !t.legacy || t.name != name || t.family != f {
				continue
			}
			for _, c := range t.chains {
				policy := "-"
				if c.base != nil {
					policy = strings.ToUpper(c.base.Policy.String())
				}
				fmt.Fprintf(&b, ":%s %s\n", c.name, policy)
			}
			for _, c := range t.chains {
				for _, r := range c.rules {
					fmt.Fprintf(&b, "-A %s %s\n", c.name, r.text)
				}
			}
		}
		b.WriteString("COMMIT\n")
	}
	return b.String()
}

func (d *description) legacy() bool {
	for _, t := range d.tables {
		if t.legacy {
			return true
		}
	}
	return false
}

// without is the description without one rule; nil if it has fewer rules.
func (d *description) without(n int) *description {
	out := &description{seed: d.seed, ipsets: d.ipsets}
	found := false
	for _, t := range d.tables {
		nt := *t
		nt.chains = nil
		for _, c := range t.chains {
			nc := *c
			nc.rules = nil
			for _, r := range c.rules {
				if n == 0 && !keep(r) {
					found = true
				} else {
					nc.rules = append(nc.rules, r)
				}
				n--
			}
			nt.chains = append(nt.chains, &nc)
		}
		out.tables = append(out.tables, &nt)
	}
	if !found && n >= 0 {
		return nil
	}
	return out
}

// keep reports whether a rule is one of those that let answers through.
func keep(r *rule) bool {
	return r.text == passNFT || r.text == passXT || r.text == leaveNFT || r.text == leaveXT ||
		r.text == neighboursNFT ||
		r.text == neighboursXT
}

func (d *description) String() string {
	s := fmt.Sprintf("seed %d\n%s", d.seed, d.nft())
	if d.legacy() {
		s += "ipset:\n" + strings.Join(
			d.ipsets,
			"\n",
		) + "\niptables:\n" + d.save(
			exposure.FamilyIPv4,
		) + "ip6tables:\n" + d.save(
			exposure.FamilyIPv6,
		)
	}
	return s
}
