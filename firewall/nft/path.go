package nft

import (
	"net/netip"
	"slices"

	"github.com/portgrave/portgrave/firewall"
	"golang.org/x/sys/unix"
)

// The way of a packet through the base chains, until a service or nobody decides. Everything is
// decided once, after routing: what reaches hook input is for this host, whatever its address looks
// like before routing, and what passes hook forward concerns us only if our own DNAT sent it there,
// if it goes to an interface of State.Direct, or if it bears one of our own addresses.

// base makes the base chains and what they have in common.
func (c *compiler) base() {
	protocols := c.protocols()
	c.remember()
	c.input(protocols)
	c.forward(protocols)
	c.exempt()
	c.ownSource()
	if c.state.Unlisted == firewall.UnlistedIgnore && len(c.state.Services) > 0 {
		c.listedSource(protocols)
	}
	if len(c.state.Services) > 0 {
		c.virtual()
		c.inside()
	}
	if c.state.Unlisted == firewall.UnlistedDeny {
		c.chain(
			notOwnChain,
			"",
			newRule().hasLabel(firewall.OwnLabel).gotoChain(unlistedChain),
			newRule().accept(),
		)
	}
	c.refuseSilently(spoofedChain, firewall.LogLabelSpoofed)
}

// protocols are those that some service lists, in order.
func (c *compiler) protocols() (out []firewall.Protocol) {
	for _, p := range firewall.Protocols {
		if p.HasPorts() && c.listed(p) {
			out = append(out, p)
		}
	}
	return out
}

func (c *compiler) listed(p firewall.Protocol) bool {
	for _, svc := range c.state.Services {
		for _, r := range svc.Ports {
			if r.Protocol == p {
				return true
			}
		}
	}
	return false
}

func (c *compiler) baseChain(name string, h hook, rules ...rule) {
	c.chains[name] = &chain{name: name, hook: &h, rules: rules}
}

// remember notes before DNAT which connections were addressed to the host itself: nothing tells
// that later. It also notes which begin outside, and past the interfaces of Direct, and which bear
// a link-local address of the interface by which they come.
func (c *compiler) remember() {
	rules := []rule{newRule().iifname("lo").returns(), newRule().fromVRF().gotoChain(vrfChain),
		newRule().setLabel(firewall.OutsideLabel).done()}
	if len(c.state.Direct) > 0 {
		rules = append(rules, newRule().jump(elsewhereChain))
		var inside []rule
		for _, p := range c.state.Direct {
			inside = append(inside, newRule().iifname(p).returns())
		}
		c.chain(elsewhereChain, "", append(inside, newRule().setLabel(firewall.ElsewhereLabel).done())...)
	}
	c.chain(rememberChain, "", append(
		rules,
		newRule().saddr(firewall.IPv6, linkLocal).
			addressIsLocal(true, true).
			setLabel(firewall.SpoofedLabel).
			done(),
		newRule().addressIsLocal(false, false).setLabel(firewall.OwnLabel).done(),
	)...)
	c.vrf()
	c.baseChain(preroutingChain, prerouting, newRule().firstPacket().jump(rememberChain))
}

// vrf notes the same of packets that come by a VRF. From outside they have come by an interface of
// it before, and passed remember; what has not is the host's own. Only here the kernel knows the
// addresses in the VRF: past routing, Linux 6.1 finds none of them local.
func (c *compiler) vrf() {
	c.chain(vrfChain, "", newRule().lacksLabel(firewall.OutsideLabel).returns(),
		newRule().addressIsLocal(true, true).setLabel(firewall.SpoofedLabel).done(),
		newRule().addressIsLocal(false, false).setLabel(firewall.OwnLabel).returns(),
		newRule().addressIsLocal(false, true).setLabel(firewall.OwnLabel).done())
}

// input decides about everything for this host: by the port that the client dialled.
func (c *compiler) input(protocols []firewall.Protocol) {
	var rules, untracked []rule
	for _, p := range protocols {
		rules = append(rules, newRule().portsVmap(p))
		untracked = append(untracked, newRule().headerPortVmap(p, destinationPortOffset))
	}
	rules = append(rules, c.portless()...)
	if len(protocols) > 0 || c.state.Unlisted == firewall.UnlistedDeny {
		rules = append(rules, newRule().noConnection().jump(untrackedChain))
		first := []rule{newRule().iifname("lo").returns(), newRule().jump(ownSourceChain)}
		c.chain(untrackedChain, "", append(first, untracked...)...)
	}
	if c.state.Unlisted == firewall.UnlistedDeny {
		rules = append(rules, newRule().jump(exemptChain), newRule().translated().jump(notOwnChain))
		rules = append(rules, c.toIPVS((*builder).accept)...)
		rules = append(rules, newRule().gotoChain(unlistedChain))
	} else if len(c.state.Services) > 0 {
		rules = append(rules, newRule().firstPacket().jump(listedSourceChain))
	}
	if len(rules) > 0 {
		rules = slices.Insert(rules, 0, newRule().reply().jump(repliesChain))
		c.replies()
	}
	c.baseChain(inputChain, input, rules...)
}

// replies lets in what answers a connection that this host has begun. What looks like an answer but
// belongs to a connection begun from outside is judged by its own port alone: the port of that
// connection's first packet is one that its sender chose.
func (c *compiler) replies() {
	rules := []rule{newRule().lacksLabel(firewall.OutsideLabel).accept()}
	if c.chains[untrackedChain] != nil {
		rules = append(rules, newRule().jump(untrackedChain))
	}
	rules = append(rules, c.portless()...)
	if c.state.Unlisted == firewall.UnlistedDeny {
		rules = append(rules, newRule().gotoChain(unlistedChain))
	} else {
		rules = append(rules, newRule().accept())
	}
	c.chain(repliesChain, "", rules...)
}

