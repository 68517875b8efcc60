package audit

import (
	"fmt"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// pool numbers sets of sources, so that equal sets are stored once and compared by number. Lists
// have tens of thousands of addresses, and many ports share one list. Number 0 is the empty set.
type pool struct {
	unroutable sources
	sets       []sources
	prefixes   map[int]address.Set
	at         map[fingerprint][]int
	endings    [][]ending
	endingAt   map[string]int
}

// fingerprint distinguishes most sets.
type fingerprint struct {
	n4, n6      int
	first, last exposure.Range
}

func newPool() *pool {
	return &pool{
		sets:     []sources{{}},
		prefixes: map[int]address.Set{},
		at:       map[fingerprint][]int{{}: {0}},
		endings:  [][]ending{nil},
		endingAt: map[string]int{"": 0},
	}
}

func fingerprintOf(s sources) (p fingerprint) {
	p.n4, p.n6 = s[0].Len(), s[1].Len()
	for _, x := range s {
		if n := x.Len(); n > 0 {
			if p.first == (exposure.Range{}) {
				p.first = x.At(0)
			}
			p.last = x.At(n - 1)
		}
	}
	return p
}

// number returns a set's number.
func (p *pool) number(s sources) int {
	k := fingerprintOf(s)
	for _, n := range p.at[k] {
		if p.sets[n].equal(s) {
			return n
		}
	}
	n := len(p.sets)
	p.sets, p.at[k] = append(p.sets, s), append(p.at[k], n)
	return n
}

// union returns the number of the union of two sets.
func (p *pool) union(a, b int) int { return p.number(p.sets[a].union(p.sets[b])) }

// numberEndings returns the number of a list of sources that get in for a time.
func (p *pool) numberEndings(list []ending) int {
	var lines []string
	for _, e := range list {
		lines = append(lines, fmt.Sprintln(e.set, e.ours, e.rest, e.until.UnixNano(),
			p.number(e.sources), p.number(e.within)))
	}
	slices.Sort(lines)
	key := strings.Join(lines, "")
	n, known := p.endingAt[key]
	if !known {
		n = len(p.endings)
		p.endings, p.endingAt[key] = append(p.endings, list), n
	}
	return n
}

// unionEndings returns the number of two lists joined.
func (p *pool) unionEndings(a, b int) int {
	return p.numberEndings(joinEndings(p.endings[a], p.endings[b]...))
}

// Bounds on the sets whose gaps are filled: with counting prefixes, and without.
const (
	maxCounted = 500
	maxFilled  = 100_000
)

// simplestPrefixes converts a set to prefixes. It fills gaps that no packet from outside can come
// from, if the result is shorter.
func (p *pool) simplestPrefixes(n int) address.Set {
	if w, ok := p.prefixes[n]; ok {
		return w
	}
	s := p.sets[n]
	var gaps sources
	for i, set := range s {
		if set.Empty() || set.Len() > maxFilled {
			continue
		}
		var fit []exposure.Range
		f := address.Families[i]
		ends := exposure.Full(f.Bits())
		count := func(x exposure.Ranges) int {
			if set.Len() > maxCounted {
				return 0
			}
			return x.Prefixes(f).Len()
		}
		filled, least := set, count(set)
		for r := range p.unroutable[i].Minus(set).All() {
			with := filled.Union(exposure.NewRanges(r))
			n := count(with)
			more := with.Len() - filled.Len()
			if n < least || more < 0 || more == 0 && (r.From == ends.From || r.To == ends.To) {
				fit, filled, least = append(fit, r), with, n
			}
		}
		gaps[i] = exposure.NewRanges(fit...)
	}
	w := s.union(gaps).prefixes()
	p.prefixes[n] = w
	return w
}
