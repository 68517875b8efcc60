package audit

import (
	"cmp"
	"fmt"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

// Ports that are open although nothing on this host takes their packets.

// servicesWithoutListener finds services that nothing listens for. Neighbouring ports share one row
// and one finding.
func (a *auditor) servicesWithoutListener() {
	if a.Policy == nil {
		return
	}
	for _, svc := range a.Policy.Services {
		for _, part := range svc.ByLease() {
			a.serviceWithoutListener(part)
		}
	}
}

// serviceWithoutListener looks at a service whose leases, if it had any, are part of what it
// allows.
func (a *auditor) serviceWithoutListener(svc firewall.Service) {
	allowed := svc.AllowedAt(a.Now)
	if allowed.Len() == 0 {
		return
	}
	var missing []firewall.PortRange
	for _, r := range svc.Ports {
		// The kernel itself takes tunnels and pings, so they have no socket.
		if !r.Protocol.HasPorts() || a.hasReceiver(r) {
			continue
		}
		n := len(missing) - 1
		if n >= 0 && missing[n].Protocol == r.Protocol && missing[n].Last+1 == r.First &&
			!a.hasLocal(missing[n]) && !a.hasLocal(r) {
			missing[n].Last = r.Last
			continue
		}
		missing = append(missing, r)
	}
	for _, r := range missing {
		a.reportNoListener(svc.Name, r, allowed)
	}
}

func (a *auditor) hasReceiver(r firewall.PortRange) bool {
	for k := range a.present {
		if r.Contains(k.protocol, k.port) {
			return true
		}
	}
	return false
}

// hasLocal reports whether a program listens on the first of some ports for this host only.
func (a *auditor) hasLocal(r firewall.PortRange) bool {
	_, local := a.loopback[portKey{r.Protocol, r.First}]
	return local
}

// reportNoListener adds a row and a finding about ports of a service that nothing listens on.
func (a *auditor) reportNoListener(
	service string,
	r firewall.PortRange,
	allowed address.Set,
) {
	x := Exposure{
		Protocol:  r.Protocol.String(),
		Port:      r.First,
		Service:   service,
		Declared:  true,
		Allowed:   allowed,
		Finding:   OK,
		DecidedBy: []string{},
	}
	if r.Last > r.First {
		x.PortLast = r.Last
	}
	who := "nobody listens there"
	if process, local := a.loopback[portKey{r.Protocol, r.First}]; local {
		who = cmp.Or(process, "somebody") + " listens there for this host alone"
	}
	detail := fmt.Sprintf("the policy opens %s (service %s), and %s", x.name(), service, who)
	a.find(&x, NotListening, address.Set{}, detail)
	a.report.Exposures = append(a.report.Exposures, x)
}
