package main

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
)

// Family is an IP version.
type Family string

// The families, by their names in results.
const (
	IPv4 Family = "IPv4"
	IPv6 Family = "IPv6"
)

// clientNetwork is the network that the benchmarks' client is in. It ends every IPv4 list of rules,
// and no generated prefix overlaps it.
var clientNetwork = netip.MustParsePrefix("10.20.1.0/24")

// lengths are IPv4 prefix lengths with their share of 1000: mostly /24, many hosts, few large ones.
var lengths = []struct{ bits, share int }{
	{17, 10}, {18, 20}, {19, 30}, {20, 50}, {21, 50}, {22, 80}, {23, 80}, {24, 400},
	{25, 20}, {26, 20}, {27, 20}, {28, 30}, {29, 40}, {30, 20}, {31, 10}, {32, 120},
}

// The addresses in use: from 11.0.0.0 to 99.255.255.255 and 128.0.0.0 to 223.255.255.255, so that
// no list meets private or loopback networks.
var zones = [][2]uint64{{11 << 24, 100 << 24}, {128 << 24, 224 << 24}}

// randomPrefixes draws n disjoint prefixes, one in each of n equal parts of the zones: so they are
// sorted, and never touch.
func randomPrefixes(family Family, n int, seed uint64) []netip.Prefix {
	r := rand.New(rand.NewPCG(seed, uint64(n)))
	total := uint64(0)
	for _, z := range zones {
		total += z[1] - z[0]
	}
	step := total / uint64(n+len(zones))
	out := make([]netip.Prefix, 0, n)
	for _, z := range zones {
		for from := z[0]; from+step <= z[1] && len(out) < n; from += step {
			address, bits := randomPrefix(r, from, step)
			out = append(out, prefixOf(family, address, bits))
		}
	}
	return out
}

// randomPrefix draws a prefix inside [from, from+step) that leaves the first and the last address
// free.
func randomPrefix(r *rand.Rand, from, step uint64) (address uint64, bits int) {
	draw := r.IntN(1000)
	for _, l := range lengths {
		if bits = l.bits; draw < l.share {
			break
		}
		draw -= l.share
	}
	for {
		size := uint64(1) << (32 - bits)
		first := (from + size) / size * size
		if last := from + step - 1; first+size <= last {
			return first + r.Uint64N((last-first-size)/size+1)*size, bits
		}
		bits++ // too large for its part
	}
}

// prefixOf is an IPv4 prefix, or the IPv6 one that has the same bits below 2001::/16: /17 to /32
// become /33 to /48.
func prefixOf(family Family, address uint64, bits int) netip.Prefix {
	if family == IPv4 {
		return netip.PrefixFrom(
			netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, uint32(address)))),
			bits,
		)
	}
	var a [16]byte
	a[0], a[1] = 0x20, 0x01
	binary.BigEndian.PutUint32(a[2:], uint32(address))
	return netip.PrefixFrom(netip.AddrFrom16(a), 16+bits)
}

// Change is what turns one list into the next.
type Change struct{ Remove, Add []netip.Prefix }

// Lists are a list and what becomes of it. They are sorted.
type Lists struct {
	Family  Family
	Initial []netip.Prefix
	One     Change         // one prefix more than Initial
	WithOne []netip.Prefix // Initial after One
	Percent Change         // a hundredth of WithOne is replaced, but not what One has added
	Changed []netip.Prefix // WithOne after Percent
	Other   []netip.Prefix // as many, all others
}

// NewLists makes lists of n prefixes.
func NewLists(family Family, n int) Lists {
	all := randomPrefixes(family, n+1+max(n/100, 1), 1)
	// Those that come later are taken from all over the list, not from its end.
	var initial, spare []netip.Prefix
	every := len(all) / (1 + max(n/100, 1))
	for i, p := range all {
		if i%every == every/2 && len(spare) <= max(n/100, 1) {
			spare = append(spare, p)
		} else {
			initial = append(initial, p)
		}
	}
	l := Lists{
		Family:  family,
		Initial: initial,
		One:     Change{Add: spare[:1]},
		Other:   randomPrefixes(family, n, 2),
	}
	l.WithOne = merged(initial, spare[:1])
	var kept []netip.Prefix
	l.Percent.Add = spare[1:]
	for i, p := range l.WithOne {
		if i%every == every/3 && p != spare[0] && len(l.Percent.Remove) < len(l.Percent.Add) {
			l.Percent.Remove = append(l.Percent.Remove, p)
		} else {
			kept = append(kept, p)
		}
	}
	l.Changed = merged(kept, l.Percent.Add)
	return l
}

func merged(a, b []netip.Prefix) []netip.Prefix {
	out := slices.Concat(a, b)
	slices.SortFunc(out, func(x, y netip.Prefix) int { return x.Addr().Compare(y.Addr()) })
	return out
}
