package xt

import (
	"slices"

	"github.com/portgrave/portgrave/firewall"
)

// entry is the chain that a piece's packets go to; it makes the chain if conditions need one. Those
// of DNATed connections are judged by the original destination.
func (c *compiler) entry(p firewall.PortPiece, original bool) string {
	first, alone := p.Services[0], len(p.Services) == 1
	if alone && len(first.Interfaces) == 0 && first.Addresses.Len() == 0 {
		return sourceChain(first.Name)
	}
	// Where no address counts, one chain serves both.
	hasAddresses := func(s firewall.Service) bool { return s.Addresses.Len() > 0 }
	original = original && slices.ContainsFunc(p.Services, hasAddresses)
	name := sharedChain(p.Ports, original)
	if alone {
		name = whereChain(first.Name, original)
	}
	var rules []rule
	for _, svc := range p.Services {
		rules = append(rules, c.conditions(svc, original)...)
	}
	// What fits no service's conditions is refused in the name of the first.
	c.chain(name, first.Name, append(rules, args("-g", refuseChain(first.Name)))...)
	return name
}

// conditions are the rules that let a packet in to the service's sources if its interface and
// address are the service's.
func (c *compiler) conditions(svc firewall.Service, original bool) []rule {
	interfaces := [][]string{nil}
	if len(svc.Interfaces) > 0 {
		interfaces = nil
		for _, name := range svc.Interfaces {
			interfaces = append(interfaces, []string{"-i", interfaceWord(name)})
		}
	}
	addresses := [][]string{nil}
	if svc.Addresses.Len() > 0 {
		addresses = nil
		for p := range svc.Addresses.Family(c.family) {
			if original {
				addresses = append(addresses, originalAddress(p))
			} else {
				addresses = append(addresses, []string{"-d", p.String()})
			}
		}
	}
	var rules []rule
	for _, i := range interfaces {
		for _, d := range addresses {
			rules = append(rules, args(slices.Concat(i, d, []string{"-g", sourceChain(svc.Name)})...))
		}
	}
	return rules
}

func originalAddress(p firewall.Prefix) []string {
	return []string{"-m", "conntrack", "--ctorigdst", p.String()}
}

// named is the chain that a piece's packets to virtual IPs go to when they come from the host's own
// workloads: the services decide only if one of them names the address. "" if none names any.
func (c *compiler) named(p firewall.PortPiece, original bool) string {
	var rules []rule
	for _, svc := range p.Services {
		for a := range svc.Addresses.Family(c.family) {
			to := []string{"-d", a.String()}
			if original {
				to = originalAddress(a)
			}
			rules = append(rules, args(append(to, "-g", c.entry(p, original))...))
		}
	}
	if len(rules) == 0 {
		return ""
	}
	name := namedChain(p.Ports, original)
	c.chain(name, p.Services[0].Name, rules...)
	return name
}
