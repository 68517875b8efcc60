package xt

import (
	"fmt"
	"math/bits"
	"time"

	"github.com/portgrave/portgrave/firewall"
)

// mostElements is the maxelem of every set that packets don't fill. It costs nothing: memory
// follows hashsize and the elements.
const mostElements = 1 << 24

// hashSize is room for n elements from the start, so that loading them never stops to rehash. The
// kernel doubles hashsize when one bucket is to hold more than twelve (AHASH_MAX_SIZE,
// net/netfilter/ipset/ip_set_hash_gen.h): with two on average, that happens in one of ten loads of
// a million; with four, in each.
func hashSize(n int) int { return max(64, 1<<bits.Len(uint(max(0, n-1)/2))) }

// appendCreate writes the line that creates a set: "create NAME hash:net family inet hashsize 1024
// maxelem 65536 timeout 0".
func appendCreate(b []byte, name string, k setKind, f firewall.Family, n int) []byte {
	family := "inet"
	if f == firewall.IPv6 {
		family = "inet6"
	}
	if k.questions() {
		n = firewall.MaxQuestions // the kernel does not enlarge a set for what packets add
	}
	b = fmt.Appendf(b, "create %s %s family %s hashsize %d maxelem %d",
		name, k.typeName(), family, hashSize(n), k.maxElements())
	if timeout, ends := k.timeout(); ends {
		b = fmt.Appendf(b, " timeout %d", timeout)
	}
	return append(b, '\n')
}

// typeName is the type of set that ipset has for a kind.
func (k setKind) typeName() string {
	switch {
	case k == kindHosts:
		return "hash:ip"
	case k.questions(), k == kindVirtual:
		return "hash:ip,port"
	}
	return "hash:net"
}

// maxElements is the maxelem of a kind. The kernel counts each 1024 buckets by themselves, so a set
// may hold some more (mtype_add, net/netfilter/ipset/ip_set_hash_gen.h).
func (k setKind) maxElements() int {
	if k.questions() {
		return firewall.MaxQuestions
	}
	return mostElements
}

// timeout is what an element has left if its writer doesn't say, in seconds (0: it stays), and
// whether elements of this kind may end at all.
func (k setKind) timeout() (seconds int, ends bool) {
	if k.questions() {
		return int(firewall.AnswerTime / time.Second), true
	}
	return 0, k == kindUntil
}
