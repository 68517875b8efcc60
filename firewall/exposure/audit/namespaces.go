package audit

import (
	"net/netip"
	"slices"
	"sync"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/sockets"
)

// A packet that is forwarded to another namespace meets that namespace's rules and routes, and so
// does the answer. They are evaluated like the host's, and the two results are joined for each
// source (follow).

// namespaces are the namespaces other than the host's, by the addresses that only one of them has.
// It is safe for concurrent use.
type namespaces struct {
	byAddress map[netip.Addr]*namespace
	enter     func(uint64) (*exposure.Ruleset, *exposure.Host, error)
	evaluator func(*exposure.Ruleset, *exposure.Host) *exposure.Evaluator
	// snat are the addresses that the host's rules set as sources. anySource: they may set others
	// too.
	snat      []netip.Addr
	anySource bool

	mu      sync.Mutex
	answers map[insideKey]exposure.Answer
}

type insideKey struct {
	at       *namespace
	protocol firewall.Protocol
	target   netip.AddrPort
}

// namespace is one other namespace.
type namespace struct {
	inode     uint64
	name      string
	listeners []sockets.Listener

	once      sync.Once
	evaluator *exposure.Evaluator // nil if its rules can't be read
	host      *exposure.Host
	why       string
}

// maxInside is the most answers of other namespaces that are remembered.
const maxInside = 1024

// newNamespaces finds the other namespaces. evaluator makes the evaluators of their rules, so that
// answers there assume the same as the host's.
func newNamespaces(
	in Input, evaluator func(*exposure.Ruleset, *exposure.Host) *exposure.Evaluator,
) *namespaces {
	n := &namespaces{
		byAddress: map[netip.Addr]*namespace{},
		enter:     in.Enter,
		evaluator: evaluator,
		answers:   map[insideKey]exposure.Answer{},
	}
	all, neighbours := map[uint64]*namespace{}, map[uint64]bool{}
	for inode := range in.Sockets.Addresses {
		all[inode] = &namespace{inode: inode}
	}
	add := func(s sockets.Namespace) *namespace {
		at := all[s.Inode]
		if s.Current {
			delete(all, s.Inode)
			return nil
		}
		if at != nil {
			at.name = s.String()
			neighbours[s.Inode] = s.Neighbour
		}
		return at
	}
	for _, s := range in.Sockets.Namespaces {
		add(s)
	}
	for _, l := range in.Sockets.Listeners {
		if at := add(l.Namespace); at != nil {
			at.listeners = append(at.listeners, l)
		}
	}
	owners := map[netip.Addr][]*namespace{}
	for inode, at := range all {
		for _, address := range in.Sockets.Addresses[inode] {
			owners[address] = append(owners[address], at)
		}
	}
	for address, list := range owners {
		n.byAddress[address] = uniqueHolder(list, neighbours)
	}
	n.noteSources(in.Rules)
	return n
}

// uniqueHolder is the namespace that has an address or, of several, the only neighbour. It is nil
// if there are more.
func uniqueHolder(list []*namespace, neighbours map[uint64]bool) *namespace {
	if len(list) > 1 {
		list = slices.DeleteFunc(list, func(n *namespace) bool { return !neighbours[n.inode] })
	}
	if len(list) != 1 {
		return nil
	}
	return list[0]
}

// noteSources records what the rules may change a packet's source to.
func (n *namespaces) noteSources(rs *exposure.Ruleset) {
	for _, t := range rs.Tables {
		for _, c := range t.Chains {
			for _, r := range c.Rules {
				for _, s := range r.Statements {
					nat, is := s.(exposure.NAT)
					if !is || nat.Kind != exposure.NATSource {
						continue
					}
					if nat.Addr == nil || nat.AddrMax != nil || len(n.snat) == fewAddresses {
						n.anySource = true
						continue
					}
					v, constant := nat.Addr.IsConst()
					switch {
					case !constant:
						n.anySource = true
					case nat.Family == exposure.FamilyIPv6 || nat.Family == exposure.FamilyInet &&
						t.Family == exposure.FamilyIPv6:
						n.snat = append(n.snat, v.IPv6())
					case nat.Family == exposure.FamilyIPv4:
						n.snat = append(n.snat, v.IPv4())
					default:
						n.anySource = true
					}
				}
			}
		}
	}
}

