package audit

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// profile is who gets in by one interface: an opening for each address that differs.
type profile struct {
	key      string // equal for equal profiles
	openings []opening
	comments []string // of the rules that let in
	targets  []string // where packets go instead of here
}

// empty reports whether nobody gets in, and nothing is unknown.
func (p *profile) empty() bool { return len(p.openings) == 0 }

// opening is who gets in at some addresses of the host.
type opening struct {
	addresses string // the addresses, "" for all
	at        []netip.Addr
	sources   int // in the pool
	rate      firewall.Rate
	rated     string // the rules that the rate stands for, a line each
	unlimited int    // the sources, in the pool, for which the rules have no rate
	unknown   string // the rules that can't be known, a line each
}

func (o opening) key() string {
	return fmt.Sprint(o.addresses, "|", o.sources, "|", o.rate, "|", o.rated, "|",
		o.unlimited, "|", o.unknown)
}

// of reports whether an opening is at addresses of one family alone.
func (o opening) of(f firewall.Family) bool {
	return len(o.at) > 0 && !slices.ContainsFunc(o.at, func(a netip.Addr) bool {
		return a.Is4() != (f == firewall.IPv4)
	})
}

// profileOf puts the answers of one interface together. The caller holds the pool's lock.
func (s *survey) profileOf(on exposure.Interface, spots []spot) *profile {
	p := &profile{}
	told := map[firewall.Family]int{}
	for _, x := range spots {
		told[x.family]++
		for _, c := range x.said.comments {
			p.comments = appendOnce(p.comments, c)
		}
		for _, t := range x.said.targets {
			p.targets = appendOnce(p.targets, t)
		}
	}
	apart := told[firewall.IPv4] > 1 || told[firewall.IPv6] > 1
	var both said
	for _, x := range spots {
		if apart {
			at := []netip.Addr{x.address}
			if !x.address.IsValid() {
				at = s.addressesBy(on, x.family)
			}
			p.add(at, x.said)
			continue
		}
		var set sources
		set[slot(x.family)] = x.said.sources
		both = both.and(x.said)
		both.number = s.pool.number(s.pool.sets[both.number].union(set))
		free := x.said.free
		if x.said.rate.Count == 0 { // the other family's rate would hold for all of these
			free = x.said.number
		}
		both.free = s.pool.number(s.pool.sets[both.free].union(s.pool.sets[free]))
	}
	if both.rate.Count == 0 {
		both.free = 0
	}
	if !apart {
		p.add(nil, both)
	}
	p.pair(s.pool)
	slices.SortFunc(p.openings, func(a, b opening) int { return cmp.Compare(a.addresses, b.addresses) })
	var key strings.Builder
	for _, o := range p.openings {
		fmt.Fprintf(&key, "%s\n", o.key())
	}
	p.key = key.String()
	return p
}

// and is two answers, of two families, in one service: the slower rate holds for both.
func (a said) and(b said) said {
	if b.rate.Count > 0 && (a.rate.Count == 0 || slower(b.rate, a.rate)) {
		a.rate = b.rate
	}
	for _, r := range b.rated {
		a.rated = appendOnce(a.rated, r)
	}
	for _, u := range b.unknown {
		a.unknown = appendOnce(a.unknown, u)
	}
	return a
}

// add adds an opening, or addresses to one that is the same otherwise.
func (p *profile) add(at []netip.Addr, a said) {
	if a.number == 0 && len(a.unknown) == 0 {
		return
	}
	o := opening{
		sources:   a.number,
		rate:      a.rate,
		rated:     strings.Join(a.rated, "\n"),
		unlimited: a.free,
		unknown:   strings.Join(a.unknown, "\n"),
	}
	for i, x := range p.openings {
		like := x
		like.addresses, like.at = "", nil
		if like.key() == o.key() && at != nil {
			p.openings[i].at = append(x.at, at...)
			p.openings[i].addresses = fmt.Sprint(p.openings[i].at)
			return
		}
	}
	if at != nil {
		o.at = slices.Clone(at)
		o.addresses = fmt.Sprint(o.at)
	}
	p.openings = append(p.openings, o)
}

// pair puts openings of the two families together where one service can say both: packets to an
// address have sources of its family alone.
func (p *profile) pair(pool *pool) {
	for i := 0; i < len(p.openings); i++ {
		for j := i + 1; j < len(p.openings); j++ {
			a, b := p.openings[i], p.openings[j]
			if !a.of(firewall.IPv4) || !b.of(firewall.IPv6) || a.rate != b.rate ||
				a.rated != b.rated || a.unknown != b.unknown {
				continue
			}
			a.at = slices.Concat(a.at, b.at)
			a.addresses = fmt.Sprint(a.at)
			a.sources = pool.number(pool.sets[a.sources].union(pool.sets[b.sources]))
			a.unlimited = pool.number(pool.sets[a.unlimited].union(pool.sets[b.unlimited]))
			p.openings[i] = a
			p.openings = slices.Delete(p.openings, j, j+1)
			break
		}
	}
}
