package exposure

import (
	"slices"

	"github.com/portgrave/portgrave/firewall/address"
)

// isDialled reports whether a field holds the dialled address until rules change it: a packet's
// destination, or an answer's source.
func isDialled(field Field, f address.Family, answers bool) bool {
	if answers {
		field = mirrored(field)
	}
	switch field {
	case FieldDest4, FieldCTOrigDest4, FieldCTReplySource4:
		return f == address.IPv4
	case FieldDest6, FieldCTOrigDest6, FieldCTReplySource6:
		return f == address.IPv6
	}
	return false
}

func readsDialled(r *Rule, f address.Family, answers bool) (reads bool) {
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

// nestedLookups calls a function for a look-up and for the look-ups in its key.
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

// computed returns the operands that a statement computes values from: what it sets, and where it
// sends packets.
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

// computes reports whether a statement computes a value from the dialled address, so that each
// address may have its own value.
func computes(s Statement, f address.Family, answers bool) bool {
	return slices.ContainsFunc(computed(s), func(o Operand) bool {
		return isDialled(o.Field, f, answers)
	})
}

// hasEffect reports whether a statement changes something even if a later match ends the rule:
// nf_tables allows matches after statements.
func hasEffect(s Statement) bool {
	switch s := s.(type) {
	case Match, NoEffect:
		return false
	case Unknown:
		return s.Effect
	}
	return true
}
