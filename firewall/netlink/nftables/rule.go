package nftables

import (
	"slices"

	"github.com/portgrave/portgrave/firewall/netlink"
	"golang.org/x/sys/unix"
)

// Rule is a rule of a chain: its expressions, in order.
type Rule struct{ Exprs []Expr }

// Equal reports whether two rules do the same.
func (r Rule) Equal(o Rule) bool { return slices.EqualFunc(r.Exprs, o.Exprs, Equal) }

// AppendExprs writes the rule's expressions as a list of NFTA_LIST_ELEM, which
// NFTA_RULE_EXPRESSIONS holds.
func (r Rule) AppendExprs(b []byte) []byte {
	for _, e := range r.Exprs {
		c := codec{out: b}
		at := c.nest(unix.NFTA_LIST_ELEM)
		c.out = AppendExpr(c.out, e)
		c.unnest(at)
		b = c.out
	}
	return b
}

// Uses reports whether the rule looks a set up, or changes it.
func (r Rule) Uses(set string) bool {
	return slices.ContainsFunc(r.Exprs, func(e Expr) bool {
		switch e := e.(type) {
		case Lookup:
			return e.Set == set
		case Dynset:
			return e.Set == set
		case Objref:
			return e.Set == set
		}
		return false
	})
}

// Decoder reads rules. Rules repeat the same few expressions, so it reads each kind of those once
// and shares it among all rules: a ruleset of 100 000 rules has some hundreds of different ones
// beside those that name an object.
type Decoder struct{ known map[string]Expr }

// maxKnown bounds what a Decoder keeps. The expressions that most rules share come early.
const maxKnown = 4096

// Rule reads NFTA_RULE_EXPRESSIONS. It returns an error for bytes that don't fit netlink's framing.
func (d *Decoder) Rule(b []byte) (Rule, error) {
	n := 0
	if err := netlink.Each(b, func(uint16, []byte) error {
		n++
		return nil
	}); err != nil {
		return Rule{}, err
	}
	r := Rule{Exprs: make([]Expr, 0, n)}
	err := netlink.Each(b, func(kind uint16, data []byte) error {
		if kind == unix.NFTA_LIST_ELEM {
			r.Exprs = append(r.Exprs, d.Expr(data))
		}
		return nil
	})
	return r, err
}

// Expr reads an expression.
func (d *Decoder) Expr(b []byte) Expr {
	if e, ok := d.known[string(b)]; ok {
		return e
	}
	e := DecodeExpr(b)
	if d.known == nil {
		d.known = map[string]Expr{}
	}
	if len(d.known) < maxKnown {
		d.known[string(b)] = e
	}
	return e
}
