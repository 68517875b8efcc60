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

// end is the outcome of a packet at one of its targets.
type end struct {
	target   exposure.Target
	to       string // the port, and where its packets go if that is elsewhere
	reason   Reason
	listener *exposure.Listener
	summary  string
	local    bool          // the packet comes from the host itself
	unknown  bool          // on another machine or in a namespace that isn't known
	step     exposure.Step // what the host's rules don't show, if there is something
}

// targetAt is a target's address and port, or the dialled ones if nothing else is known.
func targetAt(t exposure.Target, p Packet) netip.AddrPort {
	switch {
	case t.At.IsValid():
		return t.At
	case t.At.Port() != 0:
		return netip.AddrPortFrom(p.Destination, t.At.Port())
	}
	return netip.AddrPortFrom(p.Destination, p.Port)
}

// endOf decides the outcome at one target.
func (a *auditor) endOf(t *exposure.Target, p Packet, port, by string) end {
	e := end{target: *t, to: port}
	if on := a.Host.Interface(p.Interface); on != nil {
		e.local = on.Loopback
	}
	at := targetAt(*t, p)
	moved := at != netip.AddrPortFrom(p.Destination, p.Port)
	if moved && p.Protocol.HasPorts() {
		e.to = fmt.Sprintf("%s, which goes to %s", port, at)
	}
	elsewhere := t.Forwarded || t.Verdict == "deny" && !a.Host.Owns(at.Addr())
	known := !elsewhere
	var inside []sockets.Listener
	if p.Protocol.HasPorts() {
		takers := a.takersHere(p.Protocol, at, p.Interface)
		if elsewhere {
			takers, known = a.takers(p.Protocol, at)
		}
		if len(takers) > 0 {
			e.listener = listenerOf(takers[0])
		} else if elsewhere {
			inside = a.boundInside(p.Protocol, at)
		}
	}
	if elsewhere && t.Verdict == "allow" {
		lost := t.Replies.Lost == exposure.Yes
		a.enter(t, p, at)
		switch {
		case t.Verdict == "deny":
			e.insideStep(p, "stopped ", t.DecidedBy, false)
		case t.Replies.Lost == exposure.Yes && !lost:
			e.insideStep(p, "lost ", t.Replies.LostBy, true)
		}
	}
	lost := t.Replies.Lost
	switch {
	case t.Verdict == "deny":
		e.reason, e.summary = DroppedHere, fmt.Sprintf(
			"%s does not get to %s: %s",
			p.From,
			e.to,
			stopped(t.DecidedBy),
		)
	case t.Verdict == "unknown":
		e.reason, e.summary = Unclear, fmt.Sprintf(
			"whether %s gets to %s depends on rules that can't be decided in advance",
			p.From,
			e.to,
		)
		if on := wordsOf(t.Replies.Unknowns); len(on) > 0 {
			e.summary += ": " + someOf(on)
		}
	case !t.At.IsValid() && t.Address != "" && t.At.Port() == 0:
		e.reason, e.summary = Unclear, fmt.Sprintf(
			"%s goes to one of too many targets to look at each: %s",
			port,
			t.Address,
		)
	case len(inside) > 0:
		e.boundTo(inside, p, at, " in "+a.namespaces.at(at.Addr()).name)
	case p.Protocol.HasPorts() && e.listener == nil && known:
		e.withoutListener(a, p, at, elsewhere)
	case lost == exposure.Yes && strings.HasPrefix(t.Replies.LostBy.Reason, exposure.LaterDropped):
		e.reason, e.summary = ReplyLost, fmt.Sprintf(
			"the first packet of %s gets to %s, %s, and no other: %s; %s",
			p.From, e.to, by, Words(t.Replies.LostBy), remedy(t.Replies.LostBy))
	case lost == exposure.Yes:
		e.reason, e.summary = ReplyLost, fmt.Sprintf(
			"packets of %s get to %s, %s, and the answers are lost: %s; %s",
			p.From, e.to, by, Words(t.Replies.LostBy), remedy(t.Replies.LostBy))
	case lost == exposure.Maybe:
		on := wordsOf(t.Replies.Unknowns)
		e.reason, e.summary = Unclear, fmt.Sprintf(
			"packets of %s get to %s, and whether the answers get out depends on rules that can't be "+
				"decided in advance: %s",
			p.From,
			e.to,
			someOf(on),
		)
	default:
		e.unknown = elsewhere && e.listener == nil && p.Protocol.HasPorts()
		e.reason, e.summary = Connects, e.reached(p, by, elsewhere)
		if out := t.Replies.Interface; out != "" && out != p.Interface {
			e.summary += fmt.Sprintf(
				"; the answer leaves by %s, though the packet comes by %s: a router there may refuse it",
				out,
				p.Interface,
			)
		}
	}
	return e
}

// stepInside is the hook of steps in another namespace, behind which nothing follows.
const stepInside = "namespace"

// insideStep is what happens in another namespace: "stopped in web: ip filter chain INPUT: …".
func (e *end) insideStep(p Packet, what string, by exposure.Decision, reply bool) {
	e.step = exposure.Step{
		Hook: stepInside, Family: tableFamily(p), Effect: what + Words(by), Reply: reply,
		Match: exposure.Yes,
	}
}

