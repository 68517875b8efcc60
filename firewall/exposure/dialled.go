package exposure

import (
	"slices"

	"github.com/portgrave/portgrave/firewall"
)

// isDialled reports whether a field is the address that was dialled, before rules change that: where
// the packet goes, or where an answer comes from.
func isDialled(field Field, f firewall.Family, answers bool) bool {
	if answers {
		field = mirrored(field)
	}
	switch field {
	case FieldDest4, FieldCTOrigDest4, FieldCTReplySource4:
		return f == firewall.IPv4
	case FieldDest6, FieldCTOrigDest6, FieldCTReplySource6:
		return f == firewall.IPv6
	}
	return false
}

func readsDialled(r *Rule, f firewall.Family, answers bool) (reads bool) {
	for _, s := range r.Statements {
		reads = reads || computes(s, f, answers)
		lookedUp(s, func(key []Operand, _ *Set) {
			reads = reads || slices.ContainsFunc(key, func(o Operand) bool {
				return isDialled(o.Field, f, answers)
			})
		})
	}
	return reads
}

// readsConnectionAddress reports whether a rule reads an address of the connection.
func readsConnectionAddress(r *Rule) (reads bool) {
	for _, s := range r.Statements {
		lookedUp(s, func(key []Operand, _ *Set) { reads = reads || readsConnection(key, 0) })
	}
	return reads
}

// lookedUp calls a function for every set that a statement looks up.
func lookedUp(s Statement, call func(key []Operand, in *Set)) {
	lookup := func(key []Operand, in *Set) { nestedLookups(key, in, 0, call) }
	switch s := s.(type) {
	case Match:
		lookup(s.Key, s.In)
	case VerdictMap:
		lookup(s.Key, s.In)
	}
	for _, o := range computed(s) {
		if o.Lookup != nil {
			lookup(o.Lookup.Key, o.Lookup.In)
		}
	}
}

// nestedLookups calls a function for a look-up and those that its key is made of.
func nestedLookups(key []Operand, in *Set, depth int, call func(key []Operand, in *Set)) {
	if in == nil || depth == maxNested {
		return
	}
	call(key, in)
	for _, o := range key {
		if o.Lookup != nil {
			nestedLookups(o.Lookup.Key, o.Lookup.In, depth+1, call)
		}
	}
}

// computed are the operands that make a value of a statement: what is set, and where packets are
// sent.
func computed(s Statement) (out []Operand) {
	var list []*Operand
	switch s := s.(type) {
	case Assign:
		return s.Value
	case NAT:
		list = []*Operand{s.Addr, s.AddrMax, s.Port, s.PortMax, s.PortBase}
	case TProxy:
		list = []*Operand{s.Addr, s.Port}
	}
	for _, o := range list {
		if o != nil {
			out = append(out, *o)
		}
	}
	return out
}

// computes reports whether a statement makes a value of the address that was dialled, so that each
// address may have another one.
func computes(s Statement, f firewall.Family, answers bool) bool {
	return slices.ContainsFunc(computed(s), func(o Operand) bool {
		return isDialled(o.Field, f, answers)
	})
}

// hasEffect reports whether a statement does something though the rule may end behind it: nf_tables
// allows a match behind what sets a mark.
func hasEffect(s Statement) bool {
	switch s := s.(type) {
	case Match, NoEffect:
		return false
	case Unknown:
		return s.Effect
	}
	return true
}
