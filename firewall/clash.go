package firewall

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Clash says that two services claim the same protocol, port, interface and address.
type Clash struct {
	First, Second string // service names, in the order of the services
	Ports         PortRange
}

func (c Clash) Error() string {
	return fmt.Sprintf(
		"services %q and %q both claim %s on the same interface and address",
		c.First,
		c.Second,
		c.Ports,
	)
}

// maxClashes is how many pairs are looked for: ten thousand services on one port make fifty
// million, which nobody reads.
const maxClashes = 5000

// Clashes finds the pairs of services that claim the same protocol, port, interface and address,
// ordered by ports and names; of more than maxClashes no more than that.
//
// No two services are compared unless they clash. A sweep over the ports keeps those that claim the
// present one in an index, in which each that joins them looks up who shares its interfaces and
// addresses (place.go). A service that claims so many combinations that the index would grow out of
// proportion is compared with each other one instead; a policy has room for few of these.
func Clashes(services []Service) []Clash {
	return newClashFinder(services).find()
}

func (f *clashFinder) find() []Clash {
	for i, p := range f.places {
		for j := 0; p.wide && j < len(f.places); j++ {
			if i != j && (j > i || !f.places[j].wide) && p.meets(f.places[j]) {
				f.found(i, j)
			}
		}
	}
	f.sweep()
	slices.SortFunc(f.out, func(a, b Clash) int {
		return cmp.Or(
			comparePortRanges(a.Ports, b.Ports),
			strings.Compare(a.First, b.First),
			strings.Compare(a.Second, b.Second),
		)
	})
	return f.out
}

type clashFinder struct {
	services []Service
	ports    [][]PortRange // of each service, in order
	places   []place
	index    map[placeKey][]claim
	steps    int // how often the index was asked or an entry of it was looked at
	seen     map[[2]int]bool
	out      []Clash
}

// claim is a service in the index. It stands there in vain once the service has left the sweep and
// come again, as turn tells.
type claim struct{ service, turn int }

func newClashFinder(services []Service) *clashFinder {
	f := &clashFinder{
		services: services,
		places:   placesOf(services),
		index:    map[placeKey][]claim{},
		seen:     map[[2]int]bool{},
	}
	for i, svc := range services {
		sorted := slices.Clone(svc.Ports)
		slices.SortFunc(sorted, comparePortRanges)
		f.ports = append(f.ports, sorted)
		f.places[i].wide = f.places[i].combinations()*len(sorted) > maxCombinations
	}
	return f
}

// edge is where a range of ports begins, or has just ended.
type edge struct {
	protocol Protocol
	port     uint32 // 65536 ends a range that ends at 65535
	open     bool
	service  int
}

func (f *clashFinder) sweep() {
	var edges []edge
	for i, list := range f.ports {
		if f.places[i].wide {
			continue
		}
		for _, r := range list {
			if r.First <= r.Last { // of others, which are none, the reader tells
				edges = append(
					edges,
					edge{r.Protocol, uint32(r.First), true, i},
					edge{r.Protocol, uint32(r.Last) + 1, false, i},
				)
			}
		}
	}
	slices.SortFunc(edges, func(a, b edge) int {
		if c := cmp.Or(cmp.Compare(a.protocol, b.protocol), cmp.Compare(a.port, b.port)); c != 0 ||
			a.open == b.open {
			return cmp.Or(c, cmp.Compare(a.service, b.service))
		}
		if b.open {
			return -1 // what ends here has ended before the next begins
		}
		return 1
	})
	turns, depth := make([]int, len(f.services)), make([]int, len(f.services))
	for _, e := range edges {
		i := e.service
		if !e.open {
			if depth[i]--; depth[i] == 0 {
				turns[i]++
			}
			continue
		}
		if depth[i]++; depth[i] > 1 {
			continue
		}
		if !f.join(i, turns) {
			return
		}
	}
}

// join looks up who claims the place of a service, and enters it; false if enough was found.
func (f *clashFinder) join(i int, turns []int) bool {
	for key := range f.places[i].asks {
		f.steps++
		present, ok := f.index[key]
		if !ok {
			continue
		}
		live := present[:0]
		for _, c := range present {
			f.steps++
			if turns[c.service] == c.turn {
				live = append(live, c)
				if !f.found(c.service, i) {
					return false
				}
			}
		}
		f.index[key] = live
	}
	for key := range f.places[i].enters {
		f.steps++
		f.index[key] = append(f.index[key], claim{i, turns[i]})
	}
	return true
}

// found notes two services that share a place, if they share a port; false if enough was found.
func (f *clashFinder) found(i, j int) bool {
	pair := [2]int{min(i, j), max(i, j)}
	if len(f.out) >= maxClashes || i == j || f.seen[pair] {
		return len(f.out) < maxClashes
	}
	ports, ok := commonPorts(f.ports[i], f.ports[j])
	if ok {
		f.seen[pair] = true
		f.out = append(f.out, Clash{f.services[pair[0]].Name, f.services[pair[1]].Name, ports})
	}
	return true
}

// commonPorts is the first range that two ordered lists share.
func commonPorts(a, b []PortRange) (PortRange, bool) {
	for len(a) > 0 && len(b) > 0 {
		x, y := a[0], b[0]
		if x.Overlaps(y) {
			return PortRange{x.Protocol, max(x.First, y.First), min(x.Last, y.Last)}, true
		}
		if x.Protocol < y.Protocol || x.Protocol == y.Protocol && x.Last < y.First {
			a = a[1:]
		} else {
			b = b[1:]
		}
	}
	return PortRange{}, false
}
