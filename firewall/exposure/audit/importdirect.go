package audit

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// What the rules do with new packets that this host forwards. A policy can only refuse all of them
// (direct), to the own addresses of what is behind an interface.

// findDirect finds the interfaces of workloads to whose own addresses the rules forward nothing,
// and notes what else the rules refuse to forward.
func (w *importWriter) findDirect() {
	n := &forwarding{
		importWriter: w,
		rules:        w.Rules.Forwarding(),
		targets:      search(w.Rules).directTargets,
		classes:      map[classKey][]exposure.Class{},
	}
	n.evaluator = w.newEvaluator(n.rules, w.Host)
	n.budget.Steps = maxForwardWork
	n.ruleCount = n.rules.RuleCount()
	var kept, published, unasked []string
	for _, to := range w.interfaces {
		x := n.to(to)
		workload := to.Kind == "bridge" || firewall.MatchInterface("veth*", to.Name)
		switch {
		case n.tooMuch && !x.decided():
			unasked = append(unasked, to.Name)
		case !x.refuses:
		case !workload || !sayable(to.Name):
			kept = append(kept, to.Name)
		case len(x.passing) > 0:
			w.note(
				"the rules let some new packets through to what is behind %s (by %s), and refuse "+
					"others; a policy can only refuse all of them (direct), so this one refuses none: keep "+
					"the rules about forwarded packets",
				to.Name,
				strings.Join(x.passing, "; "),
			)
		default:
			w.out.Direct = append(w.out.Direct, to.Name)
			published = append(published, x.published...)
		}
	}
	if len(unasked) > 0 {
		w.note(
			"the rules about forwarded packets tell too much apart to know what they do with packets "+
				"to %s; this policy refuses none of them: keep these rules",
			shortList(unasked),
		)
	}
	if len(published) > 0 {
		w.note(
			"direct refuses all new packets to the own addresses of what is behind %s, also to %s, "+
				"which the rules let through to published targets",
			strings.Join(w.out.Direct, ", "),
			strings.Join(published, ", "),
		)
	}
	if len(kept) > 0 {
		w.note("the rules refuse to forward new packets to %s; a policy says nothing of forwarded "+
			"packets, so keep these rules", strings.Join(kept, ", "))
	}
}

// forwarding asks about forwarded packets. It looks only at rules that they can meet, so that rules
// for the host itself don't change the answer.
type forwarding struct {
	*importWriter
	rules     *exposure.Ruleset
	evaluator *exposure.Evaluator
	targets   map[directTarget]exposure.Ranges
	ruleCount int
	budget    exposure.Budget // for all questions
	classes   map[classKey][]exposure.Class
	// tooMuch: the rules tell more apart than can be asked about.
	tooMuch bool
}

// classKey is a family and ports.
type classKey struct {
	family address.Family
	ports  firewall.PortRange
}

const (
	// maxClassifying bounds the classes of destinations that are made: rules times ranges of ports.
	maxClassifying = 10_000_000
	// maxForwardWork bounds all questions, in steps of exposure.Budget: some seconds.
	maxForwardWork = 50_000_000
	// maxPassing bounds the rules that a note names.
	maxPassing = 3
)

// forwarded is what the rules do with new packets to what is behind an interface, from other
// interfaces and without DNAT.
type forwarded struct {
	refuses bool
	// passing are the rules that let, or may let, some through, for people.
	passing []string
	// published are targets of published ports to which packets get through at their own addresses.
	published []string
}

// decided reports whether no more answers are needed.
func (x *forwarded) decided() bool { return x.refuses && len(x.passing) == maxPassing }

// to asks about packets to what is behind an interface, by every other one.
func (n *forwarding) to(to exposure.Interface) (x forwarded) {
	for _, f := range address.Families {
		var by []exposure.Interface
		for _, from := range n.interfaces {
			if from.Name != to.Name && n.Host.Forwards(&from, f) {
				by = append(by, from)
			}
		}
		if len(by) == 0 {
			continue
		}
		behind := n.behind(to, f)
		if behind.Empty() {
			continue
		}
		for _, ports := range n.ports(f) {
			for _, q := range n.questionsTo(behind, f, ports) {
				for _, from := range by {
					if x.decided() || n.tooMuch {
						return x
					}
					q.Interface = from.Name
					n.ask(&x, q, ports, to, behind)
				}
			}
		}
	}
	return x
}

// ask asks one question, about packets with sources that aren't behind the interface themselves.
func (n *forwarding) ask(
	x *forwarded,
	q exposure.Question,
	ports firewall.PortRange,
	to exposure.Interface,
	behind exposure.Ranges,
) {
	if n.tooMuch = n.tooMuch || n.budget.Steps <= 0; n.tooMuch {
		return
	}
	answer, err := n.evaluator.EvaluateWithin(q, &n.budget)
	if n.tooMuch = err != nil || n.budget.Cut > 0; n.tooMuch {
		return // of an answer in part, nothing is known
	}
	for _, p := range answer.Pieces {
		sources := p.Sources.Minus(n.unroutable[slot(q.Family)]).Minus(behind)
		by := p.DecidedBy
		switch {
		case sources.Empty():
		case !p.Outcome.Passes():
			// else the host itself refuses it
			x.refuses = x.refuses || by.Rule != nil || by.Chain != nil
		case p.Outcome != exposure.Forwarded || p.Translated || p.Out != "" && p.Out != to.Name:
		case n.isPublished(q, ports):
			x.published = appendOnce(x.published, fmt.Sprintf("%s %s", q.Protocol,
				netip.AddrPortFrom(q.Destination, q.Port)))
		case len(x.passing) == maxPassing:
		case by.Rule == nil: // the last policy on the way says nothing
			x.passing = appendOnce(x.passing, fmt.Sprintf("no rule, over %s", q.Family))
		default:
			x.passing = appendOnce(x.passing, Words(withoutReason(by).Describe()))
		}
	}
}

