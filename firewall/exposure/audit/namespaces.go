package audit

import (
	"net/netip"
	"slices"
	"sync"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/sockets"
)

// A packet that is forwarded to an address of another namespace meets the rules and routes of that
// namespace, and so does the answer. They are followed like the host's: what the host says of each
// source is joined with what the namespace says (follow).

// namespaces are those other than the host's, by the addresses that one of them alone has. It may be
// used by several goroutines.
type namespaces struct {
	byAddress map[netip.Addr]*namespace
	enter     func(uint64) (*exposure.Ruleset, *exposure.Host, error)
	// snat are the addresses that the host's rules name as new sources; anySource: others too.
	snat      []netip.Addr
	anySource bool

	mu      sync.Mutex
	answers map[insideKey][]exposure.Piece
}

type insideKey struct {
	at       *namespace
	protocol firewall.Protocol
	target   netip.AddrPort
}

// namespace is one of them.
type namespace struct {
	inode     uint64
	name      string
	listeners []sockets.Listener

	once      sync.Once
	evaluator *exposure.Evaluator // nil: it can't be looked into
	host      *exposure.Host
	why       string
}

// maxInside is how many answers of other namespaces are remembered.
const maxInside = 1024

func newNamespaces(in Input) *namespaces {
	n := &namespaces{
		byAddress: map[netip.Addr]*namespace{},
		enter:     in.Enter,
		answers:   map[insideKey][]exposure.Piece{},
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
		n.byAddress[address] = oneOf(list, neighbours)
	}
	n.noteSources(in.Rules)
	return n
}

// oneOf is who has an address: of several, the one neighbour; nil if there are more.
func oneOf(list []*namespace, neighbours map[uint64]bool) *namespace {
	if len(list) > 1 {
		list = slices.DeleteFunc(list, func(n *namespace) bool { return !neighbours[n.inode] })
	}
	if len(list) != 1 {
		return nil
	}
	return list[0]
}

// noteSources notes what the rules may make of a packet's source.
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
					case nat.Family == exposure.FamilyIPv6 || nat.Family == exposure.FamilyInet && t.Family == exposure.FamilyIPv6:
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

// at is the one namespace that has an address; nil if there is none, or several have it.
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
		at.evaluator, at.host = exposure.NewEvaluator(rules, host), host
	})
	return at.evaluator != nil
}

// question is about packets that come into a namespace from the host.
func (n *namespace) question(p firewall.Protocol, target netip.AddrPort) exposure.Question {
	q := exposure.Question{
		Family:      familyOf(target.Addr()),
		Protocol:    p,
		Destination: target.Addr(),
		Port:        target.Port(),
	}
	on := holder(n.host, target.Addr())
	if on == nil { // an address of lo, which packets come to by another interface
		on = only(n.host, target.Addr())
	}
	if on != nil {
		q.Interface = on.Name
	}
	return q
}

// inside is what becomes, in a namespace, of packets that the host forwards to a target of it; nil
// if nobody can tell what packets of it meet.
func (n *namespaces) inside(at *namespace, p firewall.Protocol, target netip.AddrPort) []exposure.Piece {
	if n.enter == nil {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	k := insideKey{at, p, target}
	if known, ok := n.answers[k]; ok {
		return known
	}
	var pieces []exposure.Piece
	if n.open(at) {
		if answer, err := at.evaluator.Evaluate(at.question(p, target)); err == nil {
			pieces = answer.Pieces
		} else {
			at.why = err.Error()
		}
	}
	if pieces == nil {
		by := exposure.Decider{Reason: "what is done in there isn't known: " + at.why}
		all := exposure.AllSources(familyOf(target.Addr()))
		for _, o := range []exposure.Outcome{exposure.Delivered, exposure.Dropped} {
			pieces = append(pieces, exposure.Piece{
				Sources: all, Outcome: o, Target: target, DecidedBy: by, Unknowns: []exposure.Decider{by},
			})
		}
	}
	if len(n.answers) < maxInside {
		n.answers[k] = pieces
	}
	return pieces
}

// named is a decider of a namespace, as one of the host's answer.
func (n *namespace) named(d exposure.Decider) exposure.Decider {
	return exposure.Decider{Reason: "in " + n.name + ": " + Words(d.Describe())}
}

func (n *namespace) namedAll(list []exposure.Decider) (out []exposure.Decider) {
	for _, d := range list {
		out = append(out, n.named(d))
	}
	return out
}

// sourceChosen is what depends on the address that source NAT chooses.
var sourceChosen = exposure.Decider{Reason: "which address source NAT gives the packets isn't known"}

// follow joins what the host does with packets that it forwards to other namespaces with what is
// done there.
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
		out = append(out, a.into(p, at, answer.Question.Protocol)...)
	}
	answer.Pieces = out
}

// into is a piece of the host's answer, as it goes on in a namespace.
func (a *auditor) into(p exposure.Piece, at *namespace, protocol firewall.Protocol) (out []exposure.Piece) {
	inside := a.namespaces.inside(at, protocol, p.Target)
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
		if !all || slices.ContainsFunc(as, func(x netip.Addr) bool { return i.Sources.Contains(exposure.Address(x)) }) {
			ways = append(ways, i)
		}
	}
	doubt := p.Rewritten == exposure.Maybe || !all || len(as) > 1 && len(ways) > 1
	for _, i := range ways {
		out = append(out, at.join(p, i, p.Sources, doubt))
	}
	return out
}

// sourcesAs are the addresses that packets may have behind the host's source NAT; all: no others.
func (n *namespaces) sourcesAs(h *exposure.Host, out string, target netip.Addr) (as []netip.Addr, all bool) {
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

// join is a piece whose packets come to what a piece of the namespace says.
func (n *namespace) join(p, i exposure.Piece, s exposure.Ranges, doubt bool) exposure.Piece {
	p.Sources = s
	p.Unknowns = append(slices.Clip(p.Unknowns), n.namedAll(i.Unknowns)...)
	if doubt {
		p.Unknowns = append(p.Unknowns, sourceChosen)
	}
	if !i.Outcome.Passes() {
		p.Outcome, p.DecidedBy, p.Reply = i.Outcome, n.named(i.DecidedBy), nil
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
		r.Lost, r.By = true, n.named(i.Reply.By)
	}
	r.Unknowns = append(slices.Clip(r.Unknowns), n.namedAll(i.Reply.Unknowns)...)
	p.Reply = &r
	return p
}

// takers are the listeners that take packets for a target of another namespace; known: there are no
// others. Rules in there may send the packets on.
func (a *auditor) takers(p firewall.Protocol, target netip.AddrPort) (out []sockets.Listener, known bool) {
	at := a.namespaces.at(target.Addr())
	if at == nil {
		return nil, false
	}
	for _, t := range a.finally(at, p, target) {
		if !t.Addr().IsValid() {
			return nil, false
		}
		here := sockets.Takers(at.listeners, p, t.Addr(), t.Port(), "")
		if len(here) == 0 {
			return nil, true // one of several refuses
		}
		out = append(out, here...)
	}
	return out, true
}

// finally are the ends of packets for a target of a namespace; the zero AddrPort for one that isn't a
// socket in there. Without rules in there it is the target.
func (a *auditor) finally(at *namespace, p firewall.Protocol, target netip.AddrPort) []netip.AddrPort {
	var out []netip.AddrPort
	for _, i := range a.namespaces.inside(at, p, target) {
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
