package xt

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/pipeline"
)

// maxFanOut is the most rules of the port tree that a packet meets on one level. With sixteen, the
// tree for 65536 ports has four levels; a chain of up to sixteen rules needs no levels below it.
const maxFanOut = 16

// tree leads each listed protocol and port to the chain that decides. xtables has no verdict map: a
// flat list would cost a packet a rule for each service.
type tree struct {
	root  string // its chains' names begin with it
	match func(p firewall.Protocol, ports string) []string
	entry func(firewall.PortPiece) string // "" for none
	rest  []rule                          // what becomes of packets for other ports
}

// headerPort matches the packet's own destination port.
func headerPort(p firewall.Protocol, ports string) []string {
	return []string{"-p", p.String(), "-m", p.String(), "--dport", ports}
}

// originalPort matches the port that the connection's client dialled, whatever DNAT made of it.
func originalPort(p firewall.Protocol, ports string) []string {
	return []string{"-p", p.String(), "-m", "conntrack", "--ctorigdstport", ports}
}

// ports makes a tree, and returns the rules that lead to it, and past it.
func (c *compiler) ports(t tree) []rule {
	roots := c.render(pipeline.Portless(c.pieces, func(p firewall.PortPiece) (to pipeline.Name) {
		return pipeline.Text(t.entry(p))
	})...)
	byProtocol := map[firewall.Protocol][]target{}
	for _, piece := range c.pieces {
		if r := piece.Ports; r.Protocol.HasPorts() {
			if to := t.entry(piece); to != "" {
				byProtocol[r.Protocol] = append(byProtocol[r.Protocol],
					target{int(r.First), int(r.Last), to})
			}
		}
	}
	for _, p := range firewall.Protocols {
		if targets := byProtocol[p]; len(targets) > 0 {
			roots = append(roots, args("-p", p.String(), "-g", c.node(t, p, 0, 1<<16, targets)))
		}
	}
	return append(roots, t.rest...)
}

// portsWord is a range of ports, both ends included, as iptables prints it.
func portsWord(first, last int) string {
	if first == last {
		return strconv.Itoa(first)
	}
	return fmt.Sprintf("%d:%d", first, last)
}

// target is a range of ports, both ends included, and the chain that decides on it.
type target struct {
	first, last int
	chain       string
}

// node makes the chain for the ports from start on, size of them, which all targets lie within. Its
// name depends on nothing else, and its content on nothing outside, so that a change of one service
// changes few chains.
func (c *compiler) node(t tree, p firewall.Protocol, start, size int, targets []target) string {
	name := t.root + "-" + p.String()
	if size < 1<<16 {
		name += fmt.Sprintf("-%d-%d", start, start+size-1)
	}
	var rules []rule
	to := func(first, last int, chain string) {
		rules = append(rules, args(append(t.match(p, portsWord(first, last)), "-g", chain)...))
	}
	if len(targets) <= maxFanOut {
		for _, x := range targets {
			to(x.first, x.last, x.chain)
		}
	} else {
		step := size / maxFanOut
		for at := start; at < start+size; at += step {
			var within []target
			for _, x := range targets {
				if x.last >= at && x.first < at+step {
					part := target{max(x.first, at), min(x.last, at+step-1), x.chain}
					within = append(within, part)
				}
			}
			switch {
			case len(within) == 1:
				to(within[0].first, within[0].last, within[0].chain)
			case len(within) > 1:
				to(at, at+step-1, c.node(t, p, at, step, within))
			}
		}
	}
	c.chain(name, "", append(rules, t.rest...)...)
	return name
}

// isDispatch reports whether a chain belongs to the tree over the packet's own ports.
func isDispatch(chain string) bool {
	return strings.HasPrefix(chain, portsChain+"-")
}
