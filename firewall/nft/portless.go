package nft

import (
	"github.com/portgrave/portgrave/firewall"
)

// portlessProtocols are the listed protocols without ports, but for ping: its replies open nothing.
func (c *compiler) portlessProtocols() (out []firewall.Protocol) {
	for _, piece := range firewall.PortPieces(c.state.Services) {
		if p := piece.Ports.Protocol; !p.HasPorts() && p != firewall.Ping {
			out = append(out, p)
		}
	}
	return out
}

// portless are the rules that lead protocols without ports to the chains that decide: one each, two
// for ping. They stand behind the ports map, which has packets with ports only.
func (c *compiler) portless() (rules []rule) {
	for _, piece := range firewall.PortPieces(c.state.Services) {
		p := piece.Ports.Protocol
		if p.HasPorts() {
			continue
		}
		target := c.entry(piece)
		if p != firewall.Ping {
			rules = append(rules, newRule().l4proto(byte(p)).gotoChain(target))
			continue
		}
		for _, f := range firewall.Families {
			m := firewall.EchoRequest(f)
			rules = append(rules, newRule().icmpType(f, m.Type).gotoChain(target))
		}
	}
	return rules
}