// at is the only namespace that has an address, or nil.
func (n *namespaces) at(address netip.Addr) *namespace {
	if n == nil || address.IsLoopback() || address.IsLinkLocalUnicast() {
		return nil
	}
	return n.byAddress[address]
}

// open reads a namespace, once.
func (n *namespaces) open(at *namespace) bool {
	at.once.Do(func() {
		rules, host, err := n.enter(at.inode)
		if err != nil {
			at.why = err.Error()
			return
		}
		at.evaluator, at.host = n.evaluator(rules, host), host
	})
	return at.evaluator != nil
}

// question asks about packets that enter a namespace from the host.
func (n *namespace) question(p firewall.Protocol, target netip.AddrPort) exposure.Question {
	q := exposure.Question{
		Family:      familyOf(target.Addr()),
		Protocol:    p,
		Destination: target.Addr(),
		Port:        target.Port(),
	}
	on := interfaceWith(n.host, target.Addr())
	if on == nil { // an address of lo, reached by another interface
		on = onlyInterface(n.host, target.Addr())
	}
	if on != nil {
		q.Interface = on.Name
	}
	return q
}

// inside evaluates packets that the host forwards to a target in a namespace. It is nil if the
// namespace can't be read.
func (n *namespaces) inside(
	at *namespace,
	p firewall.Protocol,
	target netip.AddrPort,
) exposure.Answer {
	if n.enter == nil {
		return exposure.Answer{}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	k := insideKey{at, p, target}
	if known, ok := n.answers[k]; ok {
		return known
	}
	var answer exposure.Answer
	if n.open(at) {
		var err error
		if answer, err = at.evaluator.Evaluate(at.question(p, target)); err != nil {
			at.why = err.Error()
		}
	}
	if answer.Pieces == nil {
		by := exposure.Decider{Reason: "what is done in there isn't known: " + at.why}
		all := exposure.AllSources(familyOf(target.Addr()))
		for _, o := range []exposure.Outcome{exposure.Delivered, exposure.Dropped} {
			answer.Pieces = append(answer.Pieces, exposure.Piece{
				Sources: all, Outcome: o, Target: target, DecidedBy: by, Unknowns: []exposure.Decider{by},
			})
		}
	}
	if len(n.answers) < maxInside {
		n.answers[k] = answer
	}
	return answer
}

// decider names a namespace's decider in the host's answer.
func (n *namespace) decider(d exposure.Decider) exposure.Decider {
	return exposure.Decider{Reason: "in " + n.name + ": " + Words(d.Describe())}
}

func (n *namespace) deciders(list []exposure.Decider) (out []exposure.Decider) {
	for _, d := range list {
		out = append(out, n.decider(d))
	}
	return out
}

// sourceNATUnknown is the unknown address that source NAT chooses.
var sourceNATUnknown = exposure.Decider{
	Reason: "which address source NAT gives the packets isn't known",
}

// follow joins the host's answer about packets that it forwards to other namespaces with the
// answers there.
func (a *auditor) follow(answer *exposure.Answer) {
	if a.namespaces == nil || a.namespaces.enter == nil {
		return
	}
	var out []exposure.Piece
	for _, p := range answer.Pieces {
		at := a.namespaces.at(p.Target.Addr())
		if p.Outcome != exposure.Forwarded || at == nil {
			out = append(out, p)
			continue
		}
		protocol := answer.Question.Protocol
		out = append(out, a.followInto(p, at, protocol)...)
		for _, s := range a.namespaces.inside(at, protocol, p.Target).Assumed {
			if exposure.AssumedOfPackets(s) {
				answer.Assumed = appendOnce(answer.Assumed, s)
			}
		}
	}
	answer.Pieces = slices.DeleteFunc(out, func(p exposure.Piece) bool {
		return p.Unusual && !p.Outcome.Passes()
	})
}

// followInto continues a piece of the host's answer in a namespace.
func (a *auditor) followInto(
	p exposure.Piece,
	at *namespace,
	protocol firewall.Protocol,
) (out []exposure.Piece) {
	inside := a.namespaces.inside(at, protocol, p.Target).Pieces
	defer func() {
		if why := a.detour(at, p.Out, p.Target.Addr()); why != "" {
			out = mayNotArrive(out, p, exposure.Decider{Reason: why})
		}
	}()
	if p.Rewritten != exposure.Yes {
		for _, i := range inside {
			if s := p.Sources.Intersect(i.Sources); !s.Empty() {
				out = append(out, at.join(p, i, s, p.Rewritten == exposure.Maybe))
			}
		}
	}
	if p.Rewritten == exposure.No {
		return out
	}
	as, all := a.namespaces.sourcesAs(a.Host, p.Out, p.Target.Addr())
	var ways []exposure.Piece
	for _, i := range inside {
		if !all ||
			slices.ContainsFunc(
				as, func(x netip.Addr) bool { return i.Sources.Contains(exposure.Address(x)) },
			) {
			ways = append(ways, i)
		}
	}
	doubt := p.Rewritten == exposure.Maybe || !all || len(as) > 1 && len(ways) > 1
	for _, i := range ways {
		out = append(out, at.join(p, i, p.Sources, doubt))
	}
	return out
}

// sourcesAs are the sources that packets may have after the host's source NAT. all: there are no
// others.
func (n *namespaces) sourcesAs(
	h *exposure.Host,
	out string,
	target netip.Addr,
) (as []netip.Addr, all bool) {
	for _, x := range n.snat {
		if x.Is4() == target.Is4() {
			as = append(as, x)
		}
	}
	on := h.Interface(out)
	if on == nil {
		return as, false
	}
	for _, p := range on.Addresses {
		if p.Masked().Contains(target) {
			return append(as, p.Addr()), !n.anySource
		}
	}
	for _, p := range on.Addresses {
		if p.Addr().Is4() == target.Is4() && !p.Addr().IsLinkLocalUnicast() {
			as = append(as, p.Addr())
		}
	}
	return as, !n.anySource && len(as) > 0
}

// join joins a piece of the host's answer with one of the namespace's.
func (n *namespace) join(p, i exposure.Piece, s exposure.Ranges, doubt bool) exposure.Piece {
	p.Sources, p.Unusual = s, p.Unusual || i.Unusual
	p.Unknowns = append(slices.Clip(p.Unknowns), n.deciders(i.Unknowns)...)
	if doubt {
		p.Unknowns = append(p.Unknowns, sourceNATUnknown)
	}
	if !i.Outcome.Passes() {
		p.Outcome, p.DecidedBy, p.Reply = i.Outcome, n.decider(i.DecidedBy), nil
		return p
	}
	if i.Reply == nil || !i.Reply.Lost && len(i.Reply.Unknowns) == 0 {
		return p
	}
	var r exposure.Reply
	if p.Reply != nil {
		r = *p.Reply
	}
	if i.Reply.Lost && !r.Lost {
		r.Lost, r.By = true, n.decider(i.Reply.By)
	}
	r.Unknowns = append(slices.Clip(r.Unknowns), n.deciders(i.Reply.Unknowns)...)
	p.Reply = &r
	return p
}

// takers are the listeners that take packets for a target in another namespace, whose rules may
// send them on. known: there are no others.
func (a *auditor) takers(
	p firewall.Protocol,
	target netip.AddrPort,
) (out []sockets.Listener, known bool) {
	at := a.namespaces.at(target.Addr())
	if at == nil {
		return nil, false
	}
	for _, t := range a.finalTargets(at, p, target) {
		if !t.Addr().IsValid() {
			return nil, false
		}
		here := sockets.Takers(at.listeners, p, t.Addr(), t.Port(), "")
		if len(here) == 0 {
			return nil, true // one of several targets refuses
		}
		out = append(out, here...)
	}
	return out, true
}

// finalTargets are where packets for a target in a namespace end up; the zero AddrPort if that
// isn't a socket there. Without rules there, it is the target.
func (a *auditor) finalTargets(
	at *namespace,
	p firewall.Protocol,
	target netip.AddrPort,
) []netip.AddrPort {
	var out []netip.AddrPort
	for _, i := range a.namespaces.inside(at, p, target).Pieces {
		t := i.Target
		switch {
		case !i.Outcome.Passes():
			continue
		case i.Outcome == exposure.Forwarded:
			t = netip.AddrPort{}
		case t.Port() != 0 && !t.Addr().IsValid():
			t = netip.AddrPortFrom(target.Addr(), t.Port())
		}
		if !slices.Contains(out, t) {
			out = append(out, t)
		}
	}
	if len(out) == 0 {
		out = append(out, target)
	}
	return out
}
