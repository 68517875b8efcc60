package firewall

import (
	"net/netip"
	"slices"
	"sort"
)

// Index answers questions about a canonical State without going through all its services: which of
// them list a port, and decide there about an interface and an address.
//
// It has the services by port, by interface and by address. A question takes the shortest of the
// three lists that it meets, and looks through that one: with ten thousand services on one port,
// which must differ in interface or address, as with ten thousand ports, it is short.
//
// An Index is used by one goroutine at a time.
type Index struct {
	state       State
	services    []Service
	byPort      map[Protocol]portTree
	byInterface map[string][]int32
	byAddress   map[netip.Prefix][]int32
	lengths     map[int]bool          // of the prefixes in byAddress
	edges       map[Protocol][]uint32 // where ranges begin or have just ended, ascending
	firsts      map[portOf]int32      // the first service that lists a port; −1 if none does
	steps       int                   // services looked at
}

type portOf struct {
	protocol Protocol
	port     uint16
}

// Index is that of a canonical State.
func (s State) Index() *Index {
	x := &Index{
		state:       s,
		services:    s.Services,
		byPort:      map[Protocol]portTree{},
		byInterface: map[string][]int32{},
		byAddress:   map[netip.Prefix][]int32{},
		lengths:     map[int]bool{},
		edges:       map[Protocol][]uint32{},
		firsts:      map[portOf]int32{},
	}
	for i, svc := range s.Services {
		n := int32(i)
		for _, r := range svc.Ports {
			x.byPort[r.Protocol] = append(
				x.byPort[r.Protocol],
				portEntry{r.First, r.Last, r.Last, n},
			)
			x.edges[r.Protocol] = append(x.edges[r.Protocol], uint32(r.First), uint32(r.Last)+1)
		}
		for _, l := range svc.Leases {
			for _, r := range l.Ports {
				x.edges[r.Protocol] = append(x.edges[r.Protocol], uint32(r.First), uint32(r.Last)+1)
			}
		}
		for _, p := range svc.Interfaces {
			x.byInterface[p] = append(x.byInterface[p], n)
		}
		if len(svc.Interfaces) == 0 {
			x.byInterface["*"] = append(x.byInterface["*"], n)
		}
		for p := range svc.Addresses.All() {
			x.byAddress[p] = append(x.byAddress[p], n)
			x.lengths[lengthKey(p.Addr(), p.Bits())] = true
		}
		if svc.Addresses.Len() == 0 {
			x.byAddress[everyAddress] = append(x.byAddress[everyAddress], n)
		}
	}
	for _, t := range x.byPort {
		t.build()
	}
	for p, list := range x.edges {
		slices.Sort(list)
		x.edges[p] = slices.Compact(list)
	}
	return x
}

// portTree is ranges of ports ordered by their beginning, as a search tree with its root in the
// middle.
type portTree []portEntry

type portEntry struct {
	first, last uint16
	highest     uint16 // last port of any range in the part of the tree below this one
	service     int32
}

func (t portTree) build() {
	slices.SortFunc(t, func(a, b portEntry) int { return int(a.first) - int(b.first) })
	t.raise()
}

func (t portTree) raise() (highest uint16) {
	if len(t) == 0 {
		return 0
	}
	mid := len(t) / 2
	t[mid].highest = max(t[mid].last, t[:mid].raise(), t[mid+1:].raise())
	return t[mid].highest
}

// at yields the services that have a port; false if it was stopped.
func (t portTree) at(port uint16, yield func(int32) bool) bool {
	if len(t) == 0 {
		return true
	}
	mid := len(t) / 2
	e := t[mid]
	if e.highest < port {
		return true
	}
	if !t[:mid].at(port, yield) {
		return false
	}
	return e.first > port || (e.last < port || yield(e.service)) && t[mid+1:].at(port, yield)
}

// At lists the services that list a port and are open on an interface ("" is any) and an address
// (the zero Addr is any), as their numbers, ascending.
func (x *Index) At(p Protocol, port uint16, iface string, address netip.Addr) []int32 {
	lists, most := [][]int32(nil), len(x.services)+1
	shortest := func(more [][]int32) {
		n := 0
		for _, list := range more {
			n += len(list)
		}
		if n < most {
			lists, most = more, n
		}
	}
	if iface != "" {
		more := [][]int32{x.byInterface[iface]}
		for q := range patternsAbove(iface) {
			more = append(more, x.byInterface[q])
		}
		shortest(more)
	}
	if address.IsValid() {
		a := address.Unmap().WithZone("")
		own := netip.PrefixFrom(a, a.BitLen())
		more := [][]int32{x.byAddress[own]}
		for q := range prefixesAbove(own, x.lengths) {
			more = append(more, x.byAddress[q])
		}
		shortest(more)
	}
	var ports []int32
	if x.byPort[p].at(port,
		func(i int32) bool { ports = append(ports, i); return len(ports) < most }) {
		lists = [][]int32{ports}
	}
	var out []int32
	for _, list := range lists {
		for _, i := range list {
			x.steps++
			if svc := x.services[i]; svc.lists(p, port) &&
				(iface == "" || svc.OnInterface(iface)) &&
				(!address.IsValid() || svc.OnAddress(address)) {
				out = append(out, i)
			}
		}
	}
	slices.Sort(out)
	return out
}

// lists reports whether a canonical service has a port.
func (svc Service) lists(p Protocol, port uint16) bool {
	_, found := slices.BinarySearchFunc(
		svc.Ports,
		portOf{p, port},
		func(r PortRange, of portOf) int {
			switch {
			case r.Contains(of.protocol, of.port):
				return 0
			case r.Protocol < of.protocol || r.Protocol == of.protocol && r.Last < of.port:
				return -1
			}
			return 1
		},
	)
	return found
}

// First is the first service that lists a port, on whatever interface or address; −1 if none does.
func (x *Index) First(p Protocol, port uint16) int32 {
	key := portOf{p, port}
	if first, known := x.firsts[key]; known {
		return first
	}
	first := int32(-1)
	x.byPort[p].at(port, func(i int32) bool {
		x.steps++
		if first < 0 || i < first {
			first = i
		}
		return true
	})
	x.firsts[key] = first
	return first
}

// Edges are the ports of a range, but for its first, at which the range of some service or lease
// begins or has just ended, ascending.
func (x *Index) Edges(r PortRange) []uint32 {
	list := x.edges[r.Protocol]
	from := sort.Search(len(list), func(i int) bool { return list[i] > uint32(r.First) })
	to := sort.Search(len(list), func(i int) bool { return list[i] > uint32(r.Last) })
	return list[from:max(from, to)]
}
