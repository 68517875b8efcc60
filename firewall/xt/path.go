package xt

import (
	"slices"
	"strconv"

	"github.com/portgrave/portgrave/firewall"
)

// The way of a packet through the built-in chains, until a service or nobody decides. Everything is
// decided once, after routing: what reaches INPUT is for this host, whatever its address looked
// like before; what passes FORWARD concerns us only if our own DNAT sent it there, if it goes to an
// interface of State.Direct, or if it bears one of our own addresses.

var (
	// begins tells the packets that begin a connection. Untracked ones begin none.
	begins = []string{"-m", "conntrack", "!", "--ctstatus", "CONFIRMED"}
	// translated tells the packets of connections that DNAT sent elsewhere.
	translated = []string{"-m", "conntrack", "--ctstate", "DNAT"}
	// own tells connections that were addressed to one of this host's own addresses: see remember.
	own   = []string{"-m", "connlabel", "--label", strconv.Itoa(firewall.OwnLabel)}
	reply = []string{"-m", "conntrack", "--ctdir", "REPLY"}
	// outside and elsewhere tell where connections were begun: see remember.
	outside   = []string{"-m", "connlabel", "--label", strconv.Itoa(firewall.OutsideLabel)}
	elsewhere = []string{"-m", "connlabel", "--label", strconv.Itoa(firewall.ElsewhereLabel)}
	// spoofed tells connections that began with an own address from outside: see remember.
	spoofed = []string{"-m", "connlabel", "--label", strconv.Itoa(firewall.SpoofedLabel)}
	// linkLocal are addresses that say nothing without an interface (RFC 4291 §2.5.6).
	linkLocal = "fe80::/10"
	// written marks a rule as ours.
	written = []string{"-m", "comment", "--comment", mark}
)

// rulesOf makes one rule of each list's words.
func rulesOf(lists ...[]string) (out []rule) {
	for _, words := range lists {
		out = append(out, args(words...))
	}
	return out
}

// hooked makes a chain that the first rule of a built-in one leads to.
func (c *compiler) hooked(t *table, builtIn, name string, only []string, rules ...rule) {
	t.hooks[builtIn] = []hook{{0, args(slices.Concat(only, written, []string{"-j", name})...)}}
	t.chains[name] = &chain{name: name, rules: rules}
}

// remember notes before DNAT which connections are addressed to the host itself: nothing tells that
// later. It also notes which begin outside, and past the interfaces of Direct, and which bear a
// link-local address of the interface by which they come.
func (c *compiler) remember(t *table) {
	words := func(lists ...[]string) rule { return args(slices.Concat(lists...)...) }
	set := []string{"--set"}
	toOwn := []string{"-m", "addrtype", "--dst-type", "LOCAL"}
	fromOwn := []string{"-m", "addrtype", "--src-type", "LOCAL", "--limit-iface-in"}
	rules := rulesOf([]string{"-i", "lo", "-j", "RETURN"})
	for _, name := range c.vrfs {
		rules = append(rules, args("-i", name, "-g", vrfChain))
	}
	rules = append(rules, words(outside, set))
	if len(c.state.Direct) > 0 {
		rules = append(rules, args("-j", elsewhereChain))
		var inside []rule
		for _, name := range c.state.Direct {
			inside = append(inside, args("-i", interfaceWord(name), "-j", "RETURN"))
		}
		t.chains[elsewhereChain] = &chain{
			name:  elsewhereChain,
			rules: append(inside, words(elsewhere, set)),
		}
	}
	if c.family == firewall.IPv6 {
		rules = append(rules, words([]string{"-s", linkLocal}, fromOwn, spoofed, set))
	}
	rules = append(rules, words(toOwn, written, own, set))
	if len(c.vrfs) > 0 {
		// From outside, packets have come by an interface of the VRF before, and passed the rules above;
		// what has not is the host's own. Only here the kernel knows the addresses in the VRF.
		limited := []string{"--limit-iface-in"}
		notOutside := []string{"-m", "connlabel", "!", "--label", strconv.Itoa(firewall.OutsideLabel)}
		t.chains[vrfChain] = &chain{name: vrfChain, rules: []rule{
			words(notOutside, []string{"-j", "RETURN"}), words(fromOwn, spoofed, set),
			words(toOwn, own, set, []string{"-j", "RETURN"}), words(toOwn, limited, own, set)}}
	}
	c.hooked(t, "PREROUTING", labelChain, begins, rules...)
}

