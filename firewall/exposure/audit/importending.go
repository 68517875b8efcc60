package audit

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// Elements of sets that expire let sources in for a time, such as a lease, or bar them. A policy
// that let such a source in would let it in for good.

// EndingSource is a source that gets in only until an element of a set expires.
type EndingSource struct {
	Source netip.Prefix
	// Until is when the last element that may let it in expires.
	Until time.Time
	// Set is the name of that element's set; "" if it has none or is Portgrave's.
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
	source := e.Source.String()
	if e.Source.IsSingleIP() {
		source = e.Source.Addr().String()
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
		"{cidr: %q, expires: %q}", source, by, until, source, until)
}

// maxEnding bounds the sources that are named one by one.
const maxEnding = 16

// endingOf names sources that get in for a time, and the elements that may let them in.
func (s *survey) endingOf(set sources) (out []EndingSource) {
	for _, f := range address.Families {
		for p := range set[slot(f)].Prefixes(f).All() {
			if len(out) == maxEnding {
				return out
			}
			out = append(out, s.endOf(p, f))
		}
	}
	return out
}

// endOf finds the element that lets a source in for the longest time.
func (s *survey) endOf(p netip.Prefix, f address.Family) EndingSource {
	out := EndingSource{Source: p}
	one, _ := address.New(p) // from a set, so it is valid
	at := exposure.SourcesOf(one, f)
	seen := map[*exposure.Set]bool{}
	for _, t := range s.Rules.Tables {
		for _, c := range t.Chains {
			for _, r := range c.Rules {
				for _, st := range r.Statements {
					m, ok := st.(exposure.Match)
					if !ok || m.In == nil || len(m.In.Notes) == 0 || seen[m.In] || m.Not {
						continue
					}
					seen[m.In] = true
					column := slices.IndexFunc(m.Key, func(o exposure.Operand) bool {
						return o == exposure.Of(exposure.FieldSource4) && f == address.IPv4 ||
							o == exposure.Of(exposure.FieldSource6) && f == address.IPv6
					})
					if column < 0 {
						continue
					}
					for i, note := range m.In.Notes {
						if box := m.In.Element(i); note.Expires.After(out.Until) &&
							column < len(box) && at.Touches(box[column]) {
							out.Until, out.Ours = note.Expires, c.Owner() == "portgrave"
							if out.Set = m.In.Name; out.Ours {
								out.Set = ""
							}
						}
					}
				}
			}
		}
	}
	return out
}
