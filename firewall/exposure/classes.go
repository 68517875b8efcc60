package exposure

import (
	"slices"

	"github.com/portgrave/portgrave/firewall"
)

// Which destinations the rules tell apart, so that a question about one address answers for all
// that are treated alike.

// Class is destinations that no rule tells apart.
type Class struct {
	Addresses Ranges
	// Named are the places of the rules that name these destinations; 0 if none does.
	Named Place
}

const (
	// maxClasses bounds the classes of one question, and maxNames the groups of addresses that they
	// are made of.
	maxClasses = 256
	maxNames   = 4096
	// maxApartWork bounds the work of all questions about one ruleset: some seconds.
	maxApartWork = 200_000_000
)

// Classes are the destinations that rules tell apart for some ports of a protocol, in the order of
// their first addresses: no rule that such a packet can meet treats two addresses of a class in
// different ways. The ports must be such that no rule tells them apart. complete is false if there
// are more classes than can be listed, or if a rule computes with the address in a way that can't be
// followed: then a class may hold addresses that rules tell apart.
func (e *Evaluator) Classes(
	f firewall.Family,
	p firewall.Protocol,
	first, last uint16,
) (classes []Class, complete bool) {
	known := e.apart()
	n := names{
		family:   f,
		protocol: Number(Question{Family: f, Protocol: p}.number()),
		ports:    Numbers(uint64(first), uint64(last)),
		complete: true,
	}
	for _, list := range [][]namedIn{
		known.everywhere[familySlot(f)], known.byPort[familySlot(f)][first],
	} {
		for _, r := range list {
			if known.spent.Load()+int64(n.work) > maxApartWork {
				return []Class{{Addresses: AllSources(f)}}, false
			}
			n.rule(r)
		}
	}
	classes = n.classes()
	known.spent.Add(int64(n.work))
	if len(classes) > maxClasses {
		return classes[:maxClasses], false
	}
	return classes, n.complete
}

// classes goes through all addresses in order, past every border of a group. Addresses that lie in
// the same groups are alike; which groups these are is kept as the exclusive or of a number for
// each.
func (n *names) classes() []Class {
	type border struct {
		at    Value
		group int
	}
	var borders []border
	for i, g := range n.groups {
		for _, r := range g.addresses.list {
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
	var count [8]int // of the groups that the address lies in, by the bit of their places
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
		lies = lies.Xor(scattered(uint64(b.group) + 1))
	}
	add(all.To)
	for i := range out {
		out[i].Addresses = NewRanges(ranges[i]...)
	}
	return out
}

// scattered is a number of 128 bits for a small one, such that exclusive ors of several differ
// (splitmix64).
func scattered(n uint64) Value {
	mix := func(x uint64) uint64 {
		x += 0x9e3779b97f4a7c15
		x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
		x = (x ^ x>>27) * 0x94d049bb133111eb
		return x ^ x>>31
	}
	return Value{mix(n), mix(^n)}
}
