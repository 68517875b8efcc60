// Package exposuretest prints rulesets of the exposure model as short text, for golden files and
// table tests of readers: two readers agree on a rule if their texts are equal. Only tests import
// it.
package exposuretest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall/exposure"
)

// Ruleset prints a ruleset without origins: a line for each table, set, chain and rule, and a line
// for each statement under its rule.
func Ruleset(rs *exposure.Ruleset) string {
	var b strings.Builder
	for _, m := range rs.Missing {
		fmt.Fprintf(&b, "missing %v %s: %s\n", m.Family, m.What, m.Why)
	}
	for _, t := range rs.Tables {
		fmt.Fprintf(&b, "table %v %v %s", t.System, t.Family, t.Name)
		if t.Dormant {
			b.WriteString(" dormant")
		}
		b.WriteByte('\n')
		for _, s := range t.Sets {
			fmt.Fprintf(&b, "  set %s %s\n", s.Name, Set(s))
		}
		for _, o := range t.Others {
			fmt.Fprintf(&b, "  other %s\n", o)
		}
		for _, c := range t.Chains {
			fmt.Fprintf(&b, "  chain %s", c.Name)
			if c.Base != nil {
				fmt.Fprintf(
					&b, " %v %v %d policy %v", c.Base.Type, c.Base.Hook, c.Base.Priority,
					c.Base.Policy,
				)
				if len(c.Base.Devices) > 0 {
					fmt.Fprintf(&b, " devices %v", c.Base.Devices)
				}
			}
			b.WriteByte('\n')
			for _, r := range c.Rules {
				fmt.Fprintf(&b, "    %s\n", r.Text)
				if r.Comment != "" {
					fmt.Fprintf(&b, "      comment %q\n", r.Comment)
				}
				for _, s := range r.Statements {
					fmt.Fprintf(&b, "      %s\n", Statement(s))
				}
			}
		}
	}
	return b.String()
}

// Statements prints a rule's statements, separated by "; ".
func Statements(list []exposure.Statement) string {
	var out []string
	for _, s := range list {
		out = append(out, Statement(s))
	}
	return strings.Join(out, "; ")
}

// Statement prints one statement.
func Statement(s exposure.Statement) string {
	switch s := s.(type) {
	case exposure.Match:
		not := ""
		if s.Not {
			not = "not "
		}
		return fmt.Sprintf("%s %sin %s", Key(s.Key), not, Set(s.In))
	case exposure.Verdict:
		return verdict(s)
	case exposure.VerdictMap:
		return fmt.Sprintf("%s vmap %s", Key(s.Key), Set(s.In))
	case exposure.Assign:
		var values []string
		for _, v := range s.Value {
			values = append(values, Operand(v))
		}
		to := s.To.String()
		if s.To == exposure.FieldRaw {
			to = fmt.Sprintf("raw %d@%d,%d", s.Raw.Bits, s.Raw.Base, s.Raw.Offset)
		}
		return fmt.Sprintf("%s := %s", to, strings.Join(values, " ^ "))
	case exposure.NAT:
		out := fmt.Sprintf("%v %v", s.Kind, s.Family)
		for _, p := range []struct {
			name string
			o    *exposure.Operand
		}{
			{"addr", s.Addr}, {"to", s.AddrMax},
			{"port", s.Port}, {"to", s.PortMax}, {"base", s.PortBase},
		} {
			if p.o != nil {
				out += " " + p.name + " " + Operand(*p.o)
			}
		}
		if s.Text != "" {
			out += " (" + s.Text + ")"
		}
		return out
	case exposure.TProxy:
		out := fmt.Sprintf("tproxy %v", s.Family)
		if s.Addr != nil {
			out += " addr " + Operand(*s.Addr)
		}
		if s.Port != nil {
			out += " port " + Operand(*s.Port)
		}
		if s.OrDrop {
			out += " or drop"
		}
		return out
	case exposure.NoTrack:
		return "notrack"
	case exposure.SetUpdate:
		out := fmt.Sprintf("%s %s to %s", [...]string{"add", "delete"}[s.Op&1], Key(s.Key), Set(s.Set))
		if s.Condition != "" {
			out += " if " + s.Condition
		}
		if s.EndsWhenFull {
			out += " unless full"
		}
		return out
	case exposure.NoEffect:
		return "nothing: " + s.Text
	case exposure.Unknown:
		if s.Effect {
			return "unknown effect: " + s.Text
		}
		return "unknown match: " + s.Text
	}
	return fmt.Sprintf("%T", s)
}

