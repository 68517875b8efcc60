package audit

import (
	"net/netip"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

// declaration is what the policy says about a port.
type declaration struct {
	// governed: the policy decides about the port, because a service lists it or because it refuses
	// unlisted ports.
	governed bool
	service  string // the service that lists it here, or else anywhere; "" if none does
	allowed  address.Set
}

// declared is what the policy says about a port on an interface ("" for any), for packets to some
// of the host's addresses (none: to any). Without a policy that is nothing.
func (a *auditor) declared(
	p firewall.Protocol,
	port uint16,
	iface string,
	addresses []netip.Addr,
) declaration {
	if a.Policy == nil {
		return declaration{}
	}
	if a.index == nil {
		a.index = a.Policy.Index()
	}
	says := a.index.Ask(p, port, iface, addresses...)
	d := declaration{
		governed: says.Listed || says.Unlisted != firewall.Ignored,
		service:  says.First,
	}
	for _, svc := range says.Services {
		if d.allowed.Len() == 0 {
			d.service = svc.Name
		}
		d.allowed = d.allowed.Union(svc.AllowedAt(a.Now))
	}
	return d
}

func (d declaration) equal(o declaration) bool {
	return d.governed == o.governed && d.service == o.service && d.allowed.Equal(o.allowed)
}
