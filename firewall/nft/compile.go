package nft

import (
	"slices"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"golang.org/x/sys/unix"
)

// compile is the ruleset that enforces a State at a moment: a pure function. Sources that have
// expired by then are left out; their set and rule stay, so that an end that comes by itself is no
// drift.
func compile(s firewall.State, now time.Time, use layout) *ruleset {
	c := compiler{ruleset: newRuleset(), state: s, use: use}
	c.ruleset.present, c.ruleset.mark, c.ruleset.readAt = true, tableMark, now
	for _, svc := range c.state.Services {
		c.service(svc)
	}
	c.ports()
	c.base()
	if c.state.Unlisted == firewall.UnlistedDeny {
		c.unlisted()
	}
	return c.ruleset
}

type compiler struct {
	*ruleset
	state firewall.State
	use   layout
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
	for _, f := range firewall.Families {
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
	if !hasConditions(svc) { // the ports lead here directly
		first := []rule{newRule().jump(exemptChain), newRule().translated().jump(virtualChain)}
		sources = slices.Concat(first, c.pastServices(), sources)
	}
	c.chain(
		serviceChain(svc.Name),
		svc.Name,
		append(sources, newRule().gotoChain(refuseChain(svc.Name)))...)
	if !simple {
		c.allow(svc)
	}
	c.refuse(
		refuseChain(svc.Name),
		serviceChain(svc.Name),
		svc.Name,
		svc.Name,
		svc.Log != firewall.LogNone,
	)
	for _, f := range firewall.Families {
		if svc.Addresses.Has(f) {
			s := addressesOf(svc.Addresses, f)
			s.family, s.spec = f, specOf(s.kind, f)
			c.set(addressSet(svc.Name, f), s)
		}
	}
}

// allow is the chain of an accepted source that still has to pass a rate, or be logged.
func (c *compiler) allow(svc firewall.Service) {
	var rules []rule
	if svc.Rate != nil {
		for _, f := range firewall.Families {
			name, full := rateSet(svc.Name, f), counterName(serviceChain(svc.Name), "full", f)
			c.dynamicSet(name, f, svc.Rate.Memory(), firewall.RateMemorySize)
			c.counters[full] = counter{}
			refuse := refuseChain(svc.Name)
			rules = append(
				rules,
				newRule().firstPacket().perSource(f, name, *svc.Rate, true).gotoChain(refuse),
				newRule().firstPacket().notRemembered(f, name, *svc.Rate).count(full).gotoChain(refuse),
			)
		}
	}
	if svc.Log == firewall.LogAll {
		rules = append(rules, newRule().firstPacket().log(firewall.LogPrefixAllowed+svc.Name).done())
	}
	for _, f := range firewall.Families {
		rules = append(
			rules,
			newRule().family(f).count(counterName(serviceChain(svc.Name), "allowed", f)).accept(),
		)
	}
	c.chain(allowChain(svc.Name), svc.Name, rules...)
}

// dynamicSet declares a set that packets fill. While it is full it forgets nobody and learns
// nobody: further sources are refused by a rate, and not logged.
func (c *compiler) dynamicSet(name string, f firewall.Family, memory time.Duration, size uint32) {
	spec := specOf(kindDynamic, f)
	spec.Timeout, spec.Size = memory, size
	c.set(name, &set{family: f, kind: kindDynamic, spec: spec})
}

// refuse is the end of every refused packet: log, count, drop or reject.
func (c *compiler) refuse(name, counters, service, label string, log bool) {
	rules := c.record(counters, label, log)
	if c.state.Refuse == firewall.RefuseReject {
		rules = append(
			rules,
			newRule().l4proto(unix.IPPROTO_TCP).rejectReset(),
			newRule().rejectUnreachable(),
		)
	} else {
		rules = append(rules, newRule().drop())
	}
	c.chain(name, service, rules...)
}

// refuseSilently is the end of packets that bear the host's own address: an answer would go to
// itself.
func (c *compiler) refuseSilently(name, label string) {
	c.chain(name, "", append(c.record(name, label, true), newRule().drop())...)
}

// record logs and counts refused packets.
func (c *compiler) record(counters, label string, log bool) []rule {
	var rules []rule
	for _, f := range firewall.Families {
		if log {
			logSet := map[firewall.Family]string{firewall.IPv4: logSet4, firewall.IPv6: logSet6}[f]
			full := counterName(logSet, "full", f)
			c.dynamicSet(logSet, f, firewall.DeniedLogRate.Memory(), firewall.LogMemorySize)
			c.counters[full] = counter{}
			rules = append(
				rules,
				newRule().perSource(f, logSet, firewall.DeniedLogRate, false).
					log(firewall.LogPrefixDenied+label).
					done(),
				newRule().notRemembered(f, logSet, firewall.DeniedLogRate).count(full).done(),
			)
		}
	}
	for _, f := range firewall.Families {
		counter := counterName(counters, "refused", f)
		c.counters[counter] = firewall.Counter{}
		rules = append(rules, newRule().family(f).count(counter).done())
	}
	return rules
}

// ports fills the verdict maps: each listed protocol and port to the chain that decides.
func (c *compiler) ports() {
	for _, piece := range firewall.PortPieces(c.state.Services) {
		if !piece.Ports.Protocol.HasPorts() {
			continue
		}
		name := portsMap(piece.Ports.Protocol)
		if c.sets[name] == nil {
			c.set(name, &set{kind: kindPorts, spec: specOf(kindPorts, 0), verdicts: map[uint32]verdict{}})
		}
		target := verdict{Code: unix.NFT_GOTO, Chain: c.entry(piece)}
		verdicts := c.sets[name].verdicts
		for port := uint32(piece.Ports.First); port <= uint32(piece.Ports.Last); port++ {
			verdicts[portKey(piece.Ports.Protocol, uint16(port))] = target
		}
	}
}

// entry is the chain that a piece's packets go to; it makes the chain if conditions need one.
func (c *compiler) entry(p firewall.PortPiece) string {
	if len(p.Services) == 1 {
		svc := p.Services[0]
		if !hasConditions(svc) {
			return serviceChain(svc.Name)
		}
		name := whereChain(svc.Name)
		c.choose(name, p.Services)
		return name
	}
	name := "shared/" + p.Ports.String()
	c.choose(name, p.Services)
	return name
}

// choose makes the chain that chooses among services by address and interface. A service that names
// a virtual address decides about it even if a workload asks for it. What fits no service's
// conditions is refused in the name of the first.
func (c *compiler) choose(name string, services []firewall.Service) {
	rules := []rule{newRule().jump(exemptChain)}
	first := services[0].Name
	rest := []rule{}
	for _, svc := range services {
		if svc.Addresses.Len() > 0 {
			rules = append(rules, conditions(svc)...)
		} else {
			rest = append(rest, conditions(svc)...)
		}
	}
	rest = append(rest, newRule().gotoChain(refuseChain(first)))
	// Packets to an address that is named, by an interface that is not, are none of virtual's.
	named := name + "/named"
	for _, svc := range services {
		for _, f := range firewall.Families {
			if len(svc.Interfaces) > 0 && svc.Addresses.Has(f) {
				rules = append(
					rules,
					newRule().translated().originalDaddrIn(f, addressSet(svc.Name, f)).gotoChain(named),
				)
				if len(c.state.VirtualIn(f)) > 0 {
					rules = append(
						rules,
						newRule().servedByIPVS(f).at(f, addressSet(svc.Name, f)).gotoChain(named),
					)
				}
				c.chain(named, first, rest...)
			}
		}
	}
	rules = append(rules, newRule().translated().jump(virtualChain))
	rules = append(rules, c.pastServices()...)
	c.chain(name, first, append(rules, rest...)...)
}

// hasConditions reports whether a service is to be reached through some interfaces or at some
// addresses only.
func hasConditions(svc firewall.Service) bool {
	return len(svc.Interfaces) > 0 || svc.Addresses.Len() > 0
}

// conditions are the rules that let a packet in to the service's sources if its interface and the
// address that the client dialled are the service's.
func conditions(svc firewall.Service) []rule {
	var rules []rule
	to := serviceChain(svc.Name)
	for _, arrival := range arrivals(svc.Interfaces) {
		if svc.Addresses.Len() == 0 {
			rules = append(rules, arrival().gotoChain(to))
			continue
		}
		for _, f := range firewall.Families {
			if svc.Addresses.Has(f) {
				name := addressSet(svc.Name, f)
				rules = append(rules, arrival().originalDaddrIn(f, name).gotoChain(to),
					arrival().noConnection().daddrIn(f, name).gotoChain(to))
			}
		}
	}
	return rules
}

// arrivals are the beginnings of rules for packets that arrive on one of the interfaces; for any,
// if none are named. Packets of a VRF may be named by its own name or by the interface's that is in
// it.
func arrivals(interfaces []string) []func() *builder {
	if len(interfaces) == 0 {
		return []func() *builder{newRule}
	}
	var out []func() *builder
	for _, name := range interfaces {
		out = append(
			out,
			func() *builder { return newRule().iifname(name) },
			func() *builder { return newRule().slaveName(name) },
		)
	}
	return out
}