// socketStep is what the packet meets where it arrives, if nobody takes it.
func (e *end) socketStep(p Packet, effect string) {
	e.step = exposure.Step{
		Hook: "socket", Family: tableFamily(p), Effect: effect, Match: exposure.Yes,
	}
}

// tableFamily is the family of the tables that a packet meets, as steps name it: "ip" or "ip6".
func tableFamily(p Packet) string {
	if p.From.Is6() {
		return exposure.FamilyIPv6.String()
	}
	return exposure.FamilyIPv4.String()
}

// reached describes that the packet arrives and whether the answer comes back.
func (e *end) reached(p Packet, by string, elsewhere bool) string {
	switch {
	case !p.Protocol.HasPorts():
		return fmt.Sprintf(
			"%s from %s gets in, %s; whether the kernel or a program takes it isn't looked at",
			p.Protocol,
			p.From,
			by,
		)
	case elsewhere && e.listener == nil && e.target.Out != "":
		return fmt.Sprintf(
			"%s gets to %s, on another machine or in a namespace that isn't known, forwarded by %s; if it "+
				"can't connect, look there",
			p.From,
			e.to,
			e.target.Out,
		)
	case elsewhere && e.listener == nil:
		return fmt.Sprintf(
			"%s gets to %s, on another machine or in a namespace that isn't known; if it can't "+
				"connect, look there",
			p.From,
			e.to,
		)
	}
	arrives := fmt.Sprintf(
		"%s gets to %s, where %s listens, %s", p.From, e.to, whoListens(e.listener), by,
	)
	if e.local {
		return arrives
	}
	return arrives +
		"; if it still can't connect, its packets aren't reaching this host: check upstream"
}

// wordsOf names what decided, each once.
func wordsOf(list []exposure.Decision) (words []string) {
	for _, d := range list {
		if s := Words(d); !slices.Contains(words, s) {
			words = append(words, s)
		}
	}
	return words
}

// takersHere are the listeners of this host that take packets for one of its addresses. TCP and
// SCTP don't answer packets to a broadcast address (tcp_conn_request, sctp_rcv).
func (a *auditor) takersHere(
	p firewall.Protocol,
	at netip.AddrPort,
	iface string,
) []sockets.Listener {
	if p != firewall.UDP && a.isBroadcast(at.Addr()) {
		return nil
	}
	return sockets.Takers(a.listeners, p, at.Addr(), at.Port(), iface)
}

func (a *auditor) isBroadcast(address netip.Addr) bool {
	return slices.ContainsFunc(a.Host.Routes, func(r exposure.Route) bool {
		return r.Type == exposure.RouteBroadcast && r.Dest.IsSingleIP() && r.Dest.Addr() == address
	})
}

// enter follows a packet that the host forwards to a known namespace, and its answer.
func (a *auditor) enter(t *exposure.Target, p Packet, target netip.AddrPort) {
	at := a.namespaces.at(target.Addr())
	if at == nil || a.namespaces.enter == nil {
		return
	}
	own := exposure.NewRanges(exposure.One(exposure.Address(p.From)))
	answer := exposure.Answer{
		Question: exposure.Question{Family: familyOf(p.From), Protocol: p.Protocol},
		Pieces: a.followInto(exposure.Piece{
			Sources: own, Outcome: exposure.Forwarded, Target: target, Translated: true,
			Rewritten: t.Rewritten, Out: t.Out,
		}, at, p.Protocol),
	}
	there := answer.Targets(p.From)
	if len(there) != 1 {
		return
	}
	if t.Verdict = there[0].Verdict; t.Verdict != "allow" {
		t.DecidedBy = there[0].DecidedBy
		t.Replies.Unknowns = unknownsOf(answer)
		return
	}
	if r := there[0].Replies; r.Lost == exposure.Yes ||
		r.Lost == exposure.Maybe && t.Replies.Lost == exposure.No {
		r.Interface = t.Replies.Interface
		r.LostBy.Reason = strings.Replace(
			r.LostBy.Reason, exposure.NoRouteBack, "no route to "+p.From.String(), 1)
		t.Replies = r
	}
}

func unknownsOf(a exposure.Answer) (out []exposure.Decision) {
	for _, p := range a.Pieces {
		for _, u := range p.Unknowns {
			if d := u.Describe(); !slices.Contains(out, d) {
				out = append(out, d)
			}
		}
	}
	return out
}

// withoutListener decides the outcome at a target without a listener, of this host or of a known
// namespace.
func (e *end) withoutListener(a *auditor, p Packet, at netip.AddrPort, elsewhere bool) {
	var bound []sockets.Listener
	for _, l := range a.listeners {
		if l.Protocol == p.Protocol && l.Port == at.Port() {
			bound = append(bound, l)
		}
	}
	e.reason = NothingListens
	e.summary = fmt.Sprintf(
		"the rules let %s through to %s, but nothing listens there",
		p.From,
		e.to,
	)
	e.socketStep(p, fmt.Sprintf("nothing listens on %s", at))
	switch {
	case elsewhere:
		e.summary += ", in " + a.namespaces.at(at.Addr()).name
	case p.Protocol != firewall.UDP && a.isBroadcast(at.Addr()):
		e.summary = fmt.Sprintf(
			"%s is a broadcast address, to which %s answers nothing", at.Addr(), p.Protocol,
		)
	case len(bound) > 0:
		e.boundTo(bound, p, at, "")
	}
}

