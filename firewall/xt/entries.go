package xt

import (
	"slices"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/pipeline"
)

// asking is the compiler for chains that ask for that destination: see compiler.original.
func (c *compiler) asking(original bool) *compiler {
	asking := *c
	asking.original = original
	return &asking
}

// entry is the chain that a piece's packets go to; it makes the chain if conditions need one. Those
// of DNATed connections are judged by the original destination: xtables can't ask for both in one
// rule. Where no address counts, one chain serves both.
func (c *compiler) entry(p firewall.PortPiece, original bool) string {
	hasAddresses := func(s firewall.Service) bool { return s.Addresses.Len() > 0 }
	c = c.asking(original && slices.ContainsFunc(p.Services, hasAddresses))
	name, first := pipeline.Entry(p), p.Services[0].Name
	if name.Role != pipeline.Service {
		var rules []pipeline.Rule
		for _, svc := range p.Services {
			rules = append(rules, pipeline.Places(svc)...)
		}
		// What fits no service's conditions is refused in the name of the first.
		rules = append(rules, pipeline.If().Goto(pipeline.Of(pipeline.Refuse, first)))
		c.draw(pipeline.Chain{Name: name, Rules: rules}, first)
	}
	return c.name(name)
}

// named is the chain that a piece's packets to virtual IPs go to when they come from the host's own
// workloads: the services decide only if one of them names the address. "" if none names any.
func (c *compiler) named(p firewall.PortPiece, original bool) string {
	c = c.asking(original)
	var rules []rule
	for _, svc := range p.Services {
		dialled := pipeline.If(pipeline.DialledAt(svc))
		if svc.Addresses.Has(c.family) {
			rules = append(rules, c.render(dialled.Goto(pipeline.Text(c.entry(p, original))))...)
		}
	}
	if len(rules) == 0 {
		return ""
	}
	name := namedChain(p.Ports, original)
	c.chain(name, p.Services[0].Name, rules...)
	return name
}
