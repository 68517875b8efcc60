package nft

import (
	"slices"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/pipeline"
)

// The way of a packet through the base chains, until a service or nobody decides. Everything is
// decided once, after routing: what reaches hook input is for this host, whatever its address looks
// like before routing, and what passes hook forward concerns us only if our own DNAT sent it there,
// if it goes to an interface of State.Direct, or if it bears one of our own addresses.
//
// One look-up in a verdict map finds the service, however many there are, so ports come first, and
// each chain that they lead to begins with a jump to exempt.

// Names of chains that only this backend needs.
var (
	exempt       = pipeline.Text(exemptChain)
	virtual      = pipeline.Text(virtualChain)
	inside       = pipeline.Text(insideChain)
	untracked    = pipeline.Text("untracked") // what conntrack knows nothing of
	replies      = pipeline.Text("replies")
	translated   = pipeline.Text("translated") // forwarded because of the host's own DNAT
	notOwn       = pipeline.Text("not-own")
	listedSource = pipeline.Text("listed-source")
	listedPorts  = pipeline.Text("listed-source/ports")
)

var (
	ifTranslated = pipeline.If(pipeline.Translated)
	ifFirst      = pipeline.If(pipeline.FirstPacket)
	ownSource    = pipeline.Named(pipeline.OwnSource)
	unlisted     = pipeline.Named(pipeline.Unlisted)
)

func (c *compiler) denies() bool { return c.state.Unlisted == firewall.UnlistedDeny }

// base makes the base chains and what they have in common.
func (c *compiler) base() {
	protocols := c.protocols()
	for _, ch := range pipeline.Labels(c.state) {
		c.draw(ch, "")
	}
	c.baseChain(preroutingChain, prerouting,
		c.render(ifFirst.Jump(pipeline.Named(pipeline.Remember)))...)
	c.input(protocols)
	c.forward(protocols)
	c.exempt()
	c.ownSource()
	if !c.denies() && len(c.state.Services) > 0 {
		c.listedSource(protocols)
	}
	if len(c.state.Services) > 0 {
		c.virtual()
	}
	if c.denies() {
		c.chain(notOwn.Text, "", c.render(
			pipeline.If(pipeline.Has(firewall.OwnLabel)).Goto(unlisted), pipeline.If().Accept())...)
	}
	c.draw(pipeline.SpoofedChain(), "")
}

// protocols are those with ports that some service lists, in order.
func (c *compiler) protocols() (out []firewall.Protocol) {
	for _, p := range firewall.Protocols {
		if c.sets[portsMap(p)] != nil {
			out = append(out, p)
		}
	}
	return out
}

func (c *compiler) baseChain(name string, h hook, rules ...rule) {
	c.chains[name] = &chain{name: name, hook: &h, rules: rules}
}

// portless leads protocols without ports to the chains that decide: a rule each, behind the maps of
// ports.
func (c *compiler) portless() []rule {
	return c.render(pipeline.Portless(c.portPieces, c.entry)...)
}

// input decides about everything for this host: by the port that the client dialled.
func (c *compiler) input(protocols []firewall.Protocol) {
	var rules []rule
	for _, p := range protocols {
		rules = append(rules, newRule().portsVmap(p))
	}
	rules = append(rules, c.portless()...)
	hasUntracked := len(protocols) > 0 || c.denies()
	if hasUntracked {
		rules = append(rules, c.render(pipeline.If(pipeline.NoConnection).Jump(untracked))...)
		own := c.render(pipeline.If(pipeline.Loopback).Return(), pipeline.If().Jump(ownSource))
		c.chain(
			untracked.Text,
			"",
			append(own, headerPorts(protocols, destinationPortOffset)...)...)
	}
	if c.denies() {
		rules = append(rules, c.render(pipeline.If().Jump(exempt), ifTranslated.Jump(notOwn),
			pipeline.If(pipeline.ToVirtual).Accept(), pipeline.If().Goto(unlisted))...)
	} else if len(c.state.Services) > 0 {
		rules = append(rules, c.render(ifFirst.Jump(listedSource))...)
	}
	if len(rules) > 0 {
		rules = slices.Concat(c.render(pipeline.If(pipeline.Reply).Jump(replies)), rules)
		c.replies(hasUntracked)
	}
	c.baseChain(inputChain, input, rules...)
}

// headerPorts are the rules that send a packet where one of its own ports belongs.
func headerPorts(protocols []firewall.Protocol, offset uint32) (rules []rule) {
	for _, p := range protocols {
		rules = append(rules, newRule().headerPortVmap(p, offset))
	}
	return rules
}

// replies lets in what answers a connection that this host has begun. What looks like an answer but
// belongs to a connection begun from outside is judged by its own port alone: the port of that
// connection's first packet is one that its sender chose.
func (c *compiler) replies(hasUntracked bool) {
	rules := c.render(pipeline.If(pipeline.Lacks(firewall.OutsideLabel)).Accept())
	if hasUntracked {
		rules = append(rules, c.render(pipeline.If().Jump(untracked))...)
	}
	rules = append(rules, c.portless()...)
	last := pipeline.If().Accept()
	if c.denies() {
		last = pipeline.If().Goto(unlisted)
	}
	c.chain(replies.Text, "", append(rules, c.render(last)...)...)
}

