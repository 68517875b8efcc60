package nftables

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
	"golang.org/x/sys/unix"
)

// Long lists of addresses take no other form than the evaluator's: ranges, of 8 bytes for IPv4 and
// 32 for IPv6. Those of a table share one list, in the order of their addresses. So the parts of a
// list that was cut into several sets are neighbours in memory, and their union copies nothing.

// minFlat is the fewest elements of a set that is kept so.
const minFlat = 1024

// flatSet is such a set, with its lowest key.
type flatSet struct {
	*variant
	lowest []byte
}

// fillFlat fills those of a table's sets that are long lists of addresses.
func fillFlat(sets []*kernelSet) {
	fillFlatOf(sets, 4, numberV4, func(a address.V4) address.V4 { return a - 1 }, exposure.RangesV4)
	fillFlatOf(sets, 16, numberV6, beforeV6, exposure.RangesV6)
}

func numberV4(key []byte) address.V4 { return address.V4(binary.BigEndian.Uint32(key)) }

func numberV6(key []byte) address.V6 {
	return address.V6{Hi: binary.BigEndian.Uint64(key), Lo: binary.BigEndian.Uint64(key[8:])}
}

// beforeV6 is the address before one that is not zero.
func beforeV6(a address.V6) address.V6 {
	if a.Lo == 0 {
		a.Hi--
	}
	a.Lo--
	return a
}

// fillFlatOf fills sets whose keys have n bytes.
func fillFlatOf[N address.Number[N]](
	sets []*kernelSet,
	n int,
	number func([]byte) N,
	before func(N) N,
	made func(address.Ranges[N]) exposure.Ranges,
) {
	var flat []flatSet
	total := 0
	for _, s := range sets {
		if s.isFlat(n) {
			flat = append(flat, flatSet{s.variants[0], s.read.lowest()})
			total += s.read.starts()
		}
	}
	slices.SortStableFunc(flat, func(a, b flatSet) int { return bytes.Compare(a.lowest, b.lowest) })
	all := make(address.Ranges[N], 0, total)
	for _, f := range flat {
		from := len(all)
		if read := f.set.read; f.set.is(unix.NFT_SET_INTERVAL) {
			all = appendIntervals(all, read, number, before)
		} else {
			for i := range read.n {
				key := number(read.key(i))
				all = append(all, address.Range[N]{First: key, Last: key})
			}
		}
		all = all[:from+len(address.Merged(all[from:]))]
		f.out.Flat = made(all[from:])
		f.set.read, f.set.filled = nil, true
	}
}

// appendIntervals appends the intervals of a list that descends, as the kernel's do. An interval
// runs from its start to just before the next start or end; the last one may have no end and then
// runs to the top.
func appendIntervals[N address.Number[N]](
	out address.Ranges[N],
	l *Elements,
	number func([]byte) N,
	before func(N) N,
) address.Ranges[N] {
	var first N
	open := false
	for i := l.n - 1; i >= 0; {
		key := l.key(i)
		at := number(key)
		if open {
			out = append(out, address.Range[N]{First: first, Last: before(at)})
		}
		open = false
		for ; i >= 0 && bytes.Equal(l.key(i), key); i-- {
			open = open || !l.isEnd(i)
		}
		first = at
	}
	if open {
		top := number(bytes.Repeat([]byte{0xff}, l.keyLength))
		out = append(out, address.Range[N]{First: first, Last: top})
	}
	return out
}

// isFlat reports whether the set is a long list of addresses of n bytes, and no rule reads it in
// another way.
func (s *kernelSet) isFlat(n int) bool {
	if s.read == nil || s.read.n < minFlat || len(s.read.Others) > 0 || s.read.Malformed != "" ||
		s.broken != "" || s.keyLength != n || s.verdicts || len(s.variants) != 1 ||
		s.is(unix.NFT_SET_MAP) || s.is(flagObject) || s.is(flagConcat) {
		return false
	}
	v := s.variants[0]
	if len(v.key) != 1 || len(v.data) > 0 {
		return false
	}
	c := v.key[0]
	if c.fixed || c.at != 0 || c.n != n || !c.order.same(network, n) {
		return false
	}
	if s.is(unix.NFT_SET_INTERVAL) {
		return s.read.descends()
	}
	return s.read.Ends == nil
}

// descends reports whether the packed keys come the highest first.
func (l *Elements) descends() bool {
	for i := 1; i < l.n; i++ {
		if bytes.Compare(l.key(i-1), l.key(i)) < 0 {
			return false
		}
	}
	return true
}

// lowest is the lowest of the packed keys.
func (l *Elements) lowest() []byte {
	lowest := l.key(0)
	for i := range l.n {
		if key := l.key(i); bytes.Compare(key, lowest) < 0 {
			lowest = key
		}
	}
	return lowest
}

// starts counts the packed keys that are no ends.
func (l *Elements) starts() int {
	n := l.n
	for _, end := range l.Ends {
		if end {
			n--
		}
	}
	return n
}