// running is what established: keep lets go on.
func (c *compiler) running() (rules []rule) {
	if c.state.Established == firewall.EstablishedKeep {
		rules = append(
			rules,
			args("-m", "conntrack", "--ctstate", "ESTABLISHED", "--ctdir", "ORIGINAL", "-j", "RETURN"),
		)
	}
	return rules
}

// input decides about everything for this host: DNATed connections by the port that the client
// dialled, the rest by the packet's own.
func (c *compiler) input(t *table, shared []rule) {
	entry := func(p firewall.PortPiece) string { return c.entry(p, false) }
	plain := tree{root: portsChain, match: headerPort, entry: entry}
	if c.state.Unlisted == firewall.UnlistedDeny {
		plain.rest = rulesOf(append(c.notVirtual(), "-g", unlistedChain))
	}
	// A reply to this host belongs to a connection that it has begun itself.
	exempt := rulesOf(
		[]string{"-i", "lo", "-j", "RETURN"},
		slices.Concat(
			reply,
			[]string{"-m", "connlabel", "!", "--label", strconv.Itoa(firewall.OutsideLabel)},
			written,
			[]string{"-j", "RETURN"},
		),
	)
	roots := c.ports(plain)
	c.hooked(t, "INPUT", baseChain, nil, slices.Concat(exempt, shared, c.toIPVS(roots), roots)...)
}

// forward decides about what the host's own DNAT sends elsewhere, such as to containers, and about
// what is routed to containers past that.
func (c *compiler) forward(t *table, shared []rule) {
	unasked, direct := c.direct()
	replies := rulesOf(slices.Concat(reply, written, []string{"-j", "RETURN"}))
	c.hooked(t, "FORWARD", forwardChain, nil, slices.Concat(unasked, replies, shared, direct)...)
}

// translated sends the packets of DNATed connections to a tree of their own, over the connection's
// original port and address. Unless the client dialled an address of the host's own, it is a
// virtual IP that only DNAT knows: one that deny never refuses, and that the host's own workloads
// reach past the services that list the port, unless those name the address.
func (c *compiler) translated() []rule {
	deny := c.state.Unlisted == firewall.UnlistedDeny
	if len(c.state.Services) == 0 && !deny {
		return nil
	}
	entry := func(p firewall.PortPiece) string { return c.entry(p, true) }
	original := tree{root: originalChain, match: originalPort, entry: entry}
	if deny {
		original.rest = rulesOf(append(slices.Clone(own), "-g", unlistedChain))
	}
	roots := c.ports(original)
	notOwn := []string{"-m", "connlabel", "!", "--label", strconv.Itoa(firewall.OwnLabel)}
	c.chain(originalChain, "", append(rulesOf(append(notOwn, "-g", virtualChain)), roots...)...)

	naming := func(p firewall.PortPiece) string { return c.named(p, true) }
	named := c.ports(tree{root: virtualTree, match: originalPort, entry: naming})
	c.chain(virtualTree, "", named...)
	c.chain(virtualChain, "", append(c.fromInside(virtualTree), roots...)...)
	return rulesOf(append(slices.Clone(translated), "--ctdir", "ORIGINAL", "-g", originalChain))
}

// fromInside leads what comes from the host's own workloads to a chain.
func (c *compiler) fromInside(chain string) (rules []rule) {
	for _, name := range c.state.Inside() {
		rules = append(rules, args("-i", interfaceWord(name), "-g", chain))
	}
	return rules
}