// forward decides about what the host's own DNAT sends elsewhere: published ports.
func (c *compiler) forward(protocols []firewall.Protocol) {
	var translated []rule
	for _, p := range protocols {
		translated = append(translated, newRule().portsVmap(p))
	}
	translated = append(translated, c.portless()...)
	if c.state.Unlisted == firewall.UnlistedDeny {
		translated = append(
			translated,
			newRule().jump(exemptChain),
			newRule().jump(notOwnChain),
			newRule().gotoChain(unlistedChain),
		)
	}
	var rules []rule
	if len(translated) > 0 {
		rules = append(rules, newRule().translated().original().jump(translatedChain))
		c.chain(translatedChain, "", translated...)
	}
	switch {
	case c.state.Unlisted == firewall.UnlistedDeny:
		rules = append(rules, newRule().firstPacket().jump(ownSourceChain))
	case len(c.state.Services) > 0:
		rules = append(rules, newRule().firstPacket().jump(listedSourceChain))
	}
	if len(c.state.Direct) > 0 {
		rules = append(
			rules,
			newRule().ctState(stateInvalid|stateNew|stateUntracked).
				jump(directChain),
			newRule().reply().hasLabel(firewall.ElsewhereLabel).jump(directChain),
		)
		c.direct()
	}
	c.baseChain(forwardChain, forward, rules...)
}

// direct refuses what is routed to containers past the ports that they publish: what begins there,
// or belongs to no connection, and replies that nobody there has asked for.
func (c *compiler) direct() {
	refuse := directChain + "/refuse"
	rules := []rule{newRule().translated().returns()}
	for _, p := range c.state.Direct {
		rules = append(rules, newRule().iifname(p).returns())
	}
	for _, p := range c.state.Direct {
		rules = append(rules, newRule().oifname(p).gotoChain(refuse))
	}
	c.chain(directChain, "", rules...)
	c.refuse(refuse, directChain, "", firewall.LogLabelDirect, true)
}

// exempt is passed before anything is decided about a packet.
func (c *compiler) exempt() {
	rules := []rule{newRule().iifname("lo").accept()}
	if c.state.Established == firewall.EstablishedKeep {
		rules = append(rules, newRule().original().ctState(stateEstablished).accept())
	}
	c.chain(exemptChain, "", append(rules, newRule().firstPacket().jump(ownSourceChain))...)
}

// linkLocal are addresses that say nothing without an interface: any host may have the same (RFC
// 4291 §2.5.6).
var linkLocal = netip.MustParsePrefix("fe80::/10")

// fromOwnAddress are the rules that lead a packet whose source is one of the host's own addresses
// on to another chain. In a VRF the label alone tells: there what the host sends to itself comes by
// the VRF, as what is from outside does, and newer kernels find its source local.
func fromOwnAddress(to string) []rule {
	return []rule{
		newRule().hasLabel(firewall.SpoofedLabel).jump(to),
		newRule().saddr(firewall.IPv6, linkLocal).returns(),
		newRule().fromVRF().returns(),
		newRule().addressIsLocal(true, false).jump(to),
	}
}

// ownSource refuses packets that would begin a connection from one of the host's own addresses, but
// come from outside. In such a connection whatever comes next to the host would look like a reply.
func (c *compiler) ownSource() {
	var rules []rule
	// Neighbour discovery speaks of addresses that two hosts have, and no port is behind any of these.
	// The rules stand there in either mode, so that a change of mode leaves the services' ways as they
	// are.
	for _, number := range []byte{unix.IPPROTO_ICMP, unix.IPPROTO_IGMP, unix.IPPROTO_ICMPV6} {
		rules = append(rules, newRule().l4proto(number).returns())
	}
	c.chain(ownSourceChain, "", append(rules, fromOwnAddress(spoofedChain)...)...)
}

// listedSource does the same for ports that no service lists, where they are left alone: only a
// source port that a service lists matters. The service's chain begins with ownSource, which
// refuses the packet.
func (c *compiler) listedSource(protocols []firewall.Protocol) {
	var rules []rule
	for _, p := range protocols {
		rules = append(rules, newRule().headerPortVmap(p, sourcePortOffset))
	}
	for _, p := range c.portlessProtocols() {
		rules = append(rules, newRule().l4proto(byte(p)).gotoChain(spoofedChain))
	}
	c.chain(
		listedSourceChain,
		"",
		append(
			[]rule{newRule().iifname("lo").returns()},
			fromOwnAddress(listedSourceChain+"/ports")...)...)
	c.chain(listedSourceChain+"/ports", "", rules...)
}

// virtual lets the host's own workloads reach addresses that only its DNAT knows, such as those of
// Kubernetes services, past services that list the port.
func (c *compiler) virtual() {
	c.chain(
		virtualChain,
		"",
		append([]rule{newRule().hasLabel(firewall.OwnLabel).returns()}, c.fromInside()...)...)
}

// fromInside accepts what comes from the host's own workloads.
func (c *compiler) fromInside() (rules []rule) {
	for _, p := range c.state.Inside() {
		rules = append(rules, newRule().iifname(p).accept())
	}
	return rules
}
