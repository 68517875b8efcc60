package policydiff

import "github.com/portgrave/portgrave/firewall/address"

// sets remembers results of operations on large sets: a thousand services may allow one network of
// a million prefixes, and have one set in memory.
type sets map[operation]address.Set

type operation struct {
	kind kind
	a, b address.Identity
}

type kind uint8

const (
	union kind = iota
	minus
	intersect
)

// rememberThreshold is the number of prefixes from which on a result is remembered.
const rememberThreshold = 1000

func (s sets) of(k kind, a, b address.Set) address.Set {
	o := operation{k, a.Identity(), b.Identity()}
	if o.a == o.b && k == minus {
		return address.Set{}
	}
	if o.a == o.b {
		return a
	}
	if known, ok := s[o]; ok {
		return known
	}
	var result address.Set
	switch k {
	case union:
		result = a.Union(b)
	case minus:
		result = a.Minus(b)
	default:
		result = a.Intersect(b)
	}
	if a.Len()+b.Len() >= rememberThreshold {
		s[o] = result
	}
	return result
}
