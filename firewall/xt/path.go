package xt

import (
	"slices"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/pipeline"
)

// The way of a packet through the built-in chains, until a service or nobody decides. Everything is
// decided once, after routing: what reaches INPUT is for this host, whatever its address looked
// like before; what passes FORWARD concerns us only if our own DNAT sent it there, if it goes to an
// interface of State.Direct, or if it bears one of our own addresses.
//
// A tree over the ports costs a packet some rules, so what is exempt is asked first.

var (
	// written marks a rule as ours.
	written  = pipeline.Note(mark)
	unlisted = pipeline.Named(pipeline.Unlisted)
)

func (c *compiler) denies() bool { return c.state.Unlisted == firewall.UnlistedDeny }

// rulesOf makes one rule of each list's words.
func rulesOf(lists ...[]string) (out []rule) {
	for _, words := range lists {
		out = append(out, args(words...))
	}
	return out
}

// hooked makes a chain that the first rule of a built-in one leads to.
func (c *compiler) hooked(t *table, builtIn, name string, only pipeline.Rule, rules ...rule) {
	only.When = append(only.When, written)
	t.hooks[builtIn] = []hook{{0, c.render(only.Jump(pipeline.Text(name)))[0]}}
	t.chains[name] = &chain{name: name, rules: rules}
}

// remember makes the chains that label connections. No match of xtables tells a VRF: those that
// there are have a rule each. Past routing xtables finds no address of ours in one, so nothing
// there has to except them.
func (c *compiler) remember(t *table, vrfs []string) {
	c.chains, c.vrfs = t.chains, vrfs
	first := pipeline.If(pipeline.FirstPacket)
	for _, ch := range pipeline.Labels(c.state) {
		switch ch.Name.Role {
		case pipeline.Remember:
			last := &ch.Rules[len(ch.Rules)-1]
			last.When = append(last.When, written)
			c.hooked(t, "PREROUTING", labelChain, first, c.render(ch.Rules...)...)
		case pipeline.VRF:
			if len(vrfs) > 0 {
				c.draw(ch, "")
			}
		default:
			c.draw(ch, "")
		}
	}
}

// input decides about everything for this host: DNATed connections by the port that the client
// dialled, the rest by the packet's own.
func (c *compiler) input(t *table, shared []rule) {
	entry := func(p firewall.PortPiece) string { return c.entry(p, false) }
	plain := tree{root: portsChain, match: headerPort, entry: entry}
	if c.denies() {
		plain.rest = rulesOf(append(c.notVirtual(), "-g", c.name(unlisted)))
	}
	// A reply to this host belongs to a connection that it has begun itself.
	reply := pipeline.If(pipeline.Reply, pipeline.Lacks(firewall.OutsideLabel), written)
	exempt := c.render(pipeline.If(pipeline.Loopback).Accept(), reply.Accept())
	roots := c.ports(plain)
	c.hooked(
		t,
		"INPUT",
		baseChain,
		pipeline.If(),
		slices.Concat(exempt, shared, c.toIPVS(roots), roots)...)
}

// forward decides about what the host's own DNAT sends elsewhere, such as to containers, and about
// what is routed to containers past that.
func (c *compiler) forward(t *table, shared []rule) {
	unasked, direct := c.direct()
	replies := c.render(pipeline.If(pipeline.Reply, written).Accept())
	c.hooked(
		t,
		"FORWARD",
		forwardChain,
		pipeline.If(),
		slices.Concat(unasked, replies, shared, direct)...)
}

// translated sends the packets of DNATed connections to a tree of their own, over the connection's
// original port and address. Unless the client dialled an address of the host's own, it is a
// virtual IP that only DNAT knows: one that deny never refuses, and that the host's own workloads
// reach past the services that list the port, unless those name the address.
func (c *compiler) translated() []rule {
	if len(c.state.Services) == 0 && !c.denies() {
		return nil
	}
	entry := func(p firewall.PortPiece) string { return c.entry(p, true) }
	original := tree{root: originalChain, match: originalPort, entry: entry}
	if c.denies() {
		original.rest = c.render(pipeline.If(pipeline.Has(firewall.OwnLabel)).Goto(unlisted))
	}
	roots := c.ports(original)
	notOwn := pipeline.If(pipeline.Lacks(firewall.OwnLabel)).Goto(pipeline.Text(virtualChain))
	c.chain(originalChain, "", append(c.render(notOwn), roots...)...)

	naming := func(p firewall.PortPiece) string { return c.named(p, true) }
	named := c.ports(tree{root: virtualTree, match: originalPort, entry: naming})
	c.chain(virtualTree, "", named...)
	c.chain(virtualChain, "", append(c.fromInside(virtualTree), roots...)...)
	return c.render(pipeline.If(pipeline.Redirected).Goto(pipeline.Text(originalChain)))
}

