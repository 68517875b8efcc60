package xt

import (
	"fmt"
	"strings"

	"github.com/portgrave/portgrave/firewall"
)

// fanOut is how many rules of the port tree a packet meets at most on one level. Sixteen levels the tree at four, for
// 65536 ports; a chain of up to sixteen rules needs no levels below it.
const fanOut = 16

// ports makes the tree that leads each listed protocol and port to the chain that decides. xtables has no verdict map: a flat
// list would cost a packet a rule for each service.
func (c *compiler) ports() {
	byProtocol := map[firewall.Protocol][]target{}
	var roots []rule
	for _, piece := range firewall.PortPieces(c.state.Services) {
		p := piece.Ports.Protocol
		if !p.HasPorts() {
			roots = append(roots, c.portless(p, c.entry(piece)))
			continue
		}
		byProtocol[p] = append(byProtocol[p], target{int(piece.Ports.First), int(piece.Ports.Last), c.entry(piece)})
	}
	for _, p := range firewall.Protocols {
		if targets := byProtocol[p]; len(targets) > 0 {
			roots = append(roots, args("-p", p.String(), "-g", c.node(p, 0, 1<<16, targets)))
		}
	}
	c.chain(portsChain, "", append(roots, c.fallThrough()...)...)
}

// target is a range of ports, both ends included, and the chain that decides on it.
type target struct {
	first, last int
	chain       string
}

// fallThrough ends a chain of the tree: in deny mode, unlisted ports are refused; else the packet returns.
func (c *compiler) fallThrough() []rule {
	if c.state.Unlisted == firewall.UnlistedDeny {
		return []rule{args("-g", unlistedChain)}
	}
	return nil
}

// node makes the chain for the ports from start on, size of them, which all targets lie within. Its name depends on nothing else, and
// its content on nothing outside, so that a change of one service changes few chains.
func (c *compiler) node(p firewall.Protocol, start, size int, targets []target) string {
	name := portsChain + "-" + p.String()
	if size < 1<<16 {
		name += fmt.Sprintf("-%d-%d", start, start+size-1)
	}
	var rules []rule
	to := func(first, last int, chain string) {
		ports := fmt.Sprint(first)
		if last != first {
			ports += ":" + fmt.Sprint(last)
		}
		rules = append(rules, args("-p", p.String(), "-m", p.String(), "--dport", ports, "-g", chain))
	}
	if len(targets) <= fanOut {
		for _, t := range targets {
			to(t.first, t.last, t.chain)
		}
	} else {
		step := size / fanOut
		for at := start; at < start+size; at += step {
			var within []target
			for _, t := range targets {
				if t.last >= at && t.first < at+step {
					within = append(within, target{max(t.first, at), min(t.last, at+step-1), t.chain})
				}
			}
			switch {
			case len(within) == 1:
				to(within[0].first, within[0].last, within[0].chain)
			case len(within) > 1:
				to(at, at+step-1, c.node(p, at, step, within))
			}
		}
	}
	c.chain(name, "", append(rules, c.fallThrough()...)...)
	return name
}

// isDispatch reports whether a chain belongs to the port tree.
func isDispatch(chain string) bool {
	return chain == portsChain || strings.HasPrefix(chain, portsChain+"-")
}
