package policy

import "github.com/portgrave/portgrave/firewall"

// ReadOutline reads the outline of a policy. It never fails: if a part can't be read, the outline
// lacks it and is not Complete.
func ReadOutline(opts Options) firewall.Outline {
	d, _, err := decode(opts)
	if err != nil {
		return firewall.Outline{Unlisted: firewall.UnlistedIgnore}
	}
	p := d.policy
	o := firewall.Outline{
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
