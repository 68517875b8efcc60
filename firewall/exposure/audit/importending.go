package audit

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// Elements of sets that expire let sources in for a time, such as a lease, or bar them. A policy
// that let such a source in would let it in for good.

// EndingSource is a source that gets in only until an element of a set expires.
type EndingSource struct {
	Source netip.Prefix
	// Everyone: every source of both families gets in.
	Everyone bool
	// Until is when it no longer gets in; zero if that isn't known.
	Until time.Time
	// Set is the name of the set whose element then expires; "" if it has none, isn't known or is
	// Portgrave's.
	Set string
	// Ours: a set of Portgrave's has the element, for a lease or an expiring entry of the policy.
	Ours bool
	// Lease is the lease that lets it in, for people; "" if there is none.
	Lease string
}

// String says why the source is omitted, and how to allow it, for people.
func (e EndingSource) String() string {
	by := ""
	if e.Set != "" {
		by = " by set " + e.Set
	}
	source, entry := e.Name(), e.Name()
	if !e.Everyone {
		entry = strconv.Quote(entry)
	}
	until := e.Until.UTC().Round(time.Second).Format(time.RFC3339)
	switch {
	case e.Lease != "":
		return fmt.Sprintf(
			"left out, since %s gets in until %s by lease %s: apply keeps leases",
			source,
			until,
			e.Lease,
		)
	case e.Until.IsZero():
		return fmt.Sprintf("left out, since %s gets in%s only for a time", source, by)
	}
	return fmt.Sprintf("left out, since %s gets in%s only until %s: to allow it until then, write "+
		"{cidr: %s, expires: %q}", source, by, until, entry, until)
}

// Name is the source in a policy's words: "any", an address or a CIDR.
func (e EndingSource) Name() string {
	switch {
	case e.Everyone:
		return "any"
	case e.Source.IsSingleIP():
		return e.Source.Addr().String()
	}
	return e.Source.String()
}

// maxEnding bounds the sources that are named one by one.
const maxEnding = 16

// endingOf names sources that get in for a time, and says how many more there are.
func (s *survey) endingOf(list []ending) (out []EndingSource, more string) {
	left := 0
	for _, e := range list {
		if e.rest {
			left += e.sources.networks()
			continue
		}
		prefixes := s.offered(e)
		one := EndingSource{Until: e.until, Set: e.set, Ours: e.ours}
		if prefixes.Equal(everyone) {
			prefixes, one.Everyone = prefixes.Of(address.IPv4), true
		}
		for one.Source = range prefixes.All() {
			out = append(out, one)
		}
	}
	slices.SortStableFunc(out, func(a, b EndingSource) int {
		return cmp.Or(a.Source.Addr().Compare(b.Source.Addr()),
			cmp.Compare(a.Source.Bits(), b.Source.Bits()))
	})
	if len(out) > maxEnding {
		left += len(out) - maxEnding
		out = out[:maxEnding]
	}
	if left > 0 {
		more = fmt.Sprintf("left out, since %d more networks get in only for a time", left)
	}
	return out, more
}

// everyone is every source.
var everyone = address.Must("0.0.0.0/0", "::/0")

// offered converts sources to prefixes. It fills gaps that no packet from outside can come from,
// but is never wider than the elements that let the sources in.
func (s *survey) offered(e ending) address.Set {
	filled := s.pool.simplestPrefixes(s.pool.number(e.sources))
	if e.within.empty() {
		return filled
	}
	var all sources
	for _, f := range address.Families {
		n := slot(f)
		all[n] = e.sources[n].Union(exposure.SourcesOf(filled, f).Intersect(e.within[n]))
	}
	return all.prefixes()
}
