package nft

import (
	"slices"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/pipeline"
	"golang.org/x/sys/unix"
)

// compile is the ruleset that enforces a State at a moment: a pure function. Sources that have
// expired by then are left out; their set and rule stay, so that an end that comes by itself is no
// drift.
func compile(s firewall.State, now time.Time, use layout) *ruleset {
	c := compiler{ruleset: newRuleset(), state: s, use: use}
	c.portPieces = firewall.PortPieces(s.Services)
	c.ruleset.present, c.ruleset.mark, c.ruleset.readAt = true, tableMark, now
	c.virtualSets()
	for _, svc := range c.state.Services {
		c.service(svc)
	}
	c.ports()
	c.base()
	if c.denies() {
		c.unlisted()
	}
	return c.ruleset
}

type compiler struct {
	*ruleset
	state firewall.State
	use   layout
	// portPieces are the ranges of ports and the services that claim them.
	portPieces []firewall.PortPiece
}

func (c *compiler) chain(name, service string, rules ...rule) {
	c.chains[name] = &chain{name: name, is: parseName(name), service: service, rules: rules}
}

func (c *compiler) set(name string, s *set) {
	s.name, s.is = name, parseName(name)
	c.sets[name] = s
}

func (c *compiler) service(svc firewall.Service) {
	var sources []rule
	simple := isSimple(svc)
	for _, f := range address.Families {
		at := c.use.parts[part{svc.Name, f}]
		at.form = c.use.limits.formOf(svc.Sources, f, at.form)
		if at.shape == shapeRules {
			sources = append(sources, sourceRules(svc, f)...)
		}
		for _, s := range smallSets(svc, f, at.shape, c.readAt) {
			c.set(sourceSetName(svc.Name, s.kind, f, c.use.second[svc.Name]), s)
			sources = append(sources, letIn(newRule().saddrIn(f, s.name), svc.Name, f, simple))
		}
		if at.large() {
			pieces := c.use.pieces(svc, f, at.form)
			c.ruleset.large[part{svc.Name, f}] = largePart{svc, at, pieces}
			sources = append(sources, c.place(svc, f, at, pieces))
		}
		c.counters[counterName(serviceChain(svc.Name), "allowed", f)] = counter{}
	}
	sources = append(c.arrival(svc), sources...)
	c.chain(
		serviceChain(svc.Name),
		svc.Name,
		append(sources, newRule().gotoChain(refuseChain(svc.Name)))...)
	if !simple {
		c.draw(pipeline.AllowChain(svc), svc.Name)
	}
	for _, l := range svc.Leases {
		c.lease(svc, l)
	}
	c.draw(pipeline.Refusal(svc, c.state.Refuse), svc.Name)
	for _, f := range address.Families {
		if svc.Addresses.Has(f) {
			s := addressesOf(svc.Addresses, f)
			s.family, s.spec = f, specOf(s.kind, f)
			c.set(addressSet(svc.Name, f), s)
		}
	}
}

// arrival is what a chain of a service's sources begins with if the ports lead there directly.
func (c *compiler) arrival(svc firewall.Service) []rule {
	if !pipeline.IsEverywhere(svc) {
		return nil
	}
	return append(c.render(pipeline.If().Jump(exempt)), c.pastServices()...)
}

// lease makes the chain of a lease, to which its ports lead in place of the service's: its sources
// are let in as the service's are, and all others go on there.
func (c *compiler) lease(svc firewall.Service, l firewall.Lease) {
	name, rules := chainName(pipeline.Leased(svc.Name, l)), c.arrival(svc)
	for _, f := range address.Families {
		if s, any := expiringSet(l, f, c.readAt); any {
			c.set(leaseSet(name, f, c.use.second[svc.Name]), s)
			rules = append(rules, letIn(newRule().saddrIn(f, s.name), svc.Name, f, isSimple(svc)))
		}
	}
	c.chain(name, svc.Name, append(rules, newRule().gotoChain(serviceChain(svc.Name)))...)
}

// ports fills the verdict maps: each listed protocol and port to the chain that decides.
func (c *compiler) ports() {
	for _, piece := range c.portPieces {
		if !piece.Ports.Protocol.HasPorts() {
			continue
		}
		name := portsMap(piece.Ports.Protocol)
		if c.sets[name] == nil {
			c.set(
				name,
				&set{kind: kindPorts, spec: specOf(kindPorts, 0), verdicts: map[uint32]verdict{}},
			)
		}
		target := verdict{Code: unix.NFT_GOTO, Chain: chainName(c.entry(piece))}
		verdicts := c.sets[name].verdicts
		for port := uint32(piece.Ports.First); port <= uint32(piece.Ports.Last); port++ {
			verdicts[portKey(piece.Ports.Protocol, uint16(port))] = target
		}
	}
}

// entry is the chain that a piece's packets go to; it makes the chain if conditions need one.
func (c *compiler) entry(p firewall.PortPiece) pipeline.Name {
	name := pipeline.Entry(p)
	if name.Role != pipeline.Service {
		c.choose(chainName(name), p.Services)
	}
	return name
}

// choose makes the chain that chooses among services by address and interface. A service that names
// a virtual address decides about it even if a workload asks for it. What fits no service's
// conditions is refused in the name of the first.
func (c *compiler) choose(name string, services []firewall.Service) {
	rules := c.render(pipeline.If().Jump(exempt))
	first := services[0].Name
	rest := []rule{}
	for _, svc := range services {
		if svc.Addresses.Len() > 0 {
			rules = append(rules, c.render(pipeline.Places(svc)...)...)
		} else {
			rest = append(rest, c.render(pipeline.Places(svc)...)...)
		}
	}
	rest = append(rest, newRule().gotoChain(refuseChain(first)))
	// Packets to an address that is named, by an interface that is not, are none of virtual's.
	named := name + "/named"
	for _, svc := range services {
		for _, f := range address.Families {
			if len(svc.Interfaces) == 0 || !svc.Addresses.Has(f) {
				continue
			}
			set := addressSet(svc.Name, f)
			rules = append(rules, newRule().translated().originalDaddrIn(f, set).gotoChain(named))
			if len(c.state.VirtualIn(f)) > 0 {
				rules = append(rules, newRule().servedByIPVS(f).at(f, set).gotoChain(named))
			}
			c.chain(named, first, rest...)
		}
	}
	c.chain(name, first, slices.Concat(rules, c.pastServices(), rest)...)
}
