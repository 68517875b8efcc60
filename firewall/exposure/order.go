package exposure

import (
	"slices"

	"github.com/portgrave/portgrave/firewall/address"
)

// unit is what the kernel calls at a hook: a chain, or the NAT hook with its chains.
type unit struct {
	nat    bool
	chains []*chain
}

func (u unit) name() string {
	if u.nat {
		return "NAT"
	}
	return u.chains[0].Where()
}

// group holds the units of one priority, in each possible order that makes a difference. It has no
// orders if there are too many.
type group struct {
	orders   [][]unit
	priority int32
}

// maxPermuted is the most units of one priority that are tried in every order.
const maxPermuted = 4

// groups returns a hook's chains in their order.
func (e *Evaluator) groups(hook Hook, family address.Family) []group {
	var units []unit
	for _, c := range e.rules.Order(hook, family) {
		u := unit{c.Base.Type == TypeNAT, []*chain{e.chains[c]}}
		if n := len(units); u.nat && n > 0 && units[n-1].nat {
			units[n-1].chains = append(units[n-1].chains, u.chains[0])
			continue
		}
		units = append(units, u)
	}
	var groups []group
	for i := 0; i < len(units); {
		j := i + 1
		for j < len(units) && units[j].priority() == units[i].priority() {
			j++
		}
		groups = append(groups, group{orders(units[i:j]), units[i].priority()})
		i = j
	}
	return groups
}

func (u unit) priority() int32 { return u.chains[0].Base.EffectivePriority() }

// orders returns every order in which units of one priority may run.
func orders(tied []unit) [][]unit {
	// Chains inside the NAT hook have an order of their own.
	for i, u := range tied {
		if !u.nat {
			continue
		}
		inner := orderChains(u.chains)
		if inner == nil {
			return nil
		}
		if len(inner) > 1 {
			var out [][]unit
			for _, chains := range inner {
				variant := slices.Clone(tied)
				variant[i] = unit{true, chains}
				out = append(out, relevantOrders(variant)...)
			}
			return limitOrders(out)
		}
	}
	return limitOrders(relevantOrders(tied))
}

// limitOrders drops the orders if there are too many to try.
func limitOrders(orders [][]unit) [][]unit {
	if len(orders) > 24 {
		return nil
	}
	return orders
}

// relevantOrders returns the orders of tied units, or a single order if it makes no difference.
func relevantOrders(tied []unit) [][]unit {
	known, effects := true, false
	for _, u := range tied {
		for _, c := range u.chains {
			known = known && c.Base.RankKnown && !u.nat
			effects = effects || c.effects
		}
	}
	if len(tied) == 1 || known || !effects {
		return [][]unit{tied}
	}
	if len(tied) > maxPermuted {
		return nil
	}
	return permutations(tied)
}

// orderChains returns every order of a NAT hook's chains. Chains with equal priorities of their own
// may be tied.
func orderChains(chains []*chain) [][]*chain {
	out := [][]*chain{nil}
	for i := 0; i < len(chains); {
		j := i + 1
		for j < len(chains) && chains[j].Base.Priority == chains[i].Base.Priority {
			j++
		}
		tied := chains[i:j]
		options := [][]*chain{tied}
		if !slices.ContainsFunc(tied, func(c *chain) bool { return !c.Base.RankKnown }) ||
			len(tied) == 1 {
		} else if !slices.ContainsFunc(tied, func(c *chain) bool { return c.effects }) {
		} else if len(tied) > maxPermuted {
			return nil
		} else {
			options = permutations(tied)
		}
		var next [][]*chain
		for _, before := range out {
			for _, o := range options {
				next = append(next, slices.Concat(before, o))
			}
		}
		if out = next; len(out) > 24 {
			return nil
		}
		i = j
	}
	return out
}

// permutations returns every order of a list, the list itself first.
func permutations[T any](list []T) [][]T {
	if len(list) <= 1 {
		return [][]T{list}
	}
	var out [][]T
	for i := range list {
		rest := append(slices.Clone(list[:i]), list[i+1:]...)
		for _, p := range permutations(rest) {
			out = append(out, append([]T{list[i]}, p...))
		}
	}
	return out
}
