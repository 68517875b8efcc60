package xt

import (
	"fmt"
	"net/netip"
	"strconv"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/pipeline"
)

// The rules of package pipeline in the words of iptables.

// forms are ways to say something: the words of each.
type forms = [][]string

func words(list ...string) forms { return forms{list} }

// draw makes a chain; service is the one that it serves.
func (c *compiler) draw(ch pipeline.Chain, service string) {
	c.chain(c.name(ch.Name), service, c.render(ch.Rules...)...)
}

// render writes rules. One with a condition or an action of several forms is written once for each;
// with one that has no form in this family or table, it is left out.
func (c *compiler) render(rules ...pipeline.Rule) (out []rule) {
	for _, r := range rules {
		for _, w := range pipeline.Forms(r, c.condition, c.action) {
			out = append(out, args(append(w, c.end(r.End)...)...))
		}
	}
	return out
}

// condition is the forms of a condition: a packet meets at most one.
func (c *compiler) condition(when pipeline.Condition) (out forms) {
	switch x := when.(type) {
	case pipeline.Fact:
		return c.fact(x)
	case pipeline.ArrivesBy:
		return words("-i", interfaceWord(string(x)))
	case pipeline.ArrivesThrough: // at INPUT iptables sees the VRF alone
		return words("-i", interfaceWord(string(x)))
	case pipeline.LeavesBy:
		return words("-o", interfaceWord(string(x)))
	case pipeline.Has:
		return words("-m", "connlabel", "--label", strconv.Itoa(int(x)))
	case pipeline.Lacks:
		return words("-m", "connlabel", "!", "--label", strconv.Itoa(int(x)))
	case pipeline.Only:
		return c.only(address.Family(x))
	case pipeline.From:
		return c.onlyOf(netip.Prefix(x), "-s")
	case pipeline.To:
		return c.onlyOf(netip.Prefix(x), "-d")
	case pipeline.DialledAt:
		for p := range x.Addresses.Family(c.family) {
			out = append(out, c.address(p))
		}
		return out
	case pipeline.Listed:
		return c.listed(firewall.Protocol(x))
	case pipeline.Carries:
		return c.carries(firewall.Protocol(x))
	case pipeline.Message:
		return c.only(x.Family, c.icmp(firewall.ICMPMessage(x))...)
	case pipeline.UDP:
		ports := []string{"-p", "udp", "-m", "udp"}
		if x.Source != 0 {
			ports = append(ports, "--sport", strconv.Itoa(int(x.Source)))
		}
		return words(append(ports, "--dport", strconv.Itoa(int(x.Destination)))...)
	case pipeline.Note:
		return forms{comment(string(x))}
	case pipeline.OverRate:
		if c.manner == dropsLate {
			return nil
		}
		return forms{rateWords(rateTable(firewall.Service(x), c.family), *x.Rate, c.family,
			firewall.RateMemorySize, true)}
	}
	panic(fmt.Sprintf("xt: no form of condition %T", when))
}

var facts = map[pipeline.Fact][]string{
	pipeline.FirstPacket:  {"-m", "conntrack", "!", "--ctstatus", "CONFIRMED"},
	pipeline.Reply:        {"-m", "conntrack", "--ctdir", "REPLY"},
	pipeline.Running:      {"-m", "conntrack", "--ctstate", "ESTABLISHED", "--ctdir", "ORIGINAL"},
	pipeline.NoConnection: {"-m", "conntrack", "--ctstate", "INVALID,UNTRACKED"},
	pipeline.Beginning:    {"-m", "conntrack", "--ctstate", "INVALID,NEW,UNTRACKED"},
	pipeline.Expected:     {"-m", "conntrack", "--ctstatus", "EXPECTED"},
	pipeline.Translated:   {"-m", "conntrack", "--ctstate", "DNAT"},
	pipeline.Redirected:   {"-m", "conntrack", "--ctstate", "DNAT", "--ctdir", "ORIGINAL"},
	pipeline.FromOwn:      {"-m", "addrtype", "--src-type", "LOCAL"},
	pipeline.FromOwnHere:  {"-m", "addrtype", "--src-type", "LOCAL", "--limit-iface-in"},
	pipeline.ToOwn:        {"-m", "addrtype", "--dst-type", "LOCAL"},
	pipeline.ToOwnHere:    {"-m", "addrtype", "--dst-type", "LOCAL", "--limit-iface-in"},
}

func (c *compiler) fact(x pipeline.Fact) (out forms) {
	switch x {
	case pipeline.ByVRF:
		for _, name := range c.vrfs {
			out = append(out, []string{"-i", name})
		}
		return out
	case pipeline.ToVirtual:
		if name := c.virtualSet(); name != "" {
			out = words("-m", "set", "--match-set", name, "dst,dst")
		}
		return out
	}
	w, known := facts[x]
	if !known {
		panic(fmt.Sprintf("xt: no form of fact %d", x))
	}
	return forms{w}
}

