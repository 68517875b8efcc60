package policy

import "github.com/portgrave/portgrave/firewall"

// Outline is the part of a policy that can be read despite mistakes: enough to close its ports if
// nothing else can be used.
type Outline struct {
	// Open is true if the policy clearly says boot: open.
	Open bool
	// Unlisted is also deny if its value is not valid.
	Unlisted firewall.Unlisted
	// Ports lists the ports of services.
	Ports []firewall.PortRange
	// Complete is true if the policy has no other ports.
	Complete bool
}

// ReadOutline reads the outline of a policy. It never fails: if a part can't be read, the outline
// lacks it and is not Complete.
func ReadOutline(opts Options) Outline {
	d, _, err := decode(opts)
	if err != nil {
		return Outline{Unlisted: firewall.UnlistedIgnore}
	}
	p := d.policy
	o := Outline{
		Open:     p.Boot == "open",
		Unlisted: p.unlisted,
		Complete: !d.incomplete && !d.portsUncertain,
	}
	if o.Unlisted != firewall.UnlistedIgnore {
		o.Unlisted = firewall.UnlistedDeny
	}
	for _, s := range p.services {
		o.Ports = append(o.Ports, s.enforced.Ports...)
	}
	return o
}
