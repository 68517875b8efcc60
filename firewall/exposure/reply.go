package exposure

import (
	"hash/maphash"
	"slices"

	"github.com/portgrave/portgrave/firewall"
)

// The answer to a first packet goes back to the client, and may be lost on its way. It is followed
// as the first packet is: a walk of its own carries the set of all clients through the hooks. What
// varies is the destination now, so a rule's source and destination change places (mirrored): a
// packet's state keeps this side of the connection in packet.now, and the client's in the set and in
// packet.sport.
//
//	delivered   routing, output, postrouting, egress
//	forwarded   ingress, prerouting, routing, forward, postrouting, egress, from the interface that
//	            the first packet left by
//
// The first answer of TCP is SYN and ACK. Its connection is established, and no chain of NAT is
// consulted: the kernel undoes the connection's translations in its NAT hooks (kernelHooks).

// Reply is what becomes of the answer to a piece's packets.
type Reply struct {
	// Lost: it doesn't get out of this host.
	Lost bool
	// Likely: it is lost to a usual client, as far as this host can tell. Another client may get it:
	// Unknowns say what it depends on.
	Likely bool
	// By is what loses it.
	By Decider
	// Out is the interface that it leaves by; "" if it isn't known, or was not asked for: see
	// Question.Sources.
	Out string
	// Unknowns are the statements on its way that might as well have gone otherwise.
	Unknowns []Decider
}

// Connects is the sources that surely, and those that possibly, go one of the ways that a function
// picks and get an answer. An answer that is likely lost makes nobody certain, and leaves all
// possible.
func (a Answer) Connects(picks func(Piece) bool) (certain, possible Ranges) {
	certain, _ = a.Reach(func(p Piece) bool { return picks(p) && (p.Reply == nil || !p.Reply.Lost) })
	_, possible = a.Reach(func(p Piece) bool {
		return picks(p) && (p.Reply == nil || !p.Reply.Lost || p.Reply.Likely)
	})
	return certain, possible
}

// replying is what a walk of an answer knows of the first packet.
type replying struct {
	first     *packet // as it ended
	dialled   endpoint
	arrived   string // the interface by which it came
	forwarded bool   // the answer comes from another machine
	vrf       bool   // a VRF is on the way, in which routing isn't followed
	recognised,
	undone bool // at this hook the kernel's own hooks have run: conntrack, NAT
	// clients are the ports that a client may have, and readsClient says that a rule has read the port.
	clients     Range
	readsClient bool
}

// clientPorts are the ports that usual clients have: Linux draws from 32768-60999, others from
// 49152-65535. A rule about answers to port 25 makes nothing doubtful for them. A client that has
// another port may still get an answer that they don't: see everyReply.
var clientPorts = Numbers(32768, 65535)

const (
	assumedPorts = "a client's port is one of 32768-65535"
	unusualPort  = "whether a client has a port below 32768 isn't known"
)

// replied is what becomes of the answer to some clients.
type replied struct {
	sources Ranges
	reply   *Reply
	sum     replySum
	// assumed is what was taken for granted on its way.
	assumed []string
}

// replySum is equal for replies that say the same: a question may come to tens of thousands of
// them, each with dozens of unknowns, so what they say isn't kept for comparison.
type replySum [2]uint64

var replySeeds = [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}

func (r *Reply) sum() (sum replySum) {
	for i, seed := range replySeeds {
		var h maphash.Hash
		h.SetSeed(seed)
		maphash.WriteComparable(&h, [2]bool{r.Lost, r.Likely})
		maphash.WriteComparable(&h, r.By)
		maphash.WriteComparable(&h, r.Out)
		for _, d := range r.Unknowns {
			maphash.WriteComparable(&h, d)
		}
		sum[i] = h.Sum64()
	}
	return sum
}

// to is the reply as what some clients get.
func (r *Reply) to(clients Ranges, assumed []string) replied {
	return replied{clients, r, r.sum(), assumed}
}

// answered reports whether the question's protocol has an answer that this host sends or forwards.
func (q Question) answered() bool { return q.Protocol.HasPorts() || q.Protocol == firewall.Ping }