// forward decides about what the host's own DNAT sends elsewhere: published ports.
func (c *compiler) forward(protocols []firewall.Protocol) {
	var published []rule
	for _, p := range protocols {
		published = append(published, newRule().portsVmap(p))
	}
	published = append(published, c.portless()...)
	if c.denies() {
		published = append(
			published,
			c.render(pipeline.If().Jump(exempt), pipeline.If().Jump(notOwn),
				pipeline.If().Goto(unlisted))...)
	}
	var rules []pipeline.Rule
	if len(published) > 0 {
		rules = append(rules, pipeline.If(pipeline.Redirected).Jump(translated))
		c.chain(translated.Text, "", published...)
	}
	switch {
	case c.denies():
		rules = append(rules, ifFirst.Jump(ownSource))
	case len(c.state.Services) > 0:
		rules = append(rules, ifFirst.Jump(listedSource))
	}
	if len(c.state.Direct) > 0 {
		begun, reply := pipeline.PastDNAT()
		direct := pipeline.Named(pipeline.Direct)
		rules = append(
			rules,
			pipeline.If(begun...).Jump(direct),
			pipeline.If(reply...).Jump(direct),
		)
		c.direct()
	}
	c.baseChain(forwardChain, forward, c.render(rules...)...)
}

// direct refuses what is routed to containers past the ports that they publish.
func (c *compiler) direct() {
	rules := pipeline.Published(c.state)
	for _, pattern := range c.state.Direct {
		rules = append(rules, pipeline.If(pipeline.LeavesBy(pattern)).
			Goto(pipeline.Named(pipeline.DirectRefuse)))
	}
	c.chain(directChain, "", c.render(rules...)...)
	c.draw(pipeline.DirectRefusal(c.state.Refuse), "")
}

// exempt is passed before anything is decided about a packet.
func (c *compiler) exempt() {
	rules := []pipeline.Rule{pipeline.If(pipeline.Loopback).Accept()}
	rules = append(rules, pipeline.Established(c.state)...)
	c.chain(exemptChain, "", c.render(append(rules, ifFirst.Jump(ownSource))...)...)
}

// ownSource refuses packets that would begin a connection from one of the host's own addresses, but
// come from outside. Control messages stand there in either mode, so that a change of mode leaves
// the services' ways as they are.
func (c *compiler) ownSource() {
	spoofed := pipeline.FromOwnAddress(pipeline.Jump(pipeline.Named(pipeline.Spoofed)))
	c.chain(ownSourceChain, "", c.render(append(pipeline.ControlMessages(), spoofed...)...)...)
}

// listedSource does the same for ports that no service lists, where they are left alone: only a
// source port that a service lists matters. The service's chain begins with ownSource, which
// refuses the packet.
func (c *compiler) listedSource(protocols []firewall.Protocol) {
	rules := append([]pipeline.Rule{pipeline.If(pipeline.Loopback).Return()},
		pipeline.FromOwnAddress(pipeline.Jump(listedPorts))...)
	c.chain(listedSource.Text, "", c.render(rules...)...)
	spoofed := func(p firewall.PortPiece) pipeline.Name {
		if p.Ports.Protocol == firewall.Ping { // its replies open nothing
			return pipeline.Name{}
		}
		return pipeline.Named(pipeline.Spoofed)
	}
	c.chain(listedPorts.Text, "", append(headerPorts(protocols, sourcePortOffset),
		c.render(pipeline.Portless(c.portPieces, spoofed)...)...)...)
}

// virtual lets the host's own workloads reach addresses that only its DNAT knows, such as those of
// Kubernetes services, past services that list the port; and, with inside, those of IPVS.
func (c *compiler) virtual() {
	workloads := pipeline.Arriving(c.state.Inside(), pipeline.End{Kind: pipeline.Accept})
	own := pipeline.If(pipeline.Has(firewall.OwnLabel)).Return()
	c.chain(virtualChain, "", c.render(append([]pipeline.Rule{own}, workloads...)...)...)
	if len(c.state.Virtual) > 0 {
		// What DNAT has sent to one is judged by what the client dialled.
		c.chain(insideChain, "",
			c.render(append([]pipeline.Rule{ifTranslated.Return()}, workloads...)...)...)
	}
}

// pastServices takes packets to virtual addresses past the services, if the host's own workloads
// have sent them.
func (c *compiler) pastServices() []rule {
	return c.render(ifTranslated.Jump(virtual), pipeline.If(pipeline.ToVirtual).Jump(inside))
}

// unlisted is the chain of packets for ports that no service lists, in deny mode.
func (c *compiler) unlisted() {
	rules := c.render(pipeline.Essential(c.state)...)
	rules = append(rules, c.answers()...)
	last := pipeline.If().Goto(pipeline.Named(pipeline.UnlistedRefuse))
	c.chain(unlistedChain, "", append(rules, c.render(append(pipeline.Announced(), last)...)...)...)
	c.draw(pipeline.UnlistedRefusal(c.state.Refuse), "")
}
