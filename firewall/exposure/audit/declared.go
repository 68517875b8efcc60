package audit

import (
	"net/netip"
	"slices"
	"time"

	"github.com/portgrave/portgrave/firewall"
)

// declaration is what the policy says about a port.
type declaration struct {
	// governed: the policy decides about the port, because a service lists it or because it refuses
	// unlisted ports.
	governed bool
	service  string // the service that lists it here, or else anywhere; "" if none does
	allowed  firewall.Prefixes
}

// declared is what a State says about a port on an interface ("" for any), for packets to some of
// the host's addresses (none: to any). A nil State is a host without policy.
func declared(
	s *firewall.State,
	p firewall.Protocol,
	port uint16,
	iface string,
	addresses []netip.Addr,
	now time.Time,
) declaration {
	if s == nil {
		return declaration{}
	}
	d := declaration{governed: s.Unlisted == firewall.UnlistedDeny}
	for _, svc := range s.Services {
		if !slices.ContainsFunc(
			svc.Ports, func(r firewall.PortRange) bool { return r.Contains(p, port) },
		) {
			continue
		}
		d.governed = true
		here := (iface == "" || svc.OnInterface(iface)) &&
			(len(addresses) == 0 || slices.ContainsFunc(addresses, svc.OnAddress))
		if d.service == "" || here && d.allowed.Len() == 0 {
			d.service = svc.Name
		}
		if here {
			d.allowed = d.allowed.Union(svc.AllowedAt(now))
		}
	}
	return d
}

func (d declaration) equal(o declaration) bool {
	return d.governed == o.governed && d.service == o.service && d.allowed.Equal(o.allowed)
}