// replyWalk is the walk of the answer to a packet that has passed.
func (w *walk) replyWalk(f flow, o Outcome) (*walk, *packet) {
	q := w.q
	q.Interface = ""
	r := &walk{e: w.e, doubts: map[doubtKey]*doubt{}, oracle: w.oracle,
		reply: &replying{first: f.packet, dialled: newPacket(w.q).now, forwarded: o == Forwarded, clients: clientPorts}}
	if out := w.e.host.ByIndex(f.packet.outIndex); o == Forwarded && f.packet.out == outKnown &&
		out != nil {
		q.Interface = out.Name
	}
	// Link-local clients are answered by the interface that they came by, and tunnels don't take
	// answers to what came another way.
	// Without a host, answers are taken to leave where packets come in.
	if !w.isFour() || w.e.fib == nil || w.e.fib.tunnels {
		r.reply.arrived = w.q.Interface
	}
	r.q, r.in = q, w.e.host.Interface(q.Interface)
	r.reply.vrf = w.e.host.inVRF(w.in) || w.e.host.inVRF(r.in)
	p := *f.packet
	p.mark = Known(Value{}, 32)
	if r.reply.keepsMark(r) {
		p.mark = f.packet.mark
	}
	p.zone, p.template, p.track = Known(Value{}, 16), No, tracked
	p.out, p.outIndex, p.natted, p.tproxy, p.proxy = outNone, 0, No, No, endpoint{}
	if f.packet.tproxy != No {
		p.now = f.packet.orig // a transparent proxy answers in the name of whom the client dialled
	}
	if p.headerSource == sourceOwn {
		p.sport = usualPort(p.sport)
	}
	return r, &p
}

// usualPort is the ports that a client usually has, as far as it may have one of them.
func usualPort(r Range) Range {
	usual := Range{later(r.From, clientPorts.From), earlier(r.To, clientPorts.To)}
	if usual.From.Compare(usual.To) > 0 {
		return r
	}
	return usual
}

// inVRF reports whether an interface is a VRF or in one.
func (h *Host) inVRF(i *Interface) bool {
	if i == nil {
		return false
	}
	master := h.ByIndex(i.Master)
	return i.Kind == "vrf" || master != nil && master.Kind == "vrf"
}

// keepsMark reports whether an answer from this host has the mark of what it answers.
func (r *replying) keepsMark(w *walk) bool {
	h := w.e.host
	switch {
	case h == nil || r.forwarded:
		return false
	case w.q.Protocol == firewall.TCP:
		return h.TCPMarkAccept
	case w.q.Protocol == firewall.Ping && w.isFour():
		return h.MarkReflect4
	case w.q.Protocol == firewall.Ping:
		return h.MarkReflect6
	}
	return false
}

// replies is what becomes of the answers to a flow that has passed; nil if nobody asks.
func (w *walk) replies(f flow, o Outcome) []replied {
	if !w.q.answered() || w.in != nil && w.in.Loopback || w.oracle != nil ||
		w.q.Answers == NoAnswers || w.q.Answers == OwnAnswers && o != Delivered {
		return nil
	}
	r, start := w.replyWalk(f, o)
	type key struct {
		family       firewall.Family
		protocol     firewall.Protocol
		in           string
		outside      bool
		elsewhere    bool
		first, reply packet
		about        replying
	}
	k := key{w.q.Family, w.q.Protocol, r.q.Interface, w.q.Outside, w.q.Elsewhere, *f.packet, *start,
		*r.reply}
	k.about.first = nil
	if !r.reply.keepsMark(r) {
		k.first.mark = Bits{}
	}
	// What is remembered costs as much as it did at first, and is of no use where that is too much:
	// then the question's answer doesn't depend on which others were asked before.
	left := max(w.limit-w.work, 0)
	known, ok := w.e.recall(k).(knownReplies)
	if !ok || known.work > left {
		r.limit, r.most = left, w.most
		known = knownReplies{all: r.everyReply(start), work: r.work, ranges: r.spent.ranges}
		if !r.tooFar {
			w.e.rememberReplies(k, known)
		}
	}
	w.work += known.work
	w.spendRanges(known.ranges)
	all := known.all
	var out []replied
	for _, x := range all {
		if x.sources = x.sources.Intersect(f.sources); !x.sources.Empty() {
			out = append(out, x)
		}
	}
	return out
}

// knownReplies are remembered answers, and what it cost to follow them.
type knownReplies struct {
	all          []replied
	work, ranges int
}

// maxRemembered is how many ranges of clients may be remembered, of 32 bytes each.
const maxRemembered = 1 << 20

// rememberReplies keeps answers, if there is room.
func (e *Evaluator) rememberReplies(key any, known knownReplies) {
	n := size(known.all)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.memory[key] == nil && len(e.memory) < maxMemory && e.replies+n <= maxRemembered {
		e.memory[key] = known
		e.replies += n
	}
}

func size(list []replied) (n int) {
	for _, r := range list {
		n += r.sources.Len()
	}
	return n
}