// fromInside leads what comes from the host's own workloads to a chain.
func (c *compiler) fromInside(chain string) []rule {
	return c.render(pipeline.Arriving(c.state.Inside(), pipeline.Goto(pipeline.Text(chain)))...)
}

// direct refuses what is routed to containers past the ports that they publish. Rules that ask for
// the interface lead there, so that other packets meet no chain more.
func (c *compiler) direct() (unasked, rules []rule) {
	if len(c.state.Direct) == 0 {
		return nil, nil
	}
	begun, reply := pipeline.PastDNAT()
	for _, name := range c.state.Direct {
		to := func(when []pipeline.Condition) []rule {
			when = append([]pipeline.Condition{pipeline.LeavesBy(name)}, when...)
			return c.render(pipeline.If(when...).Goto(pipeline.Named(pipeline.Direct)))
		}
		rules, unasked = append(rules, to(begun)...), append(unasked, to(reply)...)
	}
	refuse := pipeline.If().Goto(pipeline.Named(pipeline.DirectRefuse))
	c.draw(pipeline.Chain{Name: pipeline.Named(pipeline.Direct),
		Rules: append(pipeline.Published(c.state), refuse)}, "")
	c.draw(pipeline.DirectRefusal(c.how()), "")
	return unasked, rules
}

// beginning has the packets looked at that would begin a connection from one of the host's own
// addresses, though they come from outside. Where unlisted ports are left alone it concerns only
// those that a service lists, on either side.
func (c *compiler) beginning() []rule {
	var rules []pipeline.Rule
	to := pipeline.Named(pipeline.Spoofed)
	switch {
	case c.denies():
		rules = pipeline.ControlMessages()
	case len(c.state.Services) == 0:
		return nil
	default:
		to = pipeline.Text(spoofedPorts)
		c.chain(spoofedPorts, "", c.listedPorts()...)
	}
	begin := pipeline.Named(pipeline.OwnSource)
	rules = append(rules, pipeline.FromOwnAddress(pipeline.Goto(to))...)
	c.draw(pipeline.Chain{Name: begin, Rules: rules}, "")
	c.draw(pipeline.SpoofedChain(), "")
	return c.render(pipeline.If(pipeline.FirstPacket).Jump(begin),
		pipeline.If(pipeline.NoConnection).Jump(begin))
}

// listedPorts picks the packets that come from a listed port or go to one. Only packets that bear
// one of the host's own addresses get there: a list will do.
func (c *compiler) listedPorts() (out []rule) {
	spoofed := pipeline.Named(pipeline.Spoofed)
	for i := 0; i < len(c.pieces); i++ {
		r := c.pieces[i].Ports
		for r.Protocol.HasPorts() && i+1 < len(c.pieces) {
			next := c.pieces[i+1].Ports
			if next.Protocol != r.Protocol || next.First != r.Last+1 {
				break
			}
			r.Last = next.Last
			i++
		}
		switch p, ports := r.Protocol.String(), portsWord(int(r.First), int(r.Last)); {
		case r.Protocol.HasPorts():
			goes := []string{"-g", c.name(spoofed)}
			out = append(out, rulesOf(
				append([]string{"-p", p, "-m", p, "--sport", ports}, goes...),
				append(headerPort(r.Protocol, ports), goes...), // also of what is not tracked
				append(originalPort(r.Protocol, ports), goes...))...)
		case r.Protocol != firewall.Ping: // its replies open nothing
			out = append(out, c.render(pipeline.If(pipeline.Listed(r.Protocol)).Goto(spoofed))...)
		}
	}
	return out
}

// unlisted is the chain of packets for ports that no service lists, in deny mode. Answers to
// multicast questions come last, since their chain refuses what comes from elsewhere.
func (c *compiler) unlisted() {
	rules := c.render(append(pipeline.Essential(c.state), pipeline.Announced()...)...)
	refuse := c.render(pipeline.If().Goto(pipeline.Named(pipeline.UnlistedRefuse)))
	c.chain(c.name(unlisted), "", slices.Concat(rules, c.answers(), refuse)...)
	c.draw(pipeline.UnlistedRefusal(c.how()), "")
}
