package nft

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/portgrave/portgrave/firewall"
)

// keys are the elements of a hash set of prefixes of one length: their first addresses, ascending, of one family.
// 4 bytes each of IPv4 and 16 of IPv6: a million sources are held three times over while they are compared.
type keys struct {
	v4 []firewall.Address4
	v6 []firewall.Address6
}

func (k keys) len() int { return len(k.v4) + len(k.v6) }

// at is one of them.
func (k keys) at(i int) netip.Addr {
	if len(k.v4) > 0 {
		return k.v4[i].IP()
	}
	return k.v6[i].IP()
}

// from is all but the first n.
func (k keys) from(n int) keys { return keys{k.v4[min(n, len(k.v4)):], k.v6[min(n, len(k.v6)):]} }

func (k keys) equal(o keys) bool { return equalLists(k.v4, o.v4) && equalLists(k.v6, o.v6) }

// diffKeys returns what must be added to have and removed from it to get want.
func diffKeys(want, have keys) (add, remove keys) {
	add.v4, remove.v4 = diffLists(want.v4, have.v4)
	add.v6, remove.v6 = diffLists(want.v6, have.v6)
	return add, remove
}

// replaced is k without some and with others, all ascending; what is in both is there.
func (k keys) replaced(remove, add keys) keys {
	return keys{replacedList(k.v4, remove.v4, add.v4), replacedList(k.v6, remove.v6, add.v6)}
}

// union is all that is in either.
func (k keys) union(o keys) keys { return keys{unionLists(k.v4, o.v4), unionLists(k.v6, o.v6)} }

// sorted orders keys as they came from the kernel, in place; what comes twice stays twice. spare is what was used for that the last time, or nothing.
func (k keys) sorted(spare *keys) keys {
	spare.v4, spare.v6 = sort4(k.v4, spare.v4), sort6(k.v6, spare.v6)
	return k
}

// repeat reports whether one of the keys, which are sorted, comes twice.
func (k keys) repeat() bool {
	return repeat(k.v4, func(a, b firewall.Address4) bool { return a == b }) || repeat(k.v6, func(a, b firewall.Address6) bool { return a == b })
}

// repeat reports whether two neighbours are the same.
func repeat[E any](list []E, same func(a, b E) bool) bool {
	for i := 1; i < len(list); i++ {
		if same(list[i-1], list[i]) {
			return true
		}
	}
	return false
}

type ordered[A any] interface {
	comparable
	Compare(A) int
}

// equalLists looks at the elements only if the lists are not the same memory, which they mostly are: what was
// read back equal to what was written is held once.
func equalLists[A comparable](a, b []A) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0] || slices.Equal(a, b))
}

func diffLists[A ordered[A]](want, have []A) (add, remove []A) {
	switch {
	case equalLists(want, have):
		return nil, nil
	case len(want) == 0 || len(have) == 0:
		return want, have // not copied: there may be a million
	}
	return diffSorted(want, have, A.Compare, func(A, A) bool { return true })
}

// unionLists is all that is in either of two ascending lists. It returns one of them where that holds everything.
func unionLists[A ordered[A]](a, b []A) []A {
	switch add, gone := diffLists(b, a); {
	case len(add) == 0:
		return a
	case len(gone) == 0:
		return b
	default:
		return replacedList(a, nil, add)
	}
}

// replacedList copies what lies between two changes in one go: of a long list, few elements change.
func replacedList[A ordered[A]](list, remove, add []A) []A {
	if len(remove)+len(add) == 0 {
		return list
	}
	out := make([]A, 0, len(list)+len(add))
	for len(remove)+len(add) > 0 {
		goes := len(add) == 0 || len(remove) > 0 && remove[0].Compare(add[0]) <= 0
		changes := &add
		if goes {
			changes = &remove
		}
		x := (*changes)[0]
		*changes = (*changes)[1:]
		i, there := slices.BinarySearchFunc(list, x, A.Compare)
		out, list = append(out, list[:i]...), list[i:]
		switch {
		case goes && there:
			list = list[1:]
		case !goes && !there:
			out = append(out, x)
		}
	}
	return append(out, list...)
}

// prefixKey is a key with its prefix length, as a change is shown.
type prefixKey struct {
	key    netip.Addr
	length int
}

func comparePrefixKeys(a, b prefixKey) int {
	return cmp.Or(a.key.Compare(b.key), cmp.Compare(a.length, b.length))
}

func (p prefixKey) String() string { return netip.PrefixFrom(p.key, p.length).String() }
