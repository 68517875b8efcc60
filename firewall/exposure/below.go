package exposure

import "slices"

// below are the names of the devices that packets of an interface may pass below it: the ports of a
// bridge or bond, and what a VLAN or the like is built on. It's all if one isn't known.
func (e *Evaluator) below(i *Interface) []string {
	type key struct{ devicesBelow string }
	return e.remember(key{i.Name}, func() any {
		all := e.host.Interfaces
		seen, next := make([]bool, len(all)), []*Interface{i}
		for range maxStacked {
			var lower []*Interface
			for j := range all {
				other := &all[j]
				if !seen[j] && slices.ContainsFunc(next, func(upper *Interface) bool {
					return other.isBelow(upper)
				}) {
					seen[j] = true
					lower = append(lower, other)
				}
			}
			next = lower
		}
		var names []string
		for j := range all {
			if seen[j] && all[j].Name != i.Name {
				names = append(names, all[j].Name)
			}
		}
		return names
	}).([]string)
}

// isBelow reports whether a device may be directly below another one.
func (i *Interface) isBelow(upper *Interface) bool {
	if upper.Index != 0 && i.Master == upper.Index {
		return true
	}
	return upper.stacked() &&
		(upper.Link == i.Index || upper.Link == 0 || upper.LinkElsewhere)
}
