package exposure

import (
	"slices"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

// Classes of destinations that rules treat the same way, so that a question about one address
// answers for its whole class.

// Class is a set of destinations that no rule distinguishes.
type Class struct {
	Addresses Ranges
	// Named are the places of the rules that name these destinations; 0 if none does.
	Named Place
}

const (
	// maxClasses bounds the classes of one question, and maxAddressGroups the groups that they are
	// made from.
	maxClasses       = 256
	maxAddressGroups = 4096
	// maxClassesWork bounds the work of all questions about one ruleset: some seconds.
	maxClassesWork = 200_000_000
)

// Classes returns the classes of destinations for some ports of a protocol, in the order of their
// first addresses: no rule that such a packet can meet treats two addresses of a class differently.
// No rule may distinguish the ports. complete is false if there are more classes than maxClasses,
// or if a rule computes with the address in a way that can't be followed. A class may then hold
// addresses that rules distinguish.
func (e *Evaluator) Classes(
	f address.Family,
	p firewall.Protocol,
	first, last uint16,
) (classes []Class, complete bool) {
	known := e.destinationRules()
	n := addressGroups{
		family:   f,
		protocol: Number(Question{Family: f, Protocol: p}.number()),
		ports:    Numbers(uint64(first), uint64(last)),
		complete: true,
	}
	for _, list := range [][]destinationRule{
		known.everywhere[familySlot(f)], known.byPort[familySlot(f)][first],
	} {
		for _, r := range list {
			if known.spent.Load()+int64(n.work) > maxClassesWork {
				return []Class{{Addresses: AllSources(f)}}, false
			}
			n.addRule(r)
		}
	}
	classes = n.classes()
	known.spent.Add(int64(n.work))
	if len(classes) > maxClasses {
		return classes[:maxClasses], false
	}
	return classes, n.complete
}

// classes sweeps all addresses in order, past every border of a group. Addresses in the same groups
// make one class. The sweep keeps the set of groups as the exclusive or of their hashes.
func (n *addressGroups) classes() []Class {
	type border struct {
		at    Value
		group int
	}
	var borders []border
	for i, g := range n.groups {
		for r := range g.addresses.All() {
			borders = append(borders, border{r.From, i})
			if after, ok := r.To.next(); ok {
				borders = append(borders, border{after, i})
			}
		}
	}
	n.work += 8 * len(borders)
	slices.SortFunc(borders, func(a, b border) int { return a.at.Compare(b.at) })
	all := Full(addressWidth(n.family))
	in := make([]bool, len(n.groups))
	var count [8]int // how many groups hold the address, by the bit of their places
	var lies Value
	at := map[Value]int{}
	var out []Class
	var ranges [][]Range
	from := all.From
	add := func(to Value) {
		i, known := at[lies]
		if !known {
			i = len(out)
			at[lies] = i
			c := Class{}
			for bit, n := range count {
				if n > 0 {
					c.Named |= 1 << bit
				}
			}
			out, ranges = append(out, c), append(ranges, nil)
		}
		ranges[i] = append(ranges[i], Range{from, to})
	}
	for _, b := range borders {
		if all.To.Compare(b.at) < 0 {
			break
		}
		if b.at != from {
			to, _ := b.at.prev()
			add(to)
			from = b.at
		}
		in[b.group] = !in[b.group]
		step := -1
		if in[b.group] {
			step = 1
		}
		for bit := range count {
			if n.groups[b.group].at&(1<<bit) != 0 {
				count[bit] += step
			}
		}
		lies = lies.Xor(groupHash(uint64(b.group) + 1))
	}
	add(all.To)
	for i := range out {
		out[i].Addresses = NewRanges(ranges[i]...)
	}
	return out
}

// groupHash is a group's 128-bit hash. Exclusive ors of different groups differ (splitmix64).
func groupHash(n uint64) Value {
	mix := func(x uint64) uint64 {
		x += 0x9e3779b97f4a7c15
		x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
		x = (x ^ x>>27) * 0x94d049bb133111eb
		return x ^ x>>31
	}
	return Value{mix(n), mix(^n)}
}
