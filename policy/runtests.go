package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

// RunTests decides every test from the State, in the order of the policy.
func (c *Compiled) RunTests(now time.Time) []TestResult {
	results := make([]TestResult, 0, len(c.Tests))
	if len(c.Tests) == 0 {
		return results
	}
	j := newJudge(c.State, now)
	for _, t := range c.Tests {
		results = append(results, j.run(t))
	}
	return results
}

// FailedTests returns the results of the tests that the policy fails.
func (c *Compiled) FailedTests(now time.Time) []TestResult {
	return Failed(c.RunTests(now))
}

// Failed returns those results that a policy fails.
func Failed(results []TestResult) []TestResult {
	return slices.DeleteFunc(slices.Clone(results), func(r TestResult) bool { return r.OK })
}

// judge decides tests about one State. Thousands of tests use the same few ports and services, so
// it caches the sources that are allowed at each.
type judge struct {
	index   *firewall.Index
	now     time.Time
	byName  map[string]firewall.Service
	allowed map[where]allowance
}

// where is a cache key: a port, optionally with an interface and an address, or with a single
// service.
type where struct {
	port    firewall.PortRange
	iface   string
	address netip.Addr
	service string
}

// allowance has the sources that are allowed. A single service's sources are shared, not copied.
type allowance struct {
	listed  bool
	sources address.Set
	by      string // the last service that contributed
}

func newJudge(s firewall.State, now time.Time) *judge {
	j := &judge{
		index:   s.Index(),
		now:     now,
		byName:  map[string]firewall.Service{},
		allowed: map[where]allowance{},
	}
	for _, svc := range s.Services {
		j.byName[svc.Name] = svc
	}
	return j
}

func (j *judge) run(t Test) TestResult {
	r := TestResult{From: t.From.String(), To: t.To, Expect: t.Expect, Location: t.Location}
	r.Interface = t.Interface
	if t.Address.IsValid() {
		r.Address = t.Address.String()
	}
	if t.From.IsSingleIP() {
		r.From = t.From.Addr().String()
	}
	var outcomes []outcome
	if t.To == "" {
		port := firewall.PortRange{Protocol: t.Protocol, First: t.Port, Last: t.Port}
		r.To = port.String()
		outcomes = append(outcomes, j.reach(t, port, ""))
	} else if svc, ok := j.byName[t.To]; ok {
		for _, port := range j.decisivePorts(t, svc) {
			outcomes = append(outcomes, j.reach(t, port, svc.Name))
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
		r.Reason += "; whether it is reachable is up to others: list the port, or use unlisted: " +
			"deny"
	}
	return r
}

// decisivePorts returns the ports of a service at which the answer can change: the first of each
// range, and where the range of some service begins or has just ended. Without an interface or
// address, a service gives the same answer at each of its ports.
func (j *judge) decisivePorts(t Test, svc firewall.Service) (ports []firewall.PortRange) {
	for _, r := range svc.Ports {
		first := firewall.PortRange{Protocol: r.Protocol, First: r.First, Last: r.First}
		ports = append(ports, first)
		if !t.placed() {
			return ports
		}
		for _, edge := range j.index.Edges(r) {
			ports = append(
				ports,
				firewall.PortRange{Protocol: r.Protocol, First: uint16(edge), Last: uint16(edge)},
			)
		}
	}
	return ports
}

// placed reports whether the test says where the packet arrives.
func (t Test) placed() bool { return t.Interface != "" || t.Address.IsValid() }

type outcome struct{ got, reason string }

// reach decides for all sources of the test at once. If the test names a service, only that service
// counts, unless the test says where the packet arrives.
func (j *judge) reach(t Test, port firewall.PortRange, service string) outcome {
	if t.Interface == "lo" {
		return outcome{"allow", "loopback traffic is never filtered"}
	}
	if t.placed() {
		service = ""
	}
	a := j.ask(where{port, t.Interface, t.Address, service})
	if !a.listed {
		switch j.index.Unlisted(port.Protocol) {
		case firewall.Allowed:
			return outcome{"allow", fmt.Sprintf("essentials keep %s open", port)}
		case firewall.Refused:
			return outcome{
				"deny",
				fmt.Sprintf("no service lists %s and unlisted ports are denied", port),
			}
		}
		return outcome{"ignored", fmt.Sprintf("no service lists %s", port)}
	}
	if a.sources.Covers(t.From) {
		return outcome{"allow", fmt.Sprintf("service %s allows it on %s", a.by, port)}
	}
	reached := a.sources.Within(t.From)
	if reached.Len() == 0 {
		return outcome{"deny", fmt.Sprintf("no service allows it on %s", port)}
	}
	reason := fmt.Sprintf("only [%s] of it is allowed on %s", abbreviate(reached), port)
	return outcome{"partial", reason}
}

// maxNamedPrefixes bounds the prefixes in a reason.
const maxNamedPrefixes = 16

// abbreviate lists the prefixes of a set for people, up to maxNamedPrefixes.
func abbreviate(set address.Set) string {
	var words []string
	for p := range set.All() {
		if len(words) == maxNamedPrefixes {
			words = append(words, fmt.Sprintf("… %d in all", set.Len()))
			break
		}
		words = append(words, p.String())
	}
	return strings.Join(words, " ")
}

func (j *judge) ask(w where) allowance {
	if known, ok := j.allowed[w]; ok {
		return known
	}
	a := allowance{listed: true}
	asked := []firewall.Service{j.byName[w.service]}
	if w.service == "" {
		answer := j.index.Ask(w.port.Protocol, w.port.First, w.iface, w.address)
		a.listed, asked = answer.Listed, answer.Services
	}
	var sets []address.Set
	for _, svc := range asked {
		sets = append(sets, svc.AllowedAt(j.now))
		a.by = svc.Name
	}
	a.sources = address.Union(sets...)
	j.allowed[w] = a
	return a
}
