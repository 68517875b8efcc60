package exposure

import (
	"slices"
	"strings"

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
	// assumed is what was taken for granted on its way.
	assumed []string
}

// answered reports whether the question's protocol has an answer that this host sends or forwards.
func (q Question) answered() bool { return q.Protocol.HasPorts() || q.Protocol == firewall.Ping }

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
		n += len(r.sources.list)
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
			out = append(out, replied{part, &reply, r.assumed})
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
	at := map[string]int{}
	for _, e := range w.ended {
		r := &Reply{Lost: !e.outcome.Passes(), Likely: e.likely, By: e.by, Unknowns: e.doubts.list()}
		if i := w.e.host.ByIndex(e.packet.outIndex); !r.Lost && e.packet.out == outKnown &&
			i != nil {
			r.Out = i.Name
		}
		k := r.key()
		if i, ok := at[k]; ok {
			out[i].sources = out[i].sources.Union(e.sources)
			continue
		}
		at[k] = len(out)
		out = append(out, replied{e.sources, r, w.assumed})
	}
	for _, u := range w.undecided {
		unknowns := []Decider{u.by}
		out = append(out,
			replied{u.sources, &Reply{Unknowns: unknowns}, w.assumed},
			replied{u.sources, &Reply{Lost: true, By: u.by, Unknowns: unknowns}, w.assumed})
	}
	return out
}

// key is equal for replies that say the same.
func (r *Reply) key() string {
	if r == nil {
		return ""
	}
	var b strings.Builder
	for _, d := range append([]Decider{r.By, {Reason: r.Out}}, r.Unknowns...) {
		b.WriteString(d.Reason + "\x00")
		if d.Rule != nil {
			b.WriteString(d.Rule.Where())
		} else if d.Chain != nil {
			b.WriteString(d.Chain.Where())
		}
		b.WriteByte(0)
	}
	if r.Lost {
		b.WriteByte(1)
	}
	if r.Likely {
		b.WriteByte(2)
	}
	return b.String()
}
