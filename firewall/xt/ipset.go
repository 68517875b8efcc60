package xt

import (
	"fmt"
	"math/bits"

	"github.com/portgrave/portgrave/firewall"
)

// mostElements is every set's maxelem. It costs nothing: memory follows hashsize and the elements.
const mostElements = 1 << 24

// hashSize is room for n elements from the start, so that loading them never stops to rehash. The kernel doubles hashsize when one
// bucket is to hold more than twelve (AHASH_MAX_SIZE, net/netfilter/ipset/ip_set_hash_gen.h): with two on average,
// that happens in one of ten loads of a million; with four, in each.
func hashSize(n int) int { return max(64, 1<<bits.Len(uint(max(0, n-1)/2))) }

// appendCreate writes the line that creates a set: "create NAME hash:net family inet hashsize 1024 maxelem 65536 timeout 0".
func appendCreate(b []byte, name string, k setKind, f firewall.Family, n int) []byte {
	family := "inet"
	if f == firewall.IPv6 {
		family = "inet6"
	}
	b = fmt.Appendf(b, "create %s %s family %s hashsize %d maxelem %d", name, k.typeName(), family, hashSize(n), mostElements)
	if k == kindUntil {
		b = append(b, " timeout 0"...)
	}
	return append(b, '\n')
}

// typeName is the type of set that ipset has for a kind.
func (k setKind) typeName() string {
	if k == kindHosts {
		return "hash:ip"
	}
	return "hash:net"
}
