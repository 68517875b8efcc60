package effect

import (
	"slices"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/host"
)

// portsOf tells which ports who reaches them may change; nil: any. A State looks at the port that
// was dialled, so a service matters to its own ports alone.
func portsOf(want host.Wanted) func(firewall.PortRange) bool {
	if want.Before == nil || !want.Held {
		return nil
	}
	before, after := *want.Before, want.State
	before.Services, after.Services = nil, nil
	if !before.Equal(after) {
		return nil
	}
	var ports []firewall.PortRange
	add := func(services, others []firewall.Service) {
		for _, svc := range services {
			if !slices.ContainsFunc(others, svc.Equal) {
				ports = append(ports, svc.Ports...)
			}
		}
	}
	add(want.Before.Services, want.State.Services)
	add(want.State.Services, want.Before.Services)
	return func(r firewall.PortRange) bool {
		return slices.ContainsFunc(ports, func(p firewall.PortRange) bool {
			return p.Protocol == r.Protocol && p.First <= r.Last && r.First <= p.Last
		})
	}
}
