package lease

import (
	"fmt"
	"strconv"

	"github.com/portgrave/portgrave/firewall"
)

// ownStem begins the name of what a lease opens by itself: "lease-tcp-8080". Neither the lease's
// number nor its source is in the name, so that another lease on the same ports is new elements in
// the same sets, not new chains.
const ownStem = "lease"

// names are those in use.
type names map[string]bool

func namesOf(services []firewall.Service) names {
	n := names{}
	for _, svc := range services {
		n[svc.Name] = true
	}
	return n
}

// take makes a name from a beginning and the first of some ports, and numbers it if the policy uses
// that name.
func (n names) take(begin string, first firewall.PortRange) string {
	plain := fmt.Sprintf("%s-%s-%d", begin, first.Protocol, first.First)
	name := plain
	for i := 2; n[name]; i++ {
		name = plain + "-" + strconv.Itoa(i)
	}
	n[name] = true
	return name
}