// direct refuses what is routed to containers past the ports that they publish: replies that nobody
// there has asked for, and what begins there or belongs to no connection.
func (c *compiler) direct() (unasked, rules []rule) {
	if len(c.state.Direct) == 0 {
		return nil, nil
	}
	// What this host has published decides for itself.
	between := rulesOf(append(slices.Clone(translated), "-j", "RETURN"))
	for _, name := range c.state.Direct {
		word := interfaceWord(name)
		between = append(between, args("-i", word, "-j", "RETURN"))
		begins := []string{"-m", "conntrack", "--ctstate", "INVALID,NEW,UNTRACKED"}
		rules = append(
			rules,
			args(slices.Concat([]string{"-o", word}, begins, []string{"-g", directChain})...),
		)
		unasked = append(
			unasked,
			args(slices.Concat([]string{"-o", word}, reply, elsewhere, []string{"-g", directChain})...),
		)
	}
	c.chain(directChain, "", append(between, args("-g", directRefuse))...)
	c.refuse(directRefuse, "", firewall.LogLabelDirect, true)
	return unasked, rules
}

// beginning has the packets looked at that would begin a connection from one of the host's own
// addresses, though they come from outside: in such a connection a packet to the host would look
// like a reply. They are dropped, since an answer would go to the host itself. Where unlisted ports
// are left alone it concerns only those that a service lists, on either side.
func (c *compiler) beginning() []rule {
	type words = []string
	var rules []rule
	to := spoofedChain
	if c.state.Unlisted == firewall.UnlistedDeny {
		// Neighbour discovery speaks of addresses that two hosts have, and no port is behind any of
		// these.
		for _, p := range []string{"icmp", "2", "ipv6-icmp"} { // 2 is IGMP
			if (p == "ipv6-icmp") == (c.family == firewall.IPv6) {
				rules = append(rules, args("-p", p, "-j", "RETURN"))
			}
		}
	} else {
		if len(c.state.Services) == 0 {
			return nil
		}
		to = spoofedPorts
		c.chain(spoofedPorts, "", c.listed()...)
	}
	rules = append(rules, args(append(slices.Clone(spoofed), "-g", to)...))
	if c.family == firewall.IPv6 {
		// Link-local addresses say nothing without an interface: any host may have the same
		// (RFC 4291 §2.5.6).
		rules = append(rules, args("-s", linkLocal, "-j", "RETURN"))
	}
	local := words{"-m", "addrtype", "--src-type", "LOCAL"}
	c.chain(beginChain, "", append(rules, args(append(local, "-g", to)...))...)
	c.chain(spoofedChain, "", append(c.counted(firewall.LogLabelSpoofed, true), args("-j", "DROP"))...)
	return rulesOf(append(slices.Clone(begins), "-j", beginChain),
		[]string{"-m", "conntrack", "--ctstate", "INVALID,UNTRACKED", "-j", beginChain})
}

// listed picks the packets of which either port is listed. Only packets that bear one of the host's
// own addresses get there: a list will do.
func (c *compiler) listed() (out []rule) {
	var last firewall.PortRange
	add := func(r firewall.PortRange) {
		if r.First == 0 && r.Last == 0 {
			if !r.Protocol.HasPorts() && r.Protocol != 0 && r.Protocol != firewall.Ping {
				out = append(out, c.portless(r.Protocol, spoofedChain))
			}
			return
		}
		p, ports := r.Protocol.String(), portsWord(int(r.First), int(r.Last))
		out = append(out, rulesOf([]string{"-p", p, "-m", p, "--sport", ports, "-g", spoofedChain},
			append(headerPort(r.Protocol, ports), "-g", spoofedChain), // also of what is not tracked
			append(originalPort(r.Protocol, ports), "-g", spoofedChain))...)
	}
	for _, piece := range firewall.PortPieces(c.state.Services) {
		if r := piece.Ports; r.Protocol == last.Protocol && last.Last != 0 && r.First == last.Last+1 {
			last.Last = r.Last
			continue
		}
		add(last)
		last = piece.Ports
	}
	add(last)
	return out
}
