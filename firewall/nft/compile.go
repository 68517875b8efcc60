package nft

import (
	"fmt"
	"slices"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"golang.org/x/sys/unix"
)

// compile is the ruleset that enforces a State at a moment: a pure function. Sources that have
// expired by then are left out; their set and rule stay, so that an end that comes by itself is no drift.
func compile(s firewall.State, now time.Time, use layout) *ruleset {
	c := compiler{ruleset: newRuleset(), state: s, use: use}
	c.ruleset.present, c.ruleset.mark, c.ruleset.readAt = true, tableMark, now
	c.base()
	for _, svc := range c.state.Services {
		c.service(svc)
	}
	c.ports()
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
	c.chains[name] = &chain{name: name, service: service, rules: rules}
}

// Routing types of a destination that mean "one of the host's own" (RTN_LOCAL, RTN_BROADCAST,
// RTN_ANYCAST, RTN_MULTICAST: include/uapi/linux/rtnetlink.h).
var ownTypes = []uint32{unix.RTN_LOCAL, unix.RTN_BROADCAST, unix.RTN_ANYCAST, unix.RTN_MULTICAST}

// base makes the base chain, which looks the port up first: what is for no port of ours has met one rule then. What is for one of
// them, or for any port in deny mode, passes the exempt chain before anything is decided about it.
func (c *compiler) base() {
	rules := append([]rule{newRule().portsVmap().done()}, c.portless()...)
	if c.state.Unlisted == firewall.UnlistedDeny {
		rules = append(rules, newRule().jump(exemptChain), newRule().gotoChain(unlistedChain))
	}
	h := prerouting
	c.chains[baseChain] = &chain{name: baseChain, hook: &h, rules: rules}

	c.sets[localTypes] = &set{name: localTypes, kind: kindTypes, spec: specOf(kindTypes, 0), types: ownTypes}
	rules = []rule{
		newRule().iifname("lo").accept(),
		newRule().destinationNotLocal().accept(),
		newRule().reply().accept(),
	}
	if c.state.Established == firewall.EstablishedKeep {
		rules = append(rules, newRule().ctState("established", 2).accept())
	}
	c.chain(exemptChain, "", rules...)
}

// Names of a service's objects.
func serviceChain(name string) string { return "svc/" + name }
func whereChain(name string) string   { return "svc/" + name + "/where" }
func allowChain(name string) string   { return "svc/" + name + "/allow" }
func refuseChain(name string) string  { return "svc/" + name + "/refuse" }

func addressSet(service string, f firewall.Family) string {
	return fmt.Sprintf("svc/%s/addresses-%s", service, f)
}

func rateSet(service string, f firewall.Family) string {
	return fmt.Sprintf("svc/%s/rate-%s", service, f)
}

func counterName(chain, what string, f firewall.Family) string {
	return fmt.Sprintf("%s/%s-%s", chain, what, f)
}

// sourceSetName is the name in one of the two slots.
func sourceSetName(service string, kind setKind, f firewall.Family, second bool) string {
	name := fmt.Sprintf("svc/%s/%s-%s", service, map[setKind]string{kindHosts: "hosts", kindNets: "nets", kindExpiring: "until"}[kind], f)
	if second {
		name += ".2"
	}
	return name
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
			s.name = sourceSetName(svc.Name, s.kind, f, c.use.second[svc.Name])
			c.sets[s.name] = s
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
		sources = slices.Insert(sources, 0, newRule().jump(exemptChain))
	}
	c.chain(serviceChain(svc.Name), svc.Name, append(sources, newRule().gotoChain(refuseChain(svc.Name)))...)
	if !simple {
		c.allow(svc)
	}
	c.refuse(refuseChain(svc.Name), serviceChain(svc.Name), svc.Name, svc.Name, svc.Log != firewall.LogNone)
	for _, f := range firewall.Families {
		if svc.Addresses.Has(f) {
			s := addressesOf(svc.Addresses, f)
			s.name, s.service, s.family, s.spec = addressSet(svc.Name, f), svc.Name, f, specOf(s.kind, f)
			c.sets[s.name] = s
		}
	}
}

// allow is the chain of an accepted source that still has to pass a rate, or be logged.
func (c *compiler) allow(svc firewall.Service) {
	var rules []rule
	if svc.Rate != nil {
		for _, f := range firewall.Families {
			name := rateSet(svc.Name, f)
			c.dynamicSet(name, svc.Name, f, svc.Rate.Memory())
			rules = append(rules, newRule().firstPacket().perSource(f, name, *svc.Rate, true).gotoChain(refuseChain(svc.Name)))
		}
	}
	if svc.Log == firewall.LogAll {
		rules = append(rules, newRule().firstPacket().log(firewall.LogPrefixAllowed+svc.Name).done())
	}
	for _, f := range firewall.Families {
		rules = append(rules, newRule().family(f).count(counterName(serviceChain(svc.Name), "allowed", f)).accept())
	}
	c.chain(allowChain(svc.Name), svc.Name, rules...)
}

