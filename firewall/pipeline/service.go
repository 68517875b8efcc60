package pipeline

import "github.com/portgrave/portgrave/firewall"

// Entry is the chain to which packets for some ports go: to the service's sources if it is open
// everywhere, and else to the conditions of those that share the ports.
func Entry(p firewall.PortPiece) Name {
	first := p.Services[0]
	switch {
	case len(p.Services) > 1:
		return Name{Role: Shared, Ports: p.Ports}
	case IsEverywhere(first):
		return Sources(first)
	}
	where := Sources(first)
	where.Role = Where
	return where
}

// Sources is the chain of those who may reach some ports of a service, of whose leases it has at
// most the one that opens the ports: the lease's sources then come first.
func Sources(svc firewall.Service) Name {
	if len(svc.Leases) > 0 {
		return Leased(svc.Name, svc.Leases[0])
	}
	return Of(Service, svc.Name)
}

// Leased is the chain of a lease's sources. Its name depends on the first of the ports alone, so
// another lease on the same ports changes elements of the same sets.
func Leased(service string, l firewall.Lease) Name {
	n := Of(Service, service)
	n.Ports = l.Ports[0]
	n.Ports.Last = n.Ports.First
	return n
}

// OfLease reports whether a chain is there for a lease alone.
func (n Name) OfLease() bool { return n.Role != Shared && n.Ports != firewall.PortRange{} }

// IsEverywhere reports whether a service is open on all interfaces and at all addresses.
func IsEverywhere(svc firewall.Service) bool {
	return len(svc.Interfaces) == 0 && svc.Addresses.Len() == 0
}

// Places lead packets to the service's sources if their interface, and the address that the client
// dialled, are the service's. Of its leases it has at most the one that opens the ports.
func Places(svc firewall.Service) (rules []Rule) {
	ways := []Rule{If()}
	if len(svc.Interfaces) > 0 {
		ways = nil
		for _, pattern := range svc.Interfaces {
			ways = append(ways, If(ArrivesThrough(pattern)))
		}
	}
	for _, r := range ways {
		if svc.Addresses.Len() > 0 {
			r.When = append(r.When, DialledAt(svc))
		}
		rules = append(rules, r.Goto(Sources(svc)))
	}
	return rules
}

// Portless lead protocols without ports to the chains that decide. An entry of the zero Name is
// left out.
func Portless(pieces []firewall.PortPiece, entry func(firewall.PortPiece) Name) (rules []Rule) {
	for _, piece := range pieces {
		if p := piece.Ports.Protocol; !p.HasPorts() {
			if to := entry(piece); to != (Name{}) {
				rules = append(rules, If(Listed(p)).Goto(to))
			}
		}
	}
	return rules
}

// AllowChain is for a service's sources. They are counted and let in, once the rate has let them
// through and the log has noted them.
func AllowChain(svc firewall.Service) Chain {
	var rules []Rule
	if svc.Rate != nil {
		rules = append(rules, If(FirstPacket, OverRate(svc)).Goto(Of(Refuse, svc.Name)))
	}
	if svc.Log == firewall.LogAll {
		rules = append(rules, If(FirstPacket).Does(LogAllowed(svc.Name)))
	}
	rules = append(rules, If().Does(CountAllowed(svc.Name)).Accept())
	return Chain{Of(Allow, svc.Name), rules}
}

// Refusal is the end of what a service refuses.
func Refusal(svc firewall.Service, how firewall.Refuse) Chain {
	record := Record{Of(Service, svc.Name), svc.Name, svc.Log != firewall.LogNone}
	return refusal(Of(Refuse, svc.Name), record, how)
}

// refusal is the end of every refused packet: it is recorded, and dropped or rejected.
func refusal(name Name, record Record, how firewall.Refuse) Chain {
	rules := []Rule{If().Does(record)}
	if how == firewall.RefuseReject {
		rules = append(rules, If(Carries(firewall.TCP)).Ends(End{Kind: Reset}),
			If().Ends(End{Kind: Unreachable}))
	} else {
		rules = append(rules, If().Ends(End{Kind: Drop}))
	}
	return Chain{name, rules}
}
