package xt

import (
	"math/bits"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/iptsave"
)

// maxElements is the maxelem of every set that packets don't fill. It costs nothing: memory
// follows hashsize and the elements.
const maxElements = 1 << 24

// hashSize is room for n elements from the start, so that loading them never stops to rehash. The
// kernel doubles hashsize when one bucket is to hold more than twelve (AHASH_MAX_SIZE,
// net/netfilter/ipset/ip_set_hash_gen.h): with two on average, that happens in one of ten loads of
// a million; with four, in each.
func hashSize(n int) int { return max(64, 1<<bits.Len(uint(max(0, n-1)/2))) }

// setType is the shape of a set of n elements.
func setType(k setKind, f address.Family, n int) iptsave.SetType {
	if k.questions() {
		n = firewall.MaxQuestions // the kernel does not enlarge a set for what packets add
	}
	timeout, ends := k.timeout()
	return iptsave.SetType{
		Name:     k.typeName(),
		Family:   f,
		HashSize: hashSize(n),
		MaxElem:  k.maxElements(),
		Ends:     ends,
		Timeout:  timeout,
	}
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
	return maxElements
}

// timeout is what an element has left if its writer doesn't say, in seconds (0: it stays), and
// whether elements of this kind may end at all.
func (k setKind) timeout() (seconds int, ends bool) {
	if k.questions() {
		return int(firewall.AnswerTime / time.Second), true
	}
	return 0, k == kindUntil
}