// isPublished reports whether a question is about the target of a published port.
func (n *forwarding) isPublished(q exposure.Question, ports firewall.PortRange) bool {
	_, published := n.targets[directTarget{
		q.Protocol, netip.AddrPortFrom(q.Destination, q.Port),
	}]
	return published && ports.First == ports.Last
}

// ports lists the protocols and ranges of ports that the rules distinguish.
func (n *forwarding) ports(f address.Family) (out []firewall.PortRange) {
	for _, p := range firewall.Protocols {
		b := bordersOf(n.rules, nil, p, nil)
		for first, port := 1, 1; port < 1<<16; port++ {
			if port == 1<<16-1 || b.computed || b.starts[port+1] {
				out = append(out, firewall.PortRange{
					Protocol: p, First: uint16(first), Last: uint16(port),
				})
				first = port + 1
			}
		}
	}
	b := bordersOf(n.rules, nil, 0, nil)
	asked := false // whether one was asked about that no rule distinguishes from this one
	for number := 1; number < 256; number++ {
		p := firewall.Protocol(number)
		asked = asked && !b.protocols[number]
		if !p.Listable() || p.HasPorts() || !p.Of(f) ||
			asked && p != firewall.Ping && !b.protocolComputed {
			continue
		}
		asked = asked || p != firewall.Ping
		out = append(out, firewall.Portless(p))
	}
	return out
}

// questionsTo asks about one address of each class of destinations behind an interface that rules
// treat the same way.
func (n *forwarding) questionsTo(
	behind exposure.Ranges,
	f address.Family,
	ports firewall.PortRange,
) (out []exposure.Question) {
	for _, c := range n.classesOf(f, ports) {
		here := c.Addresses.Intersect(behind)
		if here.Empty() {
			continue
		}
		out = append(out, exposure.Question{
			Family:      f,
			Protocol:    ports.Protocol,
			Destination: n.exampleOf(here, f, ports),
			Port:        ports.First,
			Answers:     exposure.NoAnswers,
		})
	}
	return out
}

// classesOf are the classes of destinations for some ports.
func (n *forwarding) classesOf(f address.Family, ports firewall.PortRange) []exposure.Class {
	k := classKey{f, ports}
	if known, ok := n.classes[k]; ok {
		return known
	}
	if len(n.classes)*n.ruleCount > maxClassifying {
		n.tooMuch = true
		return nil
	}
	out, complete := n.evaluator.Classes(f, ports.Protocol, ports.First, ports.Last)
	n.tooMuch = n.tooMuch || !complete
	n.classes[k] = out
	return out
}

// maxExamples bounds the addresses that are looked at for an example.
const maxExamples = 16

// exampleOf is an address of a set: one that isn't published, if there is one.
func (n *forwarding) exampleOf(
	set exposure.Ranges,
	f address.Family,
	ports firewall.PortRange,
) netip.Addr {
	r := widest(set)
	first := addressOf(f, r)
	for a, i := first, 0; i < maxExamples && a.IsValid() && r.Contains(exposure.Address(a)); i++ {
		_, published := n.targets[directTarget{
			ports.Protocol, netip.AddrPortFrom(a, ports.First),
		}]
		// the first address of a network may be special
		if !published && (i > 0 || r.From == r.To) {
			return a
		}
		a = a.Next()
	}
	return first
}

// behind are the addresses of others that are routed out of an interface.
func (w *importWriter) behind(to exposure.Interface, f address.Family) (out exposure.Ranges) {
	var tables []uint32
	routes := map[uint32][]exposure.Route{}
	for _, r := range w.Host.Routes {
		if r.Dest.IsValid() && r.Dest.Addr().Is4() == (f == address.IPv4) {
			if routes[r.Table] == nil {
				tables = append(tables, r.Table)
			}
			routes[r.Table] = append(routes[r.Table], r)
		}
	}
	for _, t := range tables {
		out = out.Union(routedTo(to.Index, f, routes[t]))
	}
	return out.Minus(exposure.SourcesOf(notForwarded, f)).Minus(w.unroutable[slot(f)])
}

// notForwarded are destinations that no router forwards.
var notForwarded = address.Must("fe80::/10")

// routedTo are the destinations that the routes of one table send out of an interface: longer
// prefixes go first.
func routedTo(index int, f address.Family, routes []exposure.Route) (out exposure.Ranges) {
	byLength := map[int][2][]netip.Prefix{} // those out of the interface, and all
	for _, r := range routes {
		both := byLength[r.Dest.Bits()]
		if r.Type == exposure.RouteUnicast && slices.ContainsFunc(r.NextHops,
			func(h exposure.NextHop) bool { return h.Index == index }) {
			both[0] = append(both[0], r.Dest)
		}
		both[1] = append(both[1], r.Dest)
		byLength[r.Dest.Bits()] = both
	}
	var claimed exposure.Ranges
	for length := f.Bits(); length >= 0; length-- {
		both, known := byLength[length]
		if !known {
			continue
		}
		here, _ := address.New(both[0]...) // routes have valid prefixes
		all, _ := address.New(both[1]...)
		out = out.Union(exposure.SourcesOf(here, f).Minus(claimed))
		claimed = claimed.Union(exposure.SourcesOf(all, f))
	}
	return out
}