// boundTo decides the outcome at a target whose programs are bound to other addresses.
func (e *end) boundTo(bound []sockets.Listener, p Packet, at netip.AddrPort, there string) {
	e.reason, e.summary = BoundElsewhere, fmt.Sprintf(
		"the rules let %s through to %s, but nobody listens on %s%s: %s",
		p.From,
		e.to,
		at.Addr(),
		there,
		boundWords(bound),
	)
	e.socketStep(p, fmt.Sprintf("nobody listens on %s: %s", at.Addr(), boundWords(bound)))
}

// remedy says what to do about lost answers.
func remedy(d exposure.Decision) string {
	// another namespace: see namespace.decider
	if inside, ok := strings.CutPrefix(d.Reason, "in "); ok {
		if _, d.Reason, ok = strings.Cut(inside, ": "); ok {
			if strings.Contains(d.Reason, "chain ") {
				d.Chain = d.Reason
			}
			return remedy(d) + ", in there"
		}
	}
	switch {
	case strings.Contains(d.Reason, exposure.LaterDropped):
		return "let established connections in (ct state established accept)"
	case d.Chain != "":
		return "let established connections out before that (ct state established accept)"
	case strings.HasPrefix(d.Reason, "rp_filter"):
		return "set rp_filter to 2 there, or mend the routes"
	case strings.HasPrefix(d.Reason, "no route"):
		return "add a route to the client, or a default route (ip route get shows what is used)"
	case strings.Contains(d.Reason, "into the tunnel"):
		return "let addresses of other interfaces answer past the tunnel " +
			"(ip rule add from ADDRESS table main)"
	case strings.HasPrefix(d.Reason, "forwarding is off"):
		return "turn forwarding on there (sysctl net.ipv4.conf.INTERFACE.forwarding)"
	case strings.HasPrefix(d.Reason, "the answer isn't translated back"):
		return "translate with dnat or redirect, which the kernel undoes for answers"
	case strings.HasPrefix(d.Reason, "blackhole"), strings.HasPrefix(d.Reason, "unreachable"),
		strings.HasPrefix(d.Reason, "prohibit"), strings.HasPrefix(d.Reason, "a routing rule"):
		return "change that route, or give answers another one with ip rule"
	}
	return "look there"
}

// reasonSeverity orders reasons, the worst first. Of several targets, the worst decides.
var reasonSeverity = []Reason{
	DroppedHere, BoundElsewhere, NothingListens, ReplyLost, Unclear, Connects,
}

// combine joins the outcomes at all targets. A packet that is let through has at least one.
func (x *Explanation) combine(ends []end, p Packet, port string) {
	worst := slices.MinFunc(ends, func(a, b end) int {
		return slices.Index(reasonSeverity, a.reason) - slices.Index(reasonSeverity, b.reason)
	})
	x.Reason, x.Summary, x.DecidedBy = worst.reason, worst.summary, worst.target.DecidedBy
	if on := worst.target.Replies.Unknowns; x.Reason == Unclear && len(on) > 0 {
		x.DecidedBy, x.Unknowns = on[0], on
	}
	if len(ends) == 1 {
		return
	}
	var bad, all, unknown []string
	for _, e := range ends {
		name := e.target.Address
		if name == "" {
			name = "a target that isn't known"
		}
		all = append(all, name)
		if e.reason != Connects {
			bad = append(bad, fmt.Sprintf("%s: %s", name, e.reason))
		}
		if e.unknown {
			unknown = append(unknown, name)
		}
	}
	goes := fmt.Sprintf(
		"%s gets to %s, which goes to one of %d targets (%s)",
		p.From,
		port,
		len(all),
		shortList(all),
	)
	switch {
	case len(bad) == 0 && len(unknown) == 0:
		x.Summary = goes + ", and each of them takes it, as far as this host can see"
		return
	case len(bad) == 0:
		x.Summary = fmt.Sprintf(
			"%s; on another machine or in a namespace that isn't known: %s; if it can't connect, look there",
			goes,
			shortList(unknown),
		)
		return
	}
	x.Summary = fmt.Sprintf(
		"%s; connections fail at %d of them: %s; the first: %s",
		goes,
		len(bad),
		shortList(bad),
		worst.summary,
	)
}

// shortList is a list in words with at most maxNamed entries.
func shortList(list []string) string {
	if len(list) <= maxNamed {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:maxNamed], ", "), len(list)-maxNamed)
}

// listenerAt is the listener at the first target that has one.
func listenerAt(ends []end) *exposure.Listener {
	for _, e := range ends {
		if e.listener != nil {
			return e.listener
		}
	}
	return nil
}
