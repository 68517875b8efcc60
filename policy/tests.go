package policy

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/portgrave/portgrave/firewall"
)

// Test is one entry of the key tests: what must happen to packets from a source.
type Test struct {
	Location  Location
	From      netip.Prefix
	To        string // a service; "" if the test names a protocol
	Port      uint16 // 0 if Protocol has no ports
	Protocol  firewall.Protocol
	Interface string     // "" is any interface that would allow the packet
	Address   netip.Addr // zero is any address that would allow the packet
	Expect    string     // "allow" or "deny"
}

// TestResult is the outcome of a Test. Its JSON shape is stable.
type TestResult struct {
	From   string `json:"from"`
	To     string `json:"to"`     // the service, or "tcp/9090"
	Expect string `json:"expect"` // "allow" or "deny"
	// Got is "allow", "deny", "partial", or "ignored" if Portgrave leaves the port alone.
	Got      string   `json:"got"`
	OK       bool     `json:"ok"`
	Reason   string   `json:"reason"`
	Location Location `json:"location"`
	// Interface and Address say where the packet arrives, if the test does.
	Interface string `json:"interface,omitempty"`
	Address   string `json:"address,omitempty"`
}

func (d *decoder) test(n *node) {
	if n.kind != kindMapping {
		return
	}
	t := Test{Location: n.at, Protocol: firewall.TCP}
	var from, address string
	setText(n, "from", &from)
	setText(n, "to", &t.To)
	setText(n, "interface", &t.Interface)
	setText(n, "address", &address)
	setText(n, "expect", &t.Expect)
	if t.To != "" {
		d.testTargets = append(d.testTargets, testTarget{t.To, n.get("to").at})
	}
	if x := n.get("port"); x != nil {
		if v, ok := decimal(x); ok && v > 0 && v <= 65535 {
			t.Port = uint16(v)
		}
	}
	if p, ok := protocolOf(n.get("protocol")); ok {
		t.Protocol = p
		switch {
		case t.To != "":
			d.report.at(n.get("protocol").at, "protocol goes with port; a service has its own")
		case t.Port != 0 && !p.HasPorts():
			d.report.at(n.get("port").at, "%s has no ports; leave port out", p)
		}
	}
	if t.Interface != "" && t.Interface != "lo" {
		err := firewall.CheckInterfacePattern(t.Interface)
		if err == nil && strings.HasSuffix(t.Interface, "*") {
			err = fmt.Errorf("%q: a packet arrives on one interface; name it", t.Interface)
		}
		if err != nil {
			d.report.at(n.get("interface").at, "%v", err)
		}
	}
	if from != "" {
		p, err := parseHinted(from, testSourceHint)
		if err != nil {
			d.report.at(n.get("from").at, "%v", err)
		}
		t.From = p
	}
	if address != "" {
		p, err := parsePrefix(address)
		if err == nil && !p.IsSingleIP() {
			err = fmt.Errorf("%q: a test is sent to one address", address)
		}
		if err != nil {
			d.report.at(n.get("address").at, "%v", err)
		}
		t.Address = p.Addr()
		if err == nil && t.From.IsValid() && t.From.Addr().Is4() != t.Address.Is4() {
			d.report.at(
				n.get("address").at,
				"from is %s and address is %s; no packet is both",
				familyName(t.From.Addr()),
				familyName(t.Address),
			)
		}
	}
	d.policy.Tests = append(d.policy.Tests, t)
}