// everyReply is what becomes of the answers to every client: to one with a usual port, and where
// that one surely gets none because of a rule that reads its port, whether another one may.
func (w *walk) everyReply(start *packet) []replied {
	w.carry(start, AllSources(w.q.Family))
	out := w.replied()
	if !w.reply.readsClient {
		return out
	}
	w.takeForGranted(assumedPorts)
	for i := range out {
		out[i].assumed = slices.Clone(w.assumed)
	}
	lost, sent := lostAndSent(out)
	if lost = lost.Minus(sent); lost.Empty() || w.tooFar {
		return out
	}
	any := *start
	if any.headerSource == sourceOwn {
		any.sport = w.reply.first.sport
	}
	w.ended, w.undecided = nil, nil
	w.reply.clients = Full(16)
	w.reply.recognised, w.reply.undone = false, false
	w.carry(&any, lost)
	_, unusual := lostAndSent(w.replied())
	return likely(out, unusual.Intersect(lost))
}

// lostAndSent are the clients whose answers may be lost, and those whose answers may get out.
func lostAndSent(list []replied) (lost, sent Ranges) {
	for _, r := range list {
		if r.reply.Lost {
			lost = lost.Union(r.sources)
		}
		if !r.reply.Lost || r.reply.Likely {
			sent = sent.Union(r.sources)
		}
	}
	return lost, sent
}

// likely is a list in which the answers to some clients are likely lost, no longer surely.
func likely(list []replied, clients Ranges) []replied {
	if clients.Empty() {
		return list
	}
	var out []replied
	for _, r := range list {
		if part := r.sources.Intersect(clients); r.reply.Lost && !part.Empty() {
			reply := *r.reply
			reply.Likely = true
			reply.Unknowns = append(slices.Clone(reply.Unknowns), Decider{Reason: unusualPort})
			out = append(out, reply.to(part, r.assumed))
			r.sources = r.sources.Minus(clients)
		}
		if !r.sources.Empty() {
			out = append(out, r)
		}
	}
	return out
}

// replied is what became of the answers that a walk has followed.
func (w *walk) replied() []replied {
	var out []replied
	var beyond []Ranges
	at := map[replySum]int{}
	for _, e := range w.ended {
		r := &Reply{Lost: !e.outcome.Passes(), Likely: e.likely, By: e.by, Unknowns: e.doubts.list()}
		if i := w.e.host.ByIndex(e.packet.outIndex); !r.Lost && e.packet.out == outKnown &&
			i != nil {
			r.Out = i.Name
		}
		x := r.to(e.sources, w.assumed)
		if i, ok := at[x.sum]; ok {
			out[i].sources = out[i].sources.Union(e.sources)
			w.spendRanges(out[i].sources.Len())
			continue
		}
		if len(out) >= maxPieces {
			beyond = append(beyond, e.sources)
			continue
		}
		at[x.sum] = len(out)
		out = append(out, x)
	}
	w.tooMany(beyond)
	for _, u := range w.undecided {
		unknowns := []Decider{u.by}
		out = append(out,
			(&Reply{Unknowns: unknowns}).to(u.sources, w.assumed),
			(&Reply{Lost: true, By: u.by, Unknowns: unknowns}).to(u.sources, w.assumed))
	}
	return out
}

// tellReplies follows the answers to the flows that have passed for their steps.
func (w *walk) tellReplies() {
	if !w.q.answered() || w.in != nil && w.in.Loopback {
		return
	}
	for _, e := range w.ended {
		if e.outcome.Passes() && !w.tooFar {
			r, start := w.replyWalk(e.flow, e.outcome)
			r.spent = w.spent
			r.carry(start, e.sources)
			w.spent = r.spent
		}
	}
}

// carry carries the clients through all hooks.
func (w *walk) carry(start *packet, clients Ranges) {
	flows := []flow{{sources: clients, packet: start}}
	if w.reply.forwarded {
		flows = w.atHook(HookIngress, w.bridged(flows))
		flows = w.routeReply(w.atHook(HookPrerouting, flows))
		flows = w.atHook(HookForward, flows)
	} else {
		w.hook = HookOutput
		flows = w.atHook(HookOutput, w.routeReply(flows))
	}
	flows = w.bridgedOut(w.atHook(HookPostrouting, flows))
	for _, f := range w.atHook(HookEgress, flows) {
		w.sendReply(f)
	}
}

