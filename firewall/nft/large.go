package nft

import (
	"net/netip"

	"github.com/portgrave/portgrave/firewall/address"
)

// How a service's sources of one family are held is decided here, by their number, from
// measurements (Linux 6.18, a million CIDRs of 16 lengths, milliseconds of kernel time):
//
//	                                   load   dump   1 %  one
//	one interval set                   1690  67000   368  236
//	64 interval sets by address        1390    430   318    3
//	1024 interval sets by address      1200    310   268  0.4
//	a hash set per length               560   1450    18  0.1
//	the same, 32 parts by address       385    230    24  0.2
//
// An interval set is a tree of twice as many nodes as ranges, which a packet descends; each commit
// walks all of it. Hash sets of prefixes of one length need a look-up per length, but each of them
// takes one memory access or two, and they stand in one rule, so that a look-up costs three
// expressions and no more; the most populous length comes first. A dump starts again from the first
// element for every 32 KiB, so what is large is cut in parts, at addresses that make them equal.
// Rules compare the source with those addresses: a map from leading bits told nothing of lists in
// one network, and one from bits in the middle can't be followed by who audits. Eight parts are
// read back as fast as 32: drift takes 0.8 s as a whole, without parts 2.4 s. Below some thousand
// prefixes an interval set is as fast, and simpler to look at; and a few are rules.
//
// Small UDP packets, as a part of the rate without any rules, of 64 sources in turn and of 4096:
// 0.74 and 0.72 with 4 000 CIDRs in an interval set, 0.71 and 0.59 with a million by length, 0.68
// and 0.61 in eight parts. 0.10 of it goes to conntrack.
type shape uint8

const (
	shapeNone    shape = iota // nothing there
	shapeRules                // a rule each, in the service's chain (sourcerules.go)
	shapeSmall                // an interval set, and a hash set for many exact addresses
	shapeLengths              // a hash set per prefix length
	// eight parts of the addresses, each with a hash set per prefix length
	shapeSplit
)

// limits are numbers of prefixes of a part: the most for shapeRules, and those above which the
// other shapes are used.
type limits struct{ rules, lengths, split int }

var usualLimits = limits{maxRules, lengthsThreshold, splitThreshold}

const (
	// maxRules is the most prefixes stored as individual rules. Small UDP packets pass 2, 4, 8 and
	// 12 rules at 0.83, 0.81, 0.79 and 0.78 of the rate without any rules, and a set of as many at
	// 0.82, 0.82, 0.81 and 0.81. And nf_tables finds a set by walking all of the table's, whenever
	// one is made, used by a rule or read: 10 000 services of 4 sources take 16 s to apply and 6 s
	// to compare with sets, 7 s and 2 s with rules.
	maxRules = 4
	// lengthsThreshold is the number of prefixes above which they are held by length. A commit that
	// touches an interval set of 4096 takes the kernel 0.7 ms, and a dump of it 2 ms.
	lengthsThreshold = 4096
	// splitThreshold is the number above which they are cut in parts: a dump of a hash set of 128 k
	// takes 100 ms, four times what its elements need.
	splitThreshold = 128 << 10
	// splitParts is how many parts there are: a million sources make parts of 125 k. More of them
	// are read back no faster, and their tables crowd each other out of the processor's caches.
	splitParts = 8
)

// form is how a part's sources are held.
type form struct {
	shape shape
	// bounds, of shapeSplit, are the first addresses of all parts but the first.
	bounds [splitParts - 1]netip.Addr
}

// large reports whether the sources stand in chains of their own, by prefix length.
func (f form) large() bool { return f.shape == shapeLengths || f.shape == shapeSplit }

// boundsUnknown reports whether shard bounds could not be recovered.
func (f form) boundsUnknown() bool { return f.shape == shapeSplit && !f.bounds[0].IsValid() }

// formOf is how to hold the sources of one family. What is there stays until it is off by half, so
// that a list around a limit is not loaded anew all the time; and what is split stays split at the
// same place.
func (l limits) formOf(p address.Set, f address.Family, have form) form {
	as := form{shape: l.shapeOf(p.FamilyLen(f), have.shape)}
	switch {
	case as.shape != shapeSplit:
	case have.shape == shapeSplit && !have.boundsUnknown():
		as.bounds = have.bounds
	default:
		as.bounds = splitAt(p, f)
	}
	return as
}

func (l limits) shapeOf(n int, have shape) shape {
	if l == (limits{}) {
		l = usualLimits
	}
	switch {
	case n <= l.rules:
		return shapeRules
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
	family  address.Family
}

// placement is where a part's sources stand, and how.
type placement struct {
	form
	second bool // under the second of two names: one can be loaded while the other is in use
}

func (p placement) suffix() string {
	if p.second {
		return secondSlot
	}
	return ""
}
