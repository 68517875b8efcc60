package xt

import (
	"cmp"
	"iter"
	"net/netip"
	"slices"
	"sort"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

// element is a source in a set, until a moment (the zero Time: for good), or a service of IPVS.
type element struct {
	prefix netip.Prefix
	until  time.Time
	portOf // of a service
}

// portOf is the port of a service, and its protocol; zero in sets of sources.
type portOf struct {
	port     uint16
	protocol firewall.Protocol
}

func (p portOf) compare(o portOf) int {
	return cmp.Or(cmp.Compare(p.protocol, o.protocol), cmp.Compare(p.port, o.port))
}

func compareElements(a, b element) int {
	return cmp.Or(a.portOf.compare(b.portOf), a.prefix.Addr().Compare(b.prefix.Addr()),
		cmp.Compare(a.prefix.Bits(), b.prefix.Bits()))
}

// String is the prefix, or "tcp/10.96.0.1:443".
func (e element) String() string {
	if e.protocol == 0 {
		return e.prefix.String()
	}
	at := netip.AddrPortFrom(e.prefix.Addr(), e.port)
	return firewall.VirtualService{Protocol: e.protocol, At: at}.String()
}

// elements are those of a set, ascending.
type elements interface {
	all() iter.Seq[element]
	len() int
}

// lasting is what a State allows for good in one family. A million sources stay as the State holds
// them: the elements are worked out as they are asked for.
type lasting struct {
	sources address.Set
	family  address.Family
	n       int
}

func (l lasting) len() int { return l.n }

func (l lasting) all() iter.Seq[element] {
	return func(yield func(element) bool) {
		for p := range l.sources.Family(l.family) {
			if !yield(element{prefix: p}) {
				return
			}
		}
	}
}

// list holds elements of one family one by one, as the kernel does: prefixes that touch, or lie one
// in the other, are not the same as one that spans them. A lasting element takes 8 bytes in IPv4,
// and 24 in IPv6. The nil list is empty.
type list struct {
	v4    []prefix4
	v6    []prefix6
	until []time.Time // by position; nil if none ends
}

// prefix4 is, from the top, a protocol, a port, an address and a length: numbers are in the order
// of elements.
type prefix4 uint64

func prefix4Of(e element) prefix4 {
	return prefix4(e.protocol)<<56 | prefix4(e.port)<<40 |
		prefix4(address.V4Of(e.prefix.Addr()))<<8 | prefix4(e.prefix.Bits())
}

func (p prefix4) element() element {
	return element{prefix: netip.PrefixFrom(address.V4(p>>8).IP(), int(p&0xff)),
		portOf: portOf{uint16(p >> 40), firewall.Protocol(p >> 56)}}
}

type prefix6 struct {
	address.V6
	bits uint8
	portOf
}

func (p prefix6) compare(q prefix6) int {
	return cmp.Or(p.portOf.compare(q.portOf), p.Compare(q.V6), cmp.Compare(p.bits, q.bits))
}

func (l *list) len() int {
	if l == nil {
		return 0
	}
	return len(l.v4) + len(l.v6)
}

func (l *list) all() iter.Seq[element] {
	return func(yield func(element) bool) {
		for i := range l.len() {
			if !yield(l.at(i)) {
				return
			}
		}
	}
}

func (l *list) at(i int) element {
	var e element
	if len(l.v4) > 0 {
		e = l.v4[i].element()
	} else {
		e.prefix, e.portOf = netip.PrefixFrom(l.v6[i].IP(), int(l.v6[i].bits)), l.v6[i].portOf
	}
	if l.until != nil {
		e.until = l.until[i]
	}
	return e
}

// add appends an element, of the same family as those before.
func (l *list) add(e element) {
	if a := e.prefix.Addr(); a.Is4() {
		l.v4 = append(l.v4, prefix4Of(e))
	} else {
		l.v6 = append(l.v6, prefix6{address.V6Of(a), uint8(e.prefix.Bits()), e.portOf})
	}
	if !e.until.IsZero() && l.until == nil {
		l.until = make([]time.Time, l.len()-1, cap(l.v4)+cap(l.v6))
	}
	if l.until != nil {
		l.until = append(l.until, e.until)
	}
}

// grow makes room for n more.
func (l *list) grow(f address.Family, n int) {
	if f == address.IPv4 {
		l.v4 = slices.Grow(l.v4, n)
	} else {
		l.v6 = slices.Grow(l.v6, n)
	}
}

// sort puts elements in order that came in another.
func (l *list) sort() {
	if l.until != nil {
		sort.Sort((*withEnds)(l))
		return
	}
	slices.Sort(l.v4)
	slices.SortFunc(l.v6, prefix6.compare)
}

// withEnds sorts a list together with the ends.
type withEnds list

func (l *withEnds) Len() int { return (*list)(l).len() }

func (l *withEnds) Less(i, j int) bool {
	if len(l.v4) > 0 {
		return l.v4[i] < l.v4[j]
	}
	return l.v6[i].compare(l.v6[j]) < 0
}

func (l *withEnds) Swap(i, j int) {
	if len(l.v4) > 0 {
		l.v4[i], l.v4[j] = l.v4[j], l.v4[i]
	} else {
		l.v6[i], l.v6[j] = l.v6[j], l.v6[i]
	}
	l.until[i], l.until[j] = l.until[j], l.until[i]
}
