package audit

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// profile is what one interface lets in: an opening for each address that differs.
type profile struct {
	key      string // equal for equal profiles
	openings []opening
	comments []string // of the rules that let packets in
	targets  []string // where packets go instead of here
}

// empty reports whether no source gets in and nothing is unknown.
func (p *profile) empty() bool { return len(p.openings) == 0 }

// opening is the sources that get in at some addresses of the host.
type opening struct {
	addresses string // the addresses, "" for all
	at        []netip.Addr
	sources   int // in the pool
	rate      firewall.Rate
	rated     string // the rules that the rate replaces, a line each
	unlimited int    // the sources that the rules don't limit, in the pool
	withheld  int    // the sources that may get in or not and are omitted, in the pool
	ending    int    // the sources that get in for a time and are omitted, in the pool's endings
	unknown   string // the rules that can't be decided, a line each
}

func (o opening) key() string {
	return fmt.Sprint(o.addresses, "|", o.sources, "|", o.rate, "|", o.rated, "|",
		o.unlimited, "|", o.withheld, "|", o.ending, "|", o.unknown)
}

// of reports whether an opening is at addresses of one family only.
func (o opening) of(f address.Family) bool {
	return len(o.at) > 0 && !slices.ContainsFunc(o.at, func(a netip.Addr) bool {
		return a.Is4() != (f == address.IPv4)
	})
}

// profileOf joins the answers of one interface. The caller holds the pool's lock.
func (s *survey) profileOf(on exposure.Interface, spots []addressAnswer) *profile {
	p := &profile{}
	for _, x := range spots {
		for _, c := range x.admission.comments {
			p.comments = appendOnce(p.comments, c)
		}
		for _, t := range x.admission.targets {
			p.targets = appendOnce(p.targets, t)
		}
	}
	apart := areApart(spots)
	var both admission
	for _, x := range spots {
		if apart {
			at := []netip.Addr{x.address}
			if !x.address.IsValid() {
				at = slices.Concat(s.addressesBy(on, x.family), x.also)
			}
			p.add(at, x.admission)
			continue
		}
		var set sources
		set[slot(x.family)] = x.admission.sources
		both = both.and(x.admission)
		both.number = s.pool.number(s.pool.sets[both.number].union(set))
		free := x.admission.unlimitedNumber
		if x.admission.rate.Count == 0 { // the other family's rate would limit all of these
			free = x.admission.number
		}
		both.unlimitedNumber = s.pool.union(both.unlimitedNumber, free)
		both.withheldNumber = s.pool.union(both.withheldNumber, x.admission.withheldNumber)
		both.endingNumber = s.pool.unionEndings(both.endingNumber, x.admission.endingNumber)
	}
	if both.rate.Count == 0 {
		both.unlimitedNumber = 0
	}
	if !apart {
		p.add(nil, both)
	}
	p.pair(s.pool)
	slices.SortFunc(
		p.openings, func(a, b opening) int { return cmp.Compare(a.addresses, b.addresses) },
	)
	var key strings.Builder
	for _, o := range p.openings {
		fmt.Fprintf(&key, "%s\n", o.key())
	}
	p.key = key.String()
	return p
}

// and joins the answers of two families in one service: the slower rate holds for both.
func (a admission) and(b admission) admission {
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

// add adds an opening, or adds its addresses to one that is otherwise equal.
func (p *profile) add(at []netip.Addr, a admission) {
	if a.number == 0 && len(a.unknown) == 0 && a.endingNumber == 0 {
		return
	}
	o := opening{
		sources:   a.number,
		rate:      a.rate,
		rated:     strings.Join(a.rated, "\n"),
		unlimited: a.unlimitedNumber,
		withheld:  a.withheldNumber,
		ending:    a.endingNumber,
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

// pair joins openings of the two families if one service can express both: packets to an address
// have sources of its family only.
func (p *profile) pair(pool *pool) {
	for i := 0; i < len(p.openings); i++ {
		for j := i + 1; j < len(p.openings); j++ {
			a, b := p.openings[i], p.openings[j]
			if !a.of(address.IPv4) || !b.of(address.IPv6) || a.rate != b.rate ||
				a.rated != b.rated || a.unknown != b.unknown {
				continue
			}
			a.at = slices.Concat(a.at, b.at)
			a.addresses = fmt.Sprint(a.at)
			a.sources = pool.union(a.sources, b.sources)
			a.unlimited = pool.union(a.unlimited, b.unlimited)
			a.withheld = pool.union(a.withheld, b.withheld)
			a.ending = pool.unionEndings(a.ending, b.ending)
			p.openings[i] = a
			p.openings = slices.Delete(p.openings, j, j+1)
			break
		}
	}
}