// only says something in one family; in the other there is no way to say it.
func (c *compiler) only(f address.Family, list ...string) forms {
	if f != c.family {
		return nil
	}
	return words(list...)
}

func (c *compiler) onlyOf(p netip.Prefix, option string) forms {
	if p.Addr().Is4() != (c.family == address.IPv4) {
		return nil
	}
	return words(option, p.String())
}

// listed matches a protocol that services list as a whole.
func (c *compiler) listed(p firewall.Protocol) forms {
	switch {
	case p == firewall.Ping:
		return forms{c.icmp(firewall.EchoRequest(c.family))}
	case p == firewall.AH && c.family == address.IPv6:
		// ip6tables looks past this header at what it protects, so "-p 51" never matches.
		return words("-m", "ah")
	}
	return words("-p", number(p))
}

// carries matches a protocol by the name that iptables prints, and IGMP by its number.
func (c *compiler) carries(p firewall.Protocol) forms {
	name := p.String()
	switch p {
	case firewall.ICMP:
		name = "icmp"
	case firewall.ICMPv6:
		name = "ipv6-icmp"
	case firewall.IGMP:
		name = number(p)
	}
	if f, one := pipeline.VersionOf(p); one {
		return c.only(f, "-p", name)
	}
	return words("-p", name)
}

// number is how a protocol is named to iptables: not every host has an /etc/protocols to look names
// up in.
func number(p firewall.Protocol) string { return strconv.Itoa(int(p)) }

// icmp are the words that match a message of the family.
func (c *compiler) icmp(m firewall.ICMPMessage) []string {
	number := strconv.Itoa(int(m.Type))
	if c.family == address.IPv6 {
		return []string{"-p", "ipv6-icmp", "-m", "icmp6", "--icmpv6-type", number}
	}
	return []string{"-p", "icmp", "-m", "icmp", "--icmp-type", number}
}

// address matches an address of the host: the packet's own destination or, with original, the one
// that the client dialled.
func (c *compiler) address(p netip.Prefix) []string {
	if c.original {
		return []string{"-m", "conntrack", "--ctorigdst", p.String()}
	}
	return []string{"-d", p.String()}
}

// action is the forms of an action: all are done. A packet meets rates, logs and counts once, so
// table security has none of them.
func (c *compiler) action(do pipeline.Action) (out forms) {
	switch x := do.(type) {
	case pipeline.Label:
		return words("-m", "connlabel", "--label", strconv.Itoa(int(x)), "--set")
	case pipeline.LogAllowed:
		if c.manner != dropsLate {
			out = forms{report(firewall.LogPrefixAllowed, string(x))}
		}
		return out
	case pipeline.CountAllowed:
		return words() // the kernel counts each rule's packets
	case pipeline.Record:
		// The first rule does nothing but count, since the log's hashlimit, once its table is full,
		// drops packets of further sources at once.
		out = forms{comment("refused")}
		if x.Log && c.manner != dropsLate {
			within := rateWords(logTable(c.family), firewall.DeniedLogRate, c.family,
				firewall.LogMemorySize, false)
			out = append(out, append(within, report(firewall.LogPrefixDenied, x.Label)...))
		}
		return out
	}
	panic(fmt.Sprintf("xt: no form of action %T", do))
}

func comment(text string) []string { return []string{"-m", "comment", "--comment", text} }

func report(kind, label string) []string {
	return []string{"-j", "NFLOG", "--nflog-prefix", firewall.ShortLogPrefix(kind, label),
		"--nflog-group", strconv.Itoa(firewall.NFLOGGroup),
		"--nflog-size", strconv.Itoa(firewall.NFLOGSize)}
}

// end are the words that end a rule. To accept is to say nothing: only the chain that looks at own
// addresses is called, so a RETURN anywhere else leads back to the built-in chain.
func (c *compiler) end(e pipeline.End) []string {
	switch e.Kind {
	case pipeline.GoesOn:
		return nil
	case pipeline.GoesTo:
		return []string{"-g", c.name(e.To)}
	case pipeline.Jumps:
		return []string{"-j", c.name(e.To)}
	case pipeline.Return, pipeline.Accept:
		return []string{"-j", "RETURN"}
	case pipeline.Drop:
		return []string{"-j", "DROP"}
	case pipeline.Reset:
		return []string{"-j", "REJECT", "--reject-with", "tcp-reset"}
	case pipeline.Unreachable:
		with := "icmp-port-unreachable"
		if c.family == address.IPv6 {
			with = "icmp6-port-unreachable"
		}
		return []string{"-j", "REJECT", "--reject-with", with}
	}
	panic(fmt.Sprintf("xt: no words for end %d", e.Kind))
}
