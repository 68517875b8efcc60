package main

import (
	"fmt"
	"math/rand/v2"
	"net/netip"

	"github.com/portgrave/portgrave/firewall"
)

// lengths are how many of a thousand prefixes have a length: about what lists of countries, clouds and threats are made of.
var lengths = []struct{ bits, of int }{{17, 10}, {18, 20}, {19, 30}, {20, 50}, {21, 50}, {22, 80}, {23, 80}, {24, 400}, {25, 20}, {26, 20}, {27, 20}, {28, 30}, {29, 40}, {30, 20}, {31, 10}, {32, 120}}

// sources are n disjoint prefixes of 16 lengths, spread over the address space; of IPv6, over 2000::/3, three bits longer.
func sources(family firewall.Family, n int, seed uint64) (firewall.Prefixes, error) {
	r := rand.New(rand.NewPCG(seed, 1))
	var b firewall.PrefixesBuilder
	// What alignment and the prefixes themselves take is 3000 addresses each, on average.
	gap := max(1800, (uint64(1)<<32/uint64(n)-3000)*9/10*2)
	if n > 800_000 {
		gap = 1800
	}
	at := uint64(1 << 24)
	for range n {
		x, bits := r.IntN(1000), 32
		for _, l := range lengths {
			if x < l.of {
				bits = l.bits
				break
			}
			x -= l.of
		}
		size := uint64(1) << (32 - bits)
		at = (at + 1 + r.Uint64N(gap) + size - 1) &^ (size - 1)
		if at+size >= 1<<32 {
			return firewall.Prefixes{}, fmt.Errorf("%d sources do not fit the address space", n)
		}
		p := netip.PrefixFrom(firewall.Address4(at).IP(), bits)
		if family == firewall.IPv6 {
			p = netip.PrefixFrom(firewall.Address6{Hi: 0x2000<<48 | at<<29}.IP(), bits+3)
		}
		if err := b.Add(p); err != nil {
			return firewall.Prefixes{}, err
		}
		at += size
	}
	return b.Set(), nil
}
