package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/portgrave/portgrave/firewall"
)

// Test is one entry of tests: what must become of packets from somewhere.
type Test struct {
	Location  Location
	From      netip.Prefix
	To        string // a service, or
	Port      uint16 // a port of Protocol
	Protocol  firewall.Protocol
	Interface string     // "" is wherever it would be allowed
	Address   netip.Addr // zero is whichever would be allowed
	Expect    string     // "allow" or "deny"
}

// TestResult is what became of a Test. The JSON shape is a contract.
type TestResult struct {
	From     string   `json:"from"`
	To       string   `json:"to"`     // the service, or "tcp/9090"
	Expect   string   `json:"expect"` // "allow" or "deny"
	Got      string   `json:"got"`    // "allow", "deny", "ignored" (Portgrave leaves the port alone) or "partial"
	OK       bool     `json:"ok"`
	Reason   string   `json:"reason"`
	Location Location `json:"location"`
}

func (d *decoder) test(n *node) {
	if n.kind != kindMapping {
		return
	}
	t := Test{Location: n.at, Protocol: firewall.TCP}
	var from, protocol, address string
	setText(n, "from", &from)
	setText(n, "to", &t.To)
	setText(n, "protocol", &protocol)
	setText(n, "interface", &t.Interface)
	setText(n, "address", &address)
	setText(n, "expect", &t.Expect)
	if t.To != "" {
		d.targets = append(d.targets, target{t.To, n.get("to").at})
	}
	if x := n.get("port"); x != nil {
		if v, ok := decimal(x); ok && v > 0 && v <= 65535 {
			t.Port = uint16(v)
		}
	}
	if p, err := firewall.ParseProtocol(protocol); err == nil {
		t.Protocol = p
		if t.To != "" {
			d.report.at(n.get("protocol").at, "protocol goes with port; a service has its own")
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
		p, err := parsePrefix(from)
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
			d.report.at(n.get("address").at, "from is %s and address is %s; no packet is both", familyName(t.From.Addr()), familyName(t.Address))
		}
	}
	d.policy.Tests = append(d.policy.Tests, t)
}

// RunTests decides every test by the State alone, in the order of the policy.
func (c *Compiled) RunTests(now time.Time) []TestResult {
	results := make([]TestResult, 0, len(c.Tests))
	for _, t := range c.Tests {
		results = append(results, runTest(c.State, t, now))
	}
	return results
}

func runTest(s firewall.State, t Test, now time.Time) TestResult {
	r := TestResult{From: t.From.String(), To: t.To, Expect: t.Expect, Location: t.Location}
	if t.From.IsSingleIP() {
		r.From = t.From.Addr().String()
	}
	var outcomes []outcome
	if t.To == "" {
		r.To = firewall.PortRange{Protocol: t.Protocol, First: t.Port, Last: t.Port}.String()
		outcomes = append(outcomes, reach(s, t, t.Protocol, t.Port, "", now))
	}
	for _, svc := range s.Services {
		if svc.Name == t.To {
			for _, p := range svc.Ports {
				for _, port := range tellingPorts(s, p) {
					outcomes = append(outcomes, reach(s, t, p.Protocol, port, svc.Name, now))
				}
			}
		}
	}
	for i, o := range outcomes {
		if i == 0 {
			r.Got, r.Reason = o.got, o.reason
		} else if o.got != r.Got {
			r.Got, r.Reason = "partial", "its ports differ: "+r.Reason+"; "+o.reason
		}
	}
	r.OK = r.Got == r.Expect
	if !r.OK && r.Got == "ignored" {
		r.Reason += "; whether it is reachable is up to others: list the port, or use unlisted: deny"
	}
	return r
}

// tellingPorts are the ports of a range at which an answer can change: its first, and where the
// range of some service begins or has just ended.
func tellingPorts(s firewall.State, r firewall.PortRange) []uint16 {
	ports := []uint16{r.First}
	for _, svc := range s.Services {
		for _, o := range svc.Ports {
			if o.Overlaps(r) && o.First > r.First {
				ports = append(ports, o.First)
			}
			if o.Overlaps(r) && o.Last < r.Last {
				ports = append(ports, o.Last+1)
			}
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}

type outcome struct{ got, reason string }

// reach decides for every source of the test at once. A named service is asked by itself unless
// the test says where the packet arrives.
func reach(s firewall.State, t Test, protocol firewall.Protocol, port uint16, service string, now time.Time) outcome {
	listed := false
	var allowed firewall.Prefixes
	var by string
	for _, svc := range s.Services {
		if !lists(svc, protocol, port) || service != "" && svc.Name != service && t.Interface == "" && !t.Address.IsValid() {
			continue
		}
		listed = true
		if t.Interface != "" && !svc.OnInterface(t.Interface) || t.Address.IsValid() && !svc.OnAddress(t.Address) {
			continue
		}
		allowed = allowed.Union(svc.AllowedAt(now))
		by = svc.Name
	}
	if t.Interface == "lo" {
		return outcome{"allow", "loopback traffic is never filtered"}
	}
	name := firewall.PortRange{Protocol: protocol, First: port, Last: port}.String()
	if !listed {
		if s.Unlisted == firewall.UnlistedDeny {
			return outcome{"deny", "no service lists " + name + " and unlisted ports are denied"}
		}
		return outcome{"ignored", "no service lists " + name}
	}
	from, err := firewall.NewPrefixes(t.From)
	if err != nil {
		return outcome{"deny", err.Error()}
	}
	switch reached := from.Intersect(allowed); {
	case reached.Equal(from):
		return outcome{"allow", "service " + by + " allows it on " + name}
	case reached.Len() == 0:
		return outcome{"deny", "no service allows it on " + name}
	default:
		return outcome{"partial", fmt.Sprintf("only %v of it is allowed on %s", reached.Strings(), name)}
	}
}

func lists(svc firewall.Service, p firewall.Protocol, port uint16) bool {
	for _, r := range svc.Ports {
		if r.Contains(p, port) {
			return true
		}
	}
	return false
}
