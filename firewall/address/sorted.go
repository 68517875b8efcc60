package address

import (
	"net/netip"
	"slices"
)

// DiffSorted walks over two ascending lists and returns what must be added to have and removed from
// it to get want, both ascending. Elements that compare equal may still differ, as same tells: then
// they are replaced.
func DiffSorted[S ~[]E, E any](
	want, have S,
	compare func(a, b E) int,
	same func(a, b E) bool,
) (add, remove S) {
	for len(want) > 0 && len(have) > 0 {
		switch c := compare(want[0], have[0]); {
		case c < 0:
			add, want = append(add, want[0]), want[1:]
		case c > 0:
			remove, have = append(remove, have[0]), have[1:]
		default:
			if !same(want[0], have[0]) {
				add, remove = append(add, want[0]), append(remove, have[0])
			}
			want, have = want[1:], have[1:]
		}
	}
	return append(add, want...), append(remove, have...)
}

// List is addresses of one family one by one, ascending: elements of a hash set, or prefixes of one
// length by their first address. An address takes 4 bytes or 16. Callers must not change a List.
type List struct {
	V4 []V4
	V6 []V6
}

// Len is how many there are.
func (l List) Len() int { return len(l.V4) + len(l.V6) }

// At is one of them.
func (l List) At(i int) netip.Addr {
	if len(l.V4) > 0 {
		return l.V4[i].IP()
	}
	return l.V6[i].IP()
}

// From is all but the first n.
func (l List) From(n int) List { return List{l.V4[min(n, len(l.V4)):], l.V6[min(n, len(l.V6)):]} }

// Equal reports whether both are the same. It looks at the addresses only if the lists are not the
// same memory, which they mostly are: what was read back equal to what was written is held once.
func (l List) Equal(o List) bool { return equalLists(l.V4, o.V4) && equalLists(l.V6, o.V6) }

// DiffLists is what must be added to have and removed from it to get want.
func DiffLists(want, have List) (add, remove List) {
	add.V4, remove.V4 = diffLists(want.V4, have.V4)
	add.V6, remove.V6 = diffLists(want.V6, have.V6)
	return add, remove
}

// Replaced is the list without some addresses and with others; what is in both is there.
func (l List) Replaced(remove, add List) List {
	return List{replacedList(l.V4, remove.V4, add.V4), replacedList(l.V6, remove.V6, add.V6)}
}

// Union is all that is in either.
func (l List) Union(o List) List { return List{unionLists(l.V4, o.V4), unionLists(l.V6, o.V6)} }

// Sort orders addresses that came in any order, in place; what comes twice stays twice. spare is
// memory that an earlier call left there, or none.
func (l List) Sort(spare *List) {
	spare.V4, spare.V6 = sortNumbers(l.V4, spare.V4), sortNumbers(l.V6, spare.V6)
}

// Repeats reports whether an address comes twice.
func (l List) Repeats() bool {
	return Repeats(l.V4, func(a, b V4) bool { return a == b }) ||
		Repeats(l.V6, func(a, b V6) bool { return a == b })
}

// Repeats reports whether two neighbours in a list are the same.
func Repeats[E any](list []E, same func(a, b E) bool) bool {
	for i := 1; i < len(list); i++ {
		if same(list[i-1], list[i]) {
			return true
		}
	}
	return false
}

func equalLists[E comparable](a, b []E) bool { return Same(a, b) || slices.Equal(a, b) }

func diffLists[N Number[N]](want, have []N) (add, remove []N) {
	switch {
	case equalLists(want, have):
		return nil, nil
	case len(want) == 0 || len(have) == 0:
		return want, have // not copied: there may be a million
	}
	for len(want) > 0 && len(have) > 0 {
		if n := common(want, have); n > 0 {
			want, have = want[n:], have[n:]
		} else if less(want[0], have[0]) {
			add, want = append(add, want[0]), want[1:]
		} else {
			remove, have = append(remove, have[0]), have[1:]
		}
	}
	return append(add, want...), append(remove, have...)
}

// unionLists returns one of two lists where that holds everything.
func unionLists[N Number[N]](a, b []N) []N {
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
func replacedList[N Number[N]](list, remove, add []N) []N {
	if len(remove)+len(add) == 0 {
		return list
	}
	out := make([]N, 0, len(list)+len(add))
	for len(remove)+len(add) > 0 {
		goes := len(add) == 0 || len(remove) > 0 && !less(add[0], remove[0])
		changes := &add
		if goes {
			changes = &remove
		}
		x := (*changes)[0]
		*changes = (*changes)[1:]
		i, there := slices.BinarySearchFunc(list, x, N.Compare)
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

// minRadix is how many elements are sorted by their bytes at least. From some thousand on that
// takes a third of the time of comparing.
const minRadix = 128

func sortNumbers[N Number[N]](list, spare []N) []N {
	return sortWords(list, spare, func(n N) N { return n })
}

// sortRanges orders ranges by their first number. Ranges of IPv6 are compared: moving 32 bytes some
// times takes longer, and twice the memory.
func sortRanges[N Number[N]](list []Range[N]) {
	if six, ok := any(list).([]Range[V6]); ok {
		slices.SortFunc(six, func(a, b Range[V6]) int { return a.First.Compare(b.First) })
		return
	}
	sortWords(list, nil, func(r Range[N]) N { return r.First })
}

// sortWords sorts a list by its elements' keys. It takes one byte after the other, the least
// significant first (radix sort, LSD), but for those that are the same everywhere, as most bytes of
// prefixes of one length are. It returns the spare memory that it was given, or took instead.
func sortWords[E any, N Number[N]](list, spare []E, key func(E) N) []E {
	if len(list) < minRadix {
		slices.SortFunc(list, func(a, b E) int { return key(a).Compare(key(b)) })
		return spare
	}
	spare = slices.Grow(spare[:0], len(list))
	from, to := list, spare[:len(list)]
	for w := range key(list[0]).words() {
		differ := uint64(0)
		for _, x := range from {
			differ |= key(x).word(w) ^ key(from[0]).word(w)
		}
		for shift := 0; shift < 64; shift += 8 {
			if byte(differ>>shift) == 0 {
				continue
			}
			var next [256]int
			for _, x := range from {
				next[byte(key(x).word(w)>>shift)]++
			}
			sum := 0
			for i, n := range next {
				next[i], sum = sum, sum+n
			}
			for _, x := range from {
				i := &next[byte(key(x).word(w)>>shift)]
				to[*i] = x
				*i++
			}
			from, to = to, from
		}
	}
	if &from[0] != &list[0] {
		copy(list, from)
	}
	return spare
}
