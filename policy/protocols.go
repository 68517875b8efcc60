package policy

import (
	"slices"
	"strconv"
	"strings"

	"github.com/portgrave/portgrave/firewall"
)

const protocolDoc = "Protocols without ports are listed as a whole, by name or number, without " +
	"port, and not beside tcp, udp or sctp. ping is the echo requests of both families; without " +
	"a service for it, essentials decide. ipip is 4 and 6in4, or ipv6, is 41."

// protocolNames lists all protocols that have a name, those with ports first.
func protocolNames() choice {
	var names choice
	for _, p := range firewall.Protocols {
		names = append(names, p.String())
	}
	return append(names, firewall.PortlessNames()...)
}

// protocolName is the shape of a protocol's name.
type protocolName struct{ choice }

func (s protocolName) check(n *node, r *reporter) {
	// ParseProtocol explains icmp. The usual suggestion would be igmp, which is unrelated.
	lower := strings.ToLower(n.text)
	if _, err := firewall.ParseProtocol(lower); err != nil && strings.Contains(lower, "icmp") {
		r.at(n.at, "%v", err)
		return
	}
	if hint := protocolHint(n.text); hint != "" {
		r.at(n.at, "%q is not a protocol%s", n.text, hint)
		return
	}
	s.choice.check(n, r)
}

// portlessNumber is the shape of a protocol number without ports.
type portlessNumber struct{}

func (portlessNumber) accepts(n *node) bool { return n.kind == kindInteger }
func (portlessNumber) wants() string        { return "the number of a protocol without ports" }
func (portlessNumber) check(n *node, r *reporter) {
	if _, err := firewall.ParseProtocol(n.text); err != nil {
		r.at(n.at, "%v", err)
	}
}

func (s portlessNumber) schema() map[string]any {
	var refused []int
	for number := range 256 {
		if _, err := firewall.ParseProtocol(strconv.Itoa(number)); err != nil {
			refused = append(refused, number)
		}
	}
	return map[string]any{"title": s.wants(), "type": "integer", "minimum": 0, "maximum": 255,
		"not": map[string]any{"enum": refused}}
}

// portlessTest is the alternative to the keys to and port: a protocol without ports.
var portlessTest = alternative{
	given: func(n *node) bool {
		p, ok := protocolOf(n.get("protocol"))
		return ok && !p.HasPorts()
	},
	schema: map[string]any{
		"required": []string{"protocol"},
		"properties": map[string]any{
			"protocol": map[string]any{"not": map[string]any{"enum": portProtocolNames()}},
		},
		"not": map[string]any{"anyOf": []any{map[string]any{"required": []string{"to"}},
			map[string]any{"required": []string{"port"}}}},
	},
}

func portProtocolNames() (names []string) {
	for _, p := range firewall.Protocols {
		names = append(names, p.String())
	}
	return names
}

// protocolOf reads one protocol; check has reported other values.
func protocolOf(n *node) (firewall.Protocol, bool) {
	if n == nil || n.kind != kindInteger && n.kind != kindString ||
		n.kind == kindString && !slices.Contains(protocolNames(), n.text) {
		return 0, false
	}
	p, err := firewall.ParseProtocol(n.text)
	return p, err == nil
}

// ports reads the keys port and protocol. It returns the ranges and the location of each.
func (d *decoder) ports(n *node) (out []firewall.PortRange, at []Location) {
	protocols := []firewall.Protocol{firewall.TCP}
	var whole []string // protocols without ports
	if x := n.get("protocol"); x != nil {
		protocols = nil
		for _, item := range itemsOf(x) {
			p, ok := protocolOf(item)
			switch {
			case !ok:
			case p.HasPorts():
				protocols = append(protocols, p)
			default:
				out, at = append(out, firewall.Portless(p)), append(at, item.at)
				whole = append(whole, p.String())
			}
		}
	}
	if len(whole) > 0 {
		d.reportPortConflict(n, whole, protocols)
		return out, at
	}
	items := itemsOf(n.get("port"))
	if n.get("port") == nil {
		items = []*node{{kind: kindInteger, text: strconv.Itoa(defaultPort), at: n.at}}
	}
	for _, item := range items {
		first, last, ok := d.portRange(item)
		for _, p := range protocols {
			if ok {
				out = append(out, firewall.PortRange{Protocol: p, First: first, Last: last})
				at = append(at, item.at)
			}
		}
	}
	return out, at
}

// reportPortConflict reports ports, or protocols with ports, beside protocols without ports.
func (d *decoder) reportPortConflict(n *node, whole []string, withPorts []firewall.Protocol) {
	verb := "has"
	if len(whole) > 1 {
		verb = "have"
	}
	names := strings.Join(whole, ", ")
	if x := n.get("port"); x != nil && len(withPorts) == 0 {
		d.report.at(x.at, "%s %s no ports; leave port out", names, verb)
	}
	if len(withPorts) > 0 {
		d.report.at(n.get("protocol").at, "%s %s no ports and can't stand beside %s; write two "+
			"services",
			names, verb, withPorts[0])
	}
}

// protocolText returns a protocol as a policy writes it: its name, or else its number.
func protocolText(p firewall.Protocol) string {
	return strings.TrimPrefix(p.String(), "protocol-")
}
