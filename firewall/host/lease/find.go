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

// Find is the leases that somebody means: the one with this ID, or those that open exactly these
// ports. A lease that also opens other ports is not meant, and the error then names it.
func Find(leases []Lease, word string) ([]Lease, error) {
	if isID(strings.ToLower(word)) {
		for _, l := range leases {
			if l.ID == strings.ToLower(word) {
				return []Lease{l}, nil
			}
		}
		return nil, fmt.Errorf("there is no lease %s: see portgrave leases", strings.ToLower(word))
	}
	ports, err := ParsePorts(word)
	if err != nil {
		return nil, fmt.Errorf("%q is %w", word, ErrNoName)
	}
	var found []Lease
	var partly []string
	overlaps := func(a firewall.PortRange) bool { return slices.ContainsFunc(ports, a.Overlaps) }
	for _, l := range leases {
		switch {
		case slices.Equal(l.Ports, ports):
			found = append(found, l)
		case slices.ContainsFunc(l.Ports, overlaps):
			partly = append(
				partly,
				fmt.Sprintf("%s opens %s", l.ID, strings.Join(l.portNames(), ", ")),
			)
		}
	}
	switch {
	case len(found) > 0:
		return found, nil
	case len(partly) > 0:
		return nil, fmt.Errorf(
			"no lease opens %s alone: %s; close it by its ID",
			word,
			strings.Join(partly, "; "),
		)
	}
	return nil, fmt.Errorf("no lease opens %s: see portgrave leases", word)
}
