package audit

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/sockets"
)

// Explanation is one packet's path, and why a client can't connect. Its JSON is a contract.
type Explanation struct {
	exposure.Explanation
	// From and the following describe the packet.
	From        netip.Addr `json:"from"`
	Destination netip.Addr `json:"to"`
	Port        uint16     `json:"port"`
	Protocol    string     `json:"protocol"`
	Interface   string     `json:"interface"`
	// Reason is one of reasons.
	Reason Reason `json:"reason"`
	// Connects: a listener answers and the answer gets out, at every possible target.
	Connects bool `json:"connects"`
	// Summary is the conclusion in a sentence.
	Summary string `json:"summary"`
	// Service of the policy that decided, and its place in the policy; "" if another program
	// decided.
	Service string `json:"service,omitempty"`
	Policy  string `json:"policy,omitempty"`
	// Except is the place in the policy of the entry of the service's except that takes the source
	// away; "" if none does. Unallowed: allow doesn't have the source either.
	Except    string `json:"except,omitempty"`
	Unallowed bool   `json:"-"`
}

// Reason is why a connection succeeds or fails.
type Reason string

// The reasons. With the last one, a client that still can't connect isn't stopped by this host.
const (
	DroppedHere    Reason = "dropped-here"
	BoundElsewhere Reason = "bound-elsewhere"
	NothingListens Reason = "nothing-listens"
	ReplyLost      Reason = "reply-lost" // packets come in, and answers don't get out
	Unclear        Reason = "undecided"
	Connects       Reason = "connects" // as far as this host knows; otherwise check upstream
)

// Explain follows a packet that Locate has completed. It returns an error for a packet that makes
// no question.
func Explain(in Input, p Packet) (Explanation, error) {
	in.Host = in.hostWithSockets()
	return explainBy(exposure.NewEvaluator(in.Rules, in.Host), in, p)
}

// explainBy is Explain by an evaluator of the rules and the host, which has its sockets.
func explainBy(e *exposure.Evaluator, in Input, p Packet) (Explanation, error) {
	x := Explanation{
		From:        p.From,
		Destination: p.Destination,
		Port:        p.Port,
		Protocol:    p.Protocol.String(),
		Interface:   p.Interface,
	}
	path, err := e.Explain(p.question(exposure.Ranges{}), p.From)
	if err != nil {
		return x, err
	}
	x.Explanation = path
	x.Assumed = append(x.Assumed, p.Guesses...)
	x.loseLater(e, in, p)
	x.conclude(in, p)
	x.CutTargets()
	x.Connects = x.Reason == Connects
	return x, nil
}

// loseLater looks whether later packets of the connection get through.
func (x *Explanation) loseLater(e *exposure.Evaluator, in Input, p Packet) {
	on := in.Host.Interface(p.Interface)
	if !needsAnswer(p.Protocol) || on != nil && on.Loopback {
		return
	}
	one := exposure.NewRanges(exposure.One(exposure.Address(p.From)))
	answer, err := e.Evaluate(p.question(one))
	if err != nil {
		return
	}
	e.LoseLater(&answer, nil)
	for _, l := range answer.Targets(p.From) {
		for i := range x.Targets {
			t := &x.Targets[i]
			later := l.Replies.Lost == exposure.Yes &&
				strings.HasPrefix(l.Replies.LostBy.Reason, exposure.LaterDropped)
			if t.Address == l.Address && t.Replies.Lost == exposure.No && later {
				t.Replies = l.Replies
			}
		}
	}
}

// conclude finds the listeners and decides the outcome.
func (x *Explanation) conclude(in Input, p Packet) {
	port := firewall.PortRange{Protocol: p.Protocol, First: p.Port, Last: p.Port}.String()
	defer func() {
		if x.DecidedBy.Owner == "portgrave" {
			x.Service = serviceOfChain(x.DecidedBy.Chain)
		}
	}()
	if r := x.Replies; r != nil && r.Lost != exposure.No {
		r.LostTo = Words(r.LostBy)
	}
	if x.Verdict == "deny" {
		x.Reason, x.Summary = DroppedHere, fmt.Sprintf(
			"%s does not get to %s: %s", p.From, port, stopped(x.DecidedBy),
		)
		if x.passesBy() {
			x.Summary += fmt.Sprintf("; %s is no address of this host", p.Destination)
		}
		x.judgeAll()
		return
	}
	var ends []end
	a := &auditor{Input: in}
	a.collectHost()
	if p.Protocol.HasPorts() {
		target, ok := x.onlyTarget(p)
		if ok && x.Verdict == "allow" && x.throughIPVS(in, p, target, letInBy(x.DecidedBy)) {
			x.judgeAll()
			return
		}
	}
	for i := range x.Targets {
		t := &x.Targets[i]
		e := a.endOf(t, p, port, letInBy(t.DecidedBy))
		t.Reason, t.Connects = string(e.reason), e.reason == Connects
		if e.reason == ReplyLost {
			t.DecidedBy = t.Replies.LostBy
		}
		if e.step.Effect != "" {
			x.AddStep(t.At, e.step, e.step.Hook == stepInside)
		}
		e.target = *t
		ends = append(ends, e)
	}
	x.decideVerdict()
	if x.Listener = listenerAt(ends); x.Verdict == "unknown" && !x.eachDecided() {
		x.Reason, x.Summary = Unclear, fmt.Sprintf(
			"whether %s gets to %s depends on rules that can't be decided in advance: %s",
			p.From,
			port,
			someOf(wordsOf(x.Unknowns)),
		)
		if r := x.Replies; r != nil && r.Lost == exposure.Yes {
			x.Summary += "; should it get there, the answer is lost: " + r.LostTo
		}
		return
	}
	x.combine(ends, p, port)
}

