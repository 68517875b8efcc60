package policy

import "github.com/portgrave/portgrave/firewall"

// Outline is what can be made out of a policy whatever mistakes it has: enough to close its ports when it can't be used otherwise.
type Outline struct {
	// Open: the policy says clearly that a boot which can load nothing leaves everything open.
	Open bool
	// Unlisted is deny too if it can't be made out.
	Unlisted firewall.Unlisted
	// Ports that services list.
	Ports []firewall.PortRange
	// Complete: there are no others.
	Complete bool
}

// ReadOutline reads the outline of a policy. It knows no failure: what can't be read is not in it, and then it is not Complete.
func ReadOutline(opts Options) Outline {
	d, _, err := decode(opts)
	if err != nil {
		return Outline{Unlisted: firewall.UnlistedIgnore}
	}
	p := d.policy
	o := Outline{Open: p.Boot == "open", Unlisted: p.unlisted, Complete: !d.incomplete && !d.vague}
	if o.Unlisted != firewall.UnlistedIgnore {
		o.Unlisted = firewall.UnlistedDeny
	}
	for _, s := range p.services {
		o.Ports = append(o.Ports, s.enforced.Ports...)
	}
	return o
}
