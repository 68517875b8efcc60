package audit

import (
	"net/netip"

	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// sources are sets of addresses, one for each family, as ranges: one range may take hundreds of
// prefixes.
type sources [2]exposure.Ranges

func slot(f address.Family) int {
	if f == address.IPv6 {
		return 1
	}
	return 0
}

// sourcesOf are the addresses of prefixes, of some families.
func sourcesOf(p address.Set, families ...address.Family) (s sources) {
	for _, f := range families {
		s[slot(f)] = exposure.SourcesOf(p, f)
	}
	return s
}

func (s sources) union(o sources) sources {
	return sources{s[0].Union(o[0]), s[1].Union(o[1])}
}

func (s sources) minus(o sources) sources {
	return sources{s[0].Minus(o[0]), s[1].Minus(o[1])}
}

func (s sources) intersect(o sources) sources {
	return sources{s[0].Intersect(o[0]), s[1].Intersect(o[1])}
}

func (s sources) empty() bool { return s[0].Empty() && s[1].Empty() }

func (s sources) equal(o sources) bool { return s[0].Equal(o[0]) && s[1].Equal(o[1]) }

func (s sources) prefixes() address.Set {
	return s[0].Prefixes(address.IPv4).Union(s[1].Prefixes(address.IPv6))
}

// networks counts the prefixes of the sources.
func (s sources) networks() int { return s.prefixes().Len() }

// simplest converts the sources to prefixes. It includes sources that no client can have where that
// takes fewer prefixes, so that a report doesn't list 127.0.0.0/8 as an exception.
func (s sources) simplest(nowhere sources) address.Set {
	var out address.Set
	for _, f := range address.Families {
		set := s[slot(f)]
		if set.Empty() {
			continue
		}
		plain := set.Prefixes(f)
		// Compare ranges first, as prefixes are costly to make.
		if filled := fill(set, nowhere[slot(f)], f); filled.Len() < set.Len() {
			if p := filled.Prefixes(f); p.Len() < plain.Len() {
				plain = p
			}
		}
		if out.Len() == 0 {
			out = plain
		} else {
			out = out.Union(plain)
		}
	}
	return out
}

// maxGapSearch is the most ranges of a set whose gaps are looked at one by one.
const maxGapSearch = 1024

// fill adds the gaps in a set that no client can have. A gap that clients have too, such as a
// network around the host's own address, would only become several.
func fill(set, nowhere exposure.Ranges, f address.Family) exposure.Ranges {
	if set.Len() > maxGapSearch {
		return set.Union(nowhere)
	}
	var gaps []exposure.Range
	for gap := range exposure.AllSources(f).Minus(set).All() {
		if exposure.NewRanges(gap).Minus(nowhere).Empty() {
			gaps = append(gaps, gap)
		}
	}
	return set.Union(exposure.NewRanges(gaps...))
}

// martians are sources that the kernel doesn't accept from the wire (net/ipv4/route.c,
// ip_route_input_slow; net/ipv6/ip6_input.c, which drops IPv4-mapped ones too).
func martians() sources {
	s := sourcesOf(
		address.Must(
			"0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/4", "255.255.255.255/32", "::/128", "::1/128",
			"ff00::/8",
		),
		address.Families...)
	prefix := func(p string) exposure.Ranges {
		return exposure.NewRanges(exposure.Prefix(netip.MustParsePrefix(p)))
	}
	// Link-local addresses have zeros behind the first ten bits (RFC 4291 §2.5.6).
	reserved := prefix("fe80::/10").Minus(prefix("fe80::/64"))
	s[1] = s[1].Union(prefix("::ffff:0:0/96")).Union(reserved)
	return s
}