// dynamicSet declares a set that packets fill. When it is full it
// forgets nobody and learns nobody: further sources go unlimited by the rate, and unlogged.
func (c *compiler) dynamicSet(name, service string, f firewall.Family, memory time.Duration) {
	spec := specOf(kindDynamic, f)
	spec.timeout, spec.size = memory, firewall.RateMemorySize
	c.sets[name] = &set{name: name, service: service, family: f, kind: kindDynamic, spec: spec}
}

// refuse is the end of every refused packet: log, count, drop or reject.
func (c *compiler) refuse(name, counters, service, label string, log bool) {
	var rules []rule
	for _, f := range firewall.Families {
		if log {
			logSet := map[firewall.Family]string{firewall.IPv4: logSet4, firewall.IPv6: logSet6}[f]
			c.dynamicSet(logSet, "", f, time.Minute)
			rules = append(rules, newRule().perSource(f, logSet, firewall.DeniedLogRate, false).log(firewall.LogPrefixDenied+label).done())
		}
	}
	for _, f := range firewall.Families {
		counter := counterName(counters, "refused", f)
		c.counters[counter] = firewall.Counter{}
		rules = append(rules, newRule().family(f).count(counter).done())
	}
	if c.state.Refuse == firewall.RefuseReject {
		rules = append(rules, newRule().l4proto("tcp", unix.IPPROTO_TCP).rejectReset(), newRule().rejectUnreachable())
	} else {
		rules = append(rules, newRule().drop())
	}
	c.chain(name, service, rules...)
}

// ports fills the verdict map: each listed protocol and port to the chain that decides.
func (c *compiler) ports() {
	verdicts := map[uint32]verdict{}
	for _, piece := range firewall.PortPieces(c.state.Services) {
		if !piece.Ports.Protocol.HasPorts() {
			continue
		}
		target := c.entry(piece)
		for port := uint32(piece.Ports.First); port <= uint32(piece.Ports.Last); port++ {
			verdicts[portKey(piece.Ports.Protocol, uint16(port))] = verdict{unix.NFT_GOTO, target}
		}
	}
	c.sets[portsMap] = &set{name: portsMap, kind: kindPorts, spec: specOf(kindPorts, 0), verdicts: verdicts}
}

// entry is the chain that a piece's packets go to; it makes the chain if conditions need one.
func (c *compiler) entry(p firewall.PortPiece) string {
	if len(p.Services) == 1 {
		svc := p.Services[0]
		if !hasConditions(svc) {
			return serviceChain(svc.Name)
		}
		name := whereChain(svc.Name)
		c.chain(name, svc.Name, slices.Concat([]rule{newRule().jump(exemptChain)}, conditions(svc), []rule{newRule().gotoChain(refuseChain(svc.Name))})...)
		return name
	}
	name := "shared/" + p.Ports.String()
	rules := []rule{newRule().jump(exemptChain)}
	for _, svc := range p.Services {
		rules = append(rules, conditions(svc)...)
	}
	// What fits nobody's conditions is refused in the name of the first.
	first := p.Services[0].Name
	c.chain(name, first, append(rules, newRule().gotoChain(refuseChain(first)))...)
	return name
}

// hasConditions reports whether a service is to be reached through some interfaces or at some addresses only.
func hasConditions(svc firewall.Service) bool {
	return len(svc.Interfaces) > 0 || svc.Addresses.Len() > 0
}

// conditions are the rules that let a packet in to the service's sources if its interface and
// address are the service's.
func conditions(svc firewall.Service) []rule {
	interfaces := svc.Interfaces
	if len(interfaces) == 0 {
		interfaces = []string{""}
	}
	var rules []rule
	for _, name := range interfaces {
		start := func() *builder {
			if name == "" {
				return newRule()
			}
			return newRule().iifname(name)
		}
		if svc.Addresses.Len() == 0 {
			rules = append(rules, start().gotoChain(serviceChain(svc.Name)))
			continue
		}
		for _, f := range firewall.Families {
			if svc.Addresses.Has(f) {
				rules = append(rules, start().daddrIn(f, addressSet(svc.Name, f)).gotoChain(serviceChain(svc.Name)))
			}
		}
	}
	return rules
}