// passesBy reports whether the host forwards the packet to the address that was dialled.
func (x *Explanation) passesBy() bool {
	return len(x.Targets) == 0 && slices.ContainsFunc(x.Steps, func(s exposure.Step) bool {
		return s.Hook == exposure.HookForward.String()
	})
}

// eachDecided reports whether it is known for each of several targets whether the packet gets
// there, so that nothing but the choice of the target isn't known.
func (x *Explanation) eachDecided() bool {
	return len(x.Targets) > 1 && !x.Strays &&
		!slices.ContainsFunc(
			x.Targets,
			func(t exposure.Target) bool { return t.Verdict == "unknown" },
		)
}

// decideVerdict applies the verdicts of other namespaces, where the host lets the packet through.
func (x *Explanation) decideVerdict() {
	if x.Verdict != "allow" || len(x.Targets) == 0 {
		return
	}
	is := func(verdict string) func(exposure.Target) bool {
		return func(t exposure.Target) bool { return t.Verdict == verdict }
	}
	denied := slices.IndexFunc(x.Targets, is("deny"))
	switch {
	case slices.ContainsFunc(x.Targets, is("unknown")):
		x.Verdict = "unknown"
		for _, t := range x.Targets {
			x.Unknowns = append(x.Unknowns, t.Replies.Unknowns...)
		}
	case denied >= 0 && !slices.ContainsFunc(x.Targets, is("allow")):
		x.Verdict, x.DecidedBy = "deny", x.Targets[denied].DecidedBy
	}
	for _, t := range x.Targets {
		if x.Replies != nil && x.Replies.Lost == exposure.No && t.Replies.Lost != exposure.No {
			r := t.Replies
			r.LostTo = Words(r.LostBy)
			x.Replies = &r
		}
	}
}

// judgeAll applies the packet's outcome to every target.
func (x *Explanation) judgeAll() {
	for i := range x.Targets {
		x.Targets[i].Reason, x.Targets[i].Connects = string(x.Reason), x.Reason == Connects
	}
}

// onlyTarget is the packet's target, if there is only one.
func (x *Explanation) onlyTarget(p Packet) (netip.AddrPort, bool) {
	if len(x.Targets) != 1 {
		return netip.AddrPort{}, false
	}
	return targetAt(x.Targets[0], p), true
}

// throughIPVS decides the outcome for a packet that a service of IPVS takes. It is false if none
// does.
func (x *Explanation) throughIPVS(in Input, p Packet, target netip.AddrPort, by string) bool {
	s, found := serviceAt(in.IPVS, p.Protocol, target)
	if !found {
		return false
	}
	targets := realServers(s)
	if len(targets) == 0 {
		x.Reason = NothingListens
		x.Summary = fmt.Sprintf(
			"the rules let %s through to %s, a service of IPVS, which has no real server",
			p.From,
			s,
		)
		return true
	}
	x.Reason, x.Replies = Connects, nil // the answer doesn't come from this host's sockets
	x.Summary = fmt.Sprintf(
		"%s gets to %s, %s; IPVS sends it on to %s; should it not connect, look there",
		p.From,
		s,
		by,
		strings.Join(targets, ", "),
	)
	return true
}

func listenerOf(l sockets.Listener) *exposure.Listener {
	out := &exposure.Listener{
		Protocol:  l.Protocol.String(),
		Address:   l.Address.String(),
		Port:      l.Port,
		Interface: l.Interface,
	}
	if !l.Namespace.Current {
		out.Namespace = l.Namespace.String()
	}
	if len(l.Owners) > 0 {
		o := l.Owners[0]
		out.Process, out.PID, out.Executable = o.Name, o.PID, o.Executable
		out.Unit, out.Container = o.Unit, o.Container.String()
	}
	return out
}

// whoListens describes a listener for people.
func whoListens(l *exposure.Listener) string {
	who := l.Process
	if who == "" {
		who = "a program that can't be told"
	}
	if l.PID != 0 {
		who += fmt.Sprintf(" (process %d)", l.PID)
	}
	if l.Namespace != "" {
		who += " in " + l.Namespace
	}
	return who
}

// serviceOfChain is the service of one of Portgrave's chains: "svc/prometheus/refuse",
// "PORTGRAVE-S-prometheus", or "PORTGRAVE-G-prometheus~tcp-9090" for a lease. Names too long for
// iptables aren't recovered.
func serviceOfChain(chain string) string {
	if rest, ok := strings.CutPrefix(chain, "svc/"); ok {
		name, _, _ := strings.Cut(rest, "/")
		return name
	}
	if rest, ok := strings.CutPrefix(chain, "PORTGRAVE-"); ok {
		if _, name, ok := strings.Cut(rest, "-"); ok {
			if service, port, leased := strings.Cut(name, "~"); leased && strings.Contains(port, "-") {
				return service
			}
			return name
		}
	}
	return ""
}
