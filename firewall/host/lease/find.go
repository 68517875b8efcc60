package lease

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall"
)

// ErrNoName: a word can't be the name of a lease.
var ErrNoName = errors.New("neither the ID of a lease nor a port: see portgrave leases")

// Find is the leases that somebody means: the one with this ID, or those that open some of these
// ports and no others. A lease that also opens other ports is not meant: it is in staying, or, if
// none is found, the error names it.
func Find(leases []Lease, word string) (found, staying []Lease, err error) {
	if isID(strings.ToLower(word)) {
		for _, l := range leases {
			if l.ID == strings.ToLower(word) {
				return []Lease{l}, nil, nil
			}
		}
		return nil, nil, fmt.Errorf("there is no lease %s: see portgrave leases", strings.ToLower(word))
	}
	ports, err := ParsePorts(word)
	if err != nil {
		return nil, nil, fmt.Errorf("%q is %w", word, ErrNoName)
	}
	overlaps := func(a firewall.PortRange) bool { return slices.ContainsFunc(ports, a.Overlaps) }
	beyond := func(a firewall.PortRange) bool {
		return !slices.ContainsFunc(ports, func(p firewall.PortRange) bool {
			return p.Protocol == a.Protocol && p.First <= a.First && a.Last <= p.Last
		})
	}
	for _, l := range leases {
		switch {
		case !slices.ContainsFunc(l.Ports, beyond):
			found = append(found, l)
		case slices.ContainsFunc(l.Ports, overlaps):
			staying = append(staying, l)
		}
	}
	switch {
	case len(found) > 0:
		return found, staying, nil
	case len(staying) > 0:
		var partly []string
		for _, l := range staying {
			partly = append(partly,
				fmt.Sprintf("%s opens %s", l.ID, strings.Join(l.portNames(), ", ")))
		}
		return nil, nil, fmt.Errorf(
			"no lease opens %s alone: %s; close it by its ID",
			word,
			strings.Join(partly, "; "),
		)
	}
	return nil, nil, fmt.Errorf("no lease opens %s: see portgrave leases", word)
}
