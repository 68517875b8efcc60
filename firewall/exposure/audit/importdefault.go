package audit

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// findDefaults finds the profile of most ports by each interface. If ports were sampled, one closed
// sample makes the default closed.
func (s *survey) findDefaults() {
	s.defaults = map[place]*profile{}
	type candidate struct {
		place
		key string
	}
	weights := map[candidate]int{}
	closed := map[place]bool{}
	for _, x := range s.subjects {
		for i, p := range x.profiles {
			at := x.place(i)
			c := candidate{at, p.key}
			weights[c] += x.weight()
			best := s.defaults[at]
			closed[at] = closed[at] || x.sampled && p.empty()
			if best == nil || closed[at] && p.empty() ||
				!closed[at] && weights[c] > weights[candidate{at, best.key}] {
				s.defaults[at] = p
			}
		}
	}
}

// usual reports whether a subject has the default profile of an interface.
func (s *survey) usual(x *subject, iface int) bool {
	return x.profiles[iface].key == s.defaults[x.place(iface)].key
}

// refusing reports whether most ports are closed to most of the world by some interface to the
// outside, and names the interfaces by which they are open, for people: "over ipv6 by eth0".
// Families count if the host has an address beyond link-local ones.
func (s *survey) refusing() (closed bool, open []string) {
	outside := s.outside()
	for _, f := range address.Families {
		var by []string
		refused := false
		for i, on := range s.interfaces {
			p := s.defaults[place{firewall.TCP, i}]
			leads := len(outside) == 0 ||
				slices.ContainsFunc(outside, func(o exposure.Interface) bool {
					return o.Name == on.Name
				})
			if p == nil || !leads || !s.hasFamily(f) {
				continue
			}
			var in sources
			for _, o := range p.openings {
				in = in.union(s.pool.sets[o.sources])
			}
			if coversMost(in[slot(f)], f) {
				by = append(by, on.Name)
			} else {
				refused = true
			}
		}
		closed = closed || refused
		switch {
		case len(by) == 0:
		case refused:
			open = append(open, fmt.Sprintf("over %s by %s", f, strings.Join(by, ", ")))
		default:
			open = append(open, fmt.Sprintf("over %s", f))
		}
	}
	return closed, open
}

// refusal is how the rules refuse most ports.
func (s *survey) refusal() firewall.Refuse {
	if s.rejected > s.dropped {
		return firewall.RefuseReject
	}
	return firewall.RefuseDrop
}

// mixed reports whether rules other than Portgrave's reject some packets and drop others.
func (s *survey) mixed() bool { return s.rejects && s.drops }

// hasFamily reports whether the host has an address of a family, beyond link-local ones.
func (s *survey) hasFamily(f address.Family) bool {
	return slices.ContainsFunc(s.addresses[f], func(a netip.Addr) bool {
		return !a.IsLinkLocalUnicast()
	})
}

// coversMost reports whether a set has more than half of the publicly routed addresses.
func coversMost(set exposure.Ranges, f address.Family) bool {
	return share(set, f) > 0.5
}

// public are the publicly routed addresses.
var public = address.Must("0.0.0.0/1", "128.0.0.0/2", "192.0.0.0/3", "2000::/3")

// share is a set's share of the public addresses, from 0 to 1.
func share(set exposure.Ranges, f address.Family) float64 {
	size := func(s exposure.Ranges) (n float64) {
		for r := range s.All() {
			n += magnitude(r.To) - magnitude(r.From) + 1
		}
		return n
	}
	all := exposure.SourcesOf(public, f)
	return size(set.Intersect(all)) / size(all)
}

// magnitude is a value as a number, rounded.
func magnitude(v exposure.Value) float64 {
	b := v.IPv6().As16()
	return float64(binary.BigEndian.Uint64(b[:8]))*(1<<64) + float64(binary.BigEndian.Uint64(b[8:]))
}
