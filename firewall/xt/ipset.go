package xt

import (
	"bufio"
	"fmt"
	"math/bits"
	"net/netip"
	"strconv"
	"time"

	"github.com/portgrave/portgrave/firewall"
)

// What ipset restore is told. It is written while the program reads, so that a million elements never stand anywhere as text.

// mostElements is every set's maxelem. It costs nothing: memory follows hashsize and the elements.
const mostElements = 1 << 24

// hashSize is room for n elements from the start, so that loading them never stops to rehash. The kernel doubles hashsize when one
// bucket is to hold more than twelve (AHASH_MAX_SIZE, net/netfilter/ipset/ip_set_hash_gen.h): with two on average,
// that happens in one of ten loads of a million; with four, in each.
func hashSize(n int) int { return max(64, 1<<bits.Len(uint(max(0, n-1)/2))) }

// writeCreate writes the line that creates a set: "create NAME hash:net family inet hashsize 1024 maxelem 65536 timeout 0".
func writeCreate(w *bufio.Writer, name string, k setKind, f firewall.Family, n int) {
	family := "inet"
	if f == firewall.IPv6 {
		family = "inet6"
	}
	fmt.Fprintf(w, "create %s %s family %s hashsize %d maxelem %d", name, k.typeName(), family, hashSize(n), mostElements)
	if k == kindUntil {
		w.WriteString(" timeout 0")
	}
	w.WriteByte('\n')
}

// typeName is the type of set that ipset has for a kind.
func (k setKind) typeName() string {
	if k == kindHosts {
		return "hash:ip"
	}
	return "hash:net"
}

// writeElements writes one line for each element: "add NAME 10.0.0.0/8 timeout 60".
func writeElements(w *bufio.Writer, verb, name string, all elements, now time.Time) {
	lead := verb + " " + name + " "
	for e := range all.all() {
		b := append(w.AvailableBuffer(), lead...)
		b = appendPrefix(b, e.prefix)
		if verb == "add" && !e.until.IsZero() {
			left := min(max(e.until.Sub(now), time.Second), longestTimeout)
			b = append(b, " timeout "...)
			b = strconv.AppendInt(b, int64(left/time.Second), 10)
		}
		if _, err := w.Write(append(b, '\n')); err != nil {
			return // the program has ended, and says why
		}
	}
}

func appendPrefix(b []byte, p netip.Prefix) []byte {
	if p.IsSingleIP() {
		return p.Addr().AppendTo(b)
	}
	return p.AppendTo(b)
}
