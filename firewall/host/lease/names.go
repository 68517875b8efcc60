package lease

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/portgrave/portgrave/firewall"
)

// A split service is called after the service and the first of the ports it took:
// "web.lease-tcp-8443". Neither the lease's number nor its source is in the name, so that another
// lease on the same ports is new elements in the same sets, not new chains. A service of a lease's
// own is "lease-tcp-8080".
const (
	leased  = ".lease"
	ownStem = "lease"
)

// longestStem leaves room, in the 48 characters of firewall.NamePattern, for the longest of what
// follows it: ".lease-sctp-65535", and a number against collisions.
const longestStem = 48 - len(".lease-sctp-65535") - len("-99")

// stem is what the names of a service's parts begin with: its own, or the beginning of a long one
// with a hash that keeps it apart from others that begin alike.
func stem(service string) string {
	if len(service) <= longestStem {
		return service
	}
	sum := sha256.Sum256([]byte(service))
	return service[:longestStem-7] + "-" + hex.EncodeToString(sum[:3])
}

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

// Parent is the service of the policy that a service of Apply's result stands for: itself, or the
// one it was split from; false if it is a lease's own. s is the State without leases. It is for
// showing: owner, purpose, the name people know.
func Parent(s firewall.State, name string) (string, bool) {
	// Services are in the order of their names, and nearly all stand for themselves.
	if _, itself := slices.BinarySearchFunc(s.Services, name, func(svc firewall.Service, name string) int { return strings.Compare(svc.Name, name) }); itself {
		return name, true
	}
	parent, found := "", false
	for _, svc := range s.Services {
		// The longest, should one service be called like a part of another.
		if strings.HasPrefix(name, stem(svc.Name)+leased+"-") && len(svc.Name) > len(parent) {
			parent, found = svc.Name, true
		}
	}
	return parent, found
}