func verdict(v exposure.Verdict) string {
	return strings.TrimSpace(
		strings.Join(strings.Fields(fmt.Sprintf("%v %s %s", v.Kind, v.Chain, v.With)), " "),
	)
}

// Key prints a tuple of operands.
func Key(key []exposure.Operand) string {
	var out []string
	for _, o := range key {
		out = append(out, Operand(o))
	}
	return strings.Join(out, " . ")
}

// Operand prints an operand, including what Operand.String omits.
func Operand(o exposure.Operand) string {
	s := o.String()
	switch o.Field {
	case exposure.FieldFib:
		f := o.Fib
		flags := ""
		for _, x := range []struct {
			on   bool
			name string
		}{
			{f.ByMark, " mark"}, {f.ByIn, " iif"}, {f.ByOut, " oif"},
			{f.Loose, " loose"}, {f.AcceptLocal, " accept-local"},
		} {
			if x.on {
				flags += x.name
			}
		}
		s = fmt.Sprintf(
			"fib %s%s %s", [...]string{"saddr", "daddr"}[f.Of&1], flags,
			[...]string{"type", "oif", "oifname", "exists", "reverse-path"}[f.Want%5],
		)
	case exposure.FieldRaw:
		at := fmt.Sprintf("payload(%d,%d,%d,%d)", o.Raw.Base, o.Raw.Offset, o.Raw.Bits, o.Raw.Header)
		if o.Raw.Present {
			at = fmt.Sprintf("present(%d,%d)", o.Raw.Base, o.Raw.Header)
		}
		s = strings.Replace(s, "payload", at, 1)
	case exposure.FieldMap:
		s = fmt.Sprintf(
			"map(%s in %s column %d)", Key(o.Lookup.Key), Set(o.Lookup.In), o.Lookup.Column,
		)
	case exposure.FieldUnknown:
		if !o.Max.IsZero() {
			s += fmt.Sprintf(" up to %v", o.Max)
		}
	}
	return s
}

// Set prints a set with its first sixteen elements.
func Set(s *exposure.Set) string {
	if s == nil {
		return "no set"
	}
	var b strings.Builder
	if s.Name != "" {
		fmt.Fprintf(&b, "@%s", s.Name)
	}
	b.WriteString("{")
	for i, box := range s.All() {
		if i > 0 {
			b.WriteString(", ")
		}
		if i == 16 {
			fmt.Fprintf(&b, "… %d in all", s.Len())
			break
		}
		for c, r := range box {
			if c > 0 {
				b.WriteString(" . ")
			}
			b.WriteString(rangeText(r))
		}
		b.WriteString(entry(s, i))
	}
	if s.Default {
		b.WriteString(", *" + entry(s, s.Len()))
	}
	b.WriteString("}")
	if s.Unknown != "" {
		fmt.Fprintf(&b, " unknown: %s", s.Unknown)
	}
	if s.Grows {
		b.WriteString(" grows")
	}
	if s.Shrinks {
		b.WriteString(" shrinks")
	}
	for _, i := range sortedNotes(s) {
		if n := s.Notes[i]; n.Condition != "" {
			fmt.Fprintf(&b, " [%d if %s]", i, n.Condition)
		}
	}
	return b.String()
}

func sortedNotes(s *exposure.Set) []int {
	var out []int
	for i := range s.Notes {
		out = append(out, i)
	}
	slices.Sort(out)
	return out
}

// entry prints a map's data for an element.
func entry(s *exposure.Set, i int) string {
	if i < len(s.Verdicts) {
		return " : " + verdict(s.Verdicts[i])
	}
	if s.DataWidth > 0 {
		var out []string
		for _, v := range s.Row(i) {
			out = append(out, v.String())
		}
		return " : " + strings.Join(out, " . ")
	}
	return ""
}

func rangeText(r exposure.Range) string {
	switch {
	case r.From == r.To:
		if name := r.From.Text(); len(name) > 1 && name[0] >= 'a' &&
			r.From.Compare(exposure.Ones(119)) > 0 {
			return name
		}
		return r.From.String()
	}
	return r.From.String() + "-" + r.To.String()
}