// sendReply ends the way of an answer that leaves: the client takes it only from where he dialled.
func (w *walk) sendReply(f flow) {
	p := f.packet
	by := Decider{Reason: "the answer isn't translated back"}
	lost := No
	switch {
	case p.scrambled:
		lost, by.Reason = Maybe, "a rule may do something unknown to the answer"
	case p.now.known() && p.orig.known() && p.now != p.orig:
		lost = Yes
	case p.now != p.orig || p.headerSource != p.origSource:
		lost = Maybe
	default:
		lost = w.reply.statelessly()
	}
	pick := -1
	if lost == Maybe {
		pick = w.pick(2)
	}
	if lost != No && pick != 0 {
		g := f
		if lost == Maybe {
			g.doubts = w.doubt(f.doubts, by, 1)
		}
		w.finish(g, Dropped, by)
	}
	if lost == Maybe {
		f.doubts = w.doubt(f.doubts, by, 0)
	}
	if lost != Yes && pick != 1 {
		w.finish(f, Forwarded, Decider{})
	}
}

// statelessly reports whether a rule may have written another destination to the first packet, which
// nothing undoes.
func (r *replying) statelessly() Tri {
	p := r.first
	switch {
	case p.orig.port.From == p.orig.port.To && p.orig.port != r.dialled.port:
		return Yes
	case p.orig.addr.From == p.orig.addr.To && r.dialled.known() && p.orig.addr != r.dialled.addr:
		return Yes
	case r.dialled.known() && p.orig != r.dialled:
		return Maybe
	case !r.dialled.known() && p.moved && !p.status.Known.And(Number(ctDNAT)).IsZero() &&
		p.status.Value.And(Number(ctDNAT)).IsZero():
		return Maybe
	}
	return No
}

// bridgedOut accounts for a bridge's own chains, which aren't followed.
func (w *walk) bridgedOut(flows []flow) []flow {
	for _, t := range w.e.rules.Tables {
		if t.Family != FamilyBridge || t.Dormant {
			continue
		}
		for _, c := range t.Chains {
			if c.Base == nil || len(c.Rules) == 0 && c.Base.Policy == VerdictAccept {
				continue
			}
			var out, perhaps []flow
			for _, f := range flows {
				i := w.e.host.ByIndex(f.packet.outIndex)
				if f.packet.out == outKnown && i != nil && i.Kind != "bridge" || w.e.host == nil {
					out = append(out, f)
				} else {
					perhaps = append(perhaps, f)
				}
			}
			return append(
				out,
				w.anythingAt(
					perhaps,
					Decider{Chain: c, Reason: "bridge chains aren't followed"},
				)...)
		}
	}
	return flows
}

// mirrored is the field of a first packet's state that an answer's field is found in.
func mirrored(f Field) Field {
	switch f {
	case FieldSource4:
		return FieldDest4
	case FieldDest4:
		return FieldSource4
	case FieldSource6:
		return FieldDest6
	case FieldDest6:
		return FieldSource6
	case FieldSport:
		return FieldDport
	case FieldDport:
		return FieldSport
	}
	return f
}

func (w *walk) mirrored(f Field) Field {
	if w.reply == nil {
		return f
	}
	return mirrored(f)
}

// prepared is a chain's rules for the packets that the walk is about.
func (w *walk) prepared(c *chain) *prepared {
	if w.reply == nil {
		return &c.prepared
	}
	c.mirrored.Do(func() { c.mirror = w.e.prepare(c, true) })
	return &c.mirror
}

// sends reports whether the packet comes from this host, so that it has no incoming interface.
func (w *walk) sends() bool { return w.reply != nil && !w.reply.forwarded }

func noInterface(f Field, width int) view {
	if f == FieldInGroup {
		return missing(width)
	}
	return sure(Value{}, width)
}

func (w *walk) tcpFlags() uint64 {
	if w.reply != nil {
		return tcpSYN | tcpACK
	}
	return tcpSYN
}

func (w *walk) icmpType() uint64 {
	switch {
	case w.q.ICMPType != 0:
		return uint64(w.q.ICMPType)
	case w.reply == nil:
		return uint64(firewall.EchoRequest(w.q.Family).Type)
	case w.isFour():
		return 0 // ICMP_ECHOREPLY
	}
	return 129 // ICMPV6_ECHO_REPLY
}

// direction is the direction in which a packet goes through its connection.
func (w *walk) direction(p *packet, width int) view {
	switch {
	case w.reply == nil:
		return sure(Value{}, width)
	case p.track == tracked:
		return sure(Number(1), width)
	}
	return between(Numbers(0, 1), width)
}

// replyState is the state of an answer's connection.
func (w *walk) replyState(p *packet, width int) view {
	one := func(state uint64) view { return sure(Number(state), width) }
	switch {
	case p.track == untracked:
		return one(ctUntracked)
	case w.phase == afterConntrack && p.track == tracked:
		return one(ctEstablished)
	case w.phase == afterConntrack && p.track == strayed:
		return one(ctInvalid)
	}
	return partly(
		Bits{Known: Ones(width).AndNot(Number(ctInvalid | ctEstablished | ctNew | ctUntracked))},
		width,
	)
}
