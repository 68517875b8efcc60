package nft

import (
	"fmt"
	"strings"

	"github.com/portgrave/portgrave/firewall"
)

// How a service's sources of one family are held is decided here, by their number, from measurements (Linux 6.18, a million
// CIDRs of 16 lengths, milliseconds of kernel time; packet rates relative to no rules at all, base chain included):
//
//	                                   load   dump   1 %  one   UDP, one source / 130 000   TCP
//	one interval set                   1690  67000   368  236   0.77 / 0.61                 0.87
//	64 interval sets by address        1390    430   318    3   0.79 / 0.46                 0.55…0.9
//	1024 interval sets by address      1200    310   268  0.4   0.79 / 0.56                 0.87
//	a hash set per length              560    1450    18  0.1   0.89 / 0.72                 0.97
//	the same, 16 parts by address      385     227    24  0.2
//
// An interval set is a tree of twice as many nodes as ranges, which a packet descends; each commit walks all of it.
// Hash sets of prefixes of one length need a look-up per length, but each of them takes one memory access or two, and
// they stand in one rule, so that a look-up costs three expressions and no more; the most populous length comes first. A dump starts again
// from the first element for every 32 KiB, so what is large is cut in parts by the leading bits of the address.
// Below some thousand prefixes an interval set is as fast, and simpler to look at.
type shape uint8

const (
	shapeNone    shape = iota // nothing there
	shapeSmall                // an interval set, and a hash set for many exact addresses
	shapeLengths              // a hash set per prefix length
	shapeSplit                // a map from three bits of the address to parts, each with a hash set per prefix length
)

// limits are from how many prefixes on a part takes a shape.
type limits struct{ lengths, split int }

var usualLimits = limits{manyPrefixes, splitPrefixes}

const (
	// manyPrefixes is from how many prefixes on they are held by length. A commit that touches an interval set of 4096 takes the kernel
	// 0.7 ms, and a dump of it 2 ms.
	manyPrefixes = 4096
	// splitPrefixes is from how many on they are cut in parts: a dump of a hash set of 128 k takes 100 ms, four times what its elements are worth.
	splitPrefixes = 128 << 10
	// splitParts is how many parts there are: a million sources make parts of 125 k. More of them are read back no faster, and their tables crowd
	// each other out of the processor's caches.
	splitParts = 1 << splitWidth
	splitWidth = 3
)

// form is how a part's sources are held.
type form struct {
	shape shape
	// bits, of shapeSplit, is where the bits of an address end that choose its part. Prefixes that are shorter stand beside all parts.
	bits int
}

// formOf is how to hold the sources of one family. What is there stays until it is off by half, so that a list around a limit is not loaded
// anew all the time; and what is split stays split at the same place.
func (l limits) formOf(p firewall.Prefixes, f firewall.Family, have form) form {
	as := form{shape: l.shapeOf(p.FamilyLen(f), have.shape)}
	switch {
	case as.shape != shapeSplit:
	case have.shape == shapeSplit:
		as.bits = have.bits
	default:
		as.bits = splitAt(p, f)
	}
	return as
}

func (l limits) shapeOf(n int, have shape) shape {
	if l == (limits{}) {
		l = usualLimits
	}
	switch {
	case have == shapeSmall && n < 2*l.lengths,
		have == shapeLengths && n >= l.lengths/2 && n < 2*l.split,
		have == shapeSplit && n >= l.split/2:
		return have
	case n < l.lengths:
		return shapeSmall
	case n < l.split:
		return shapeLengths
	}
	return shapeSplit
}

// part names one service's sources of one family.
type part struct {
	service string
	family  firewall.Family
}

// placement is where a part's sources stand, and how.
type placement struct {
	form
	second bool // under the second of two names, of which one can be loaded while the other is in use
}

func (p placement) suffix() string {
	if p.second {
		return ".2"
	}
	return ""
}

// Names of a large part's objects.
func (p part) lengthsChain(at placement) string {
	return fmt.Sprintf("svc/%s/%s%s", p.service, p.family, at.suffix())
}

func (p part) splitMap(at placement) string {
	return fmt.Sprintf("svc/%s/split-%s-%d%s", p.service, p.family, at.bits, at.suffix())
}

// shardStem is the name of a shard's chain, with which those of its sets begin. Of the shorter prefixes there are only sets.
func (p part) shardStem(at placement, shard int) string {
	if shard == shorter {
		return fmt.Sprintf("svc/%s/%s-shorter%s", p.service, p.family, at.suffix())
	}
	return fmt.Sprintf("svc/%s/%s-%d%s", p.service, p.family, shard, at.suffix())
}

// lengthSet is the set of a chain's prefixes of one length.
func lengthSet(chain string, length int) string { return fmt.Sprintf("%s/%d", chain, length) }

// partOf tells whether an object's name is that of one of a large part's.
func partOf(name string) (part, bool) {
	service := serviceOf(name)
	if service == "" || len(name) < len("svc//")+len(service) {
		return part{}, false
	}
	rest := strings.TrimPrefix(name[len("svc//")+len(service):], "split-")
	for _, f := range firewall.Families {
		if tail, ok := strings.CutPrefix(rest, f.String()); ok && (tail == "" || strings.ContainsRune("-/.", rune(tail[0]))) {
			return part{service, f}, true
		}
	}
	return part{}, false
}
