package nft

import (
	"slices"

	"github.com/portgrave/portgrave/firewall"
)

// radixLeast is from how many keys on it is faster to sort them by their bytes than by comparing: three times from some thousand on.
const radixLeast = 128

// sortWords sorts a list by its elements' numbers of 64 bits, of which the last is the most significant. It takes one byte after the other, the least
// significant first (radix sort, LSD), but for those that are the same everywhere, as most bytes of prefixes of one length are. It returns the spare memory that
// it was given, or took instead.
func sortWords[A any](list, spare []A, words int, word func(A, int) uint64, compare func(a, b A) int) []A {
	if len(list) < radixLeast {
		slices.SortFunc(list, compare)
		return spare
	}
	spare = slices.Grow(spare[:0], len(list))
	from, to := list, spare[:len(list)]
	for w := range words {
		differ := uint64(0)
		for _, x := range from {
			differ |= word(x, w) ^ word(from[0], w)
		}
		for shift := 0; shift < 64; shift += 8 {
			if byte(differ>>shift) == 0 {
				continue
			}
			var next [256]int
			for _, x := range from {
				next[byte(word(x, w)>>shift)]++
			}
			sum := 0
			for i, n := range next {
				next[i], sum = sum, sum+n
			}
			for _, x := range from {
				i := &next[byte(word(x, w)>>shift)]
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

func sort4(list, spare []firewall.Address4) []firewall.Address4 {
	return sortWords(list, spare, 1, func(a firewall.Address4, _ int) uint64 { return uint64(a) }, firewall.Address4.Compare)
}

func sort6(list, spare []firewall.Address6) []firewall.Address6 {
	return sortWords(list, spare, 2, func(a firewall.Address6, w int) uint64 {
		if w == 0 {
			return a.Lo
		}
		return a.Hi
	}, firewall.Address6.Compare)
}
