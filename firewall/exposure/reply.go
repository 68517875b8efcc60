package exposure

import (
	"hash/maphash"
	"slices"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

// The answer to a first packet goes back to the client, and may be lost on its way. A walk of its
// own carries the set of all clients through the hooks. The set is now the destination, so a rule's
// source and destination are swapped (mirrored): packet.now holds this side of the connection, and
// the set and packet.sport hold the client's.
//
//	delivered   routing, output, postrouting, egress
//	forwarded   ingress, prerouting, routing, forward, postrouting, egress, from the interface that
//	            the first packet left by
//
// The first answer of TCP is SYN and ACK. Its connection is established, and no chain of NAT is
// consulted: the kernel undoes the connection's translations in its NAT hooks (kernelHooks).

// Reply is the outcome of the answer to a piece's packets.
type Reply struct {
	// Lost: the answer doesn't leave this host.
	Lost bool
	// Likely: an ordinary client probably doesn't get the answer, but others may. Unknowns say what
	// it depends on.
	Likely bool
	// By is what stops the answer.
	By Decider
	// Out is the interface that it leaves by; "" if unknown.
	Out string
	// Unknowns are the deciders on its way that might have gone otherwise.
	Unknowns []Decider
}

// Connects returns the sources that certainly, and those that possibly, go one of the ways that a
// function picks and get an answer. Where the answer is probably lost, sources are possible but not
// certain.
func (a Answer) Connects(picks func(Piece) bool) (certain, possible Ranges) {
	certain, _ = a.Reach(
		func(p Piece) bool { return picks(p) && (p.Reply == nil || !p.Reply.Lost) },
	)
	_, possible = a.Reach(func(p Piece) bool {
		return picks(p) && (p.Reply == nil || !p.Reply.Lost || p.Reply.Likely)
	})
	return certain, possible
}

// clientPorts are the ports of ordinary clients: Linux uses 32768-60999, others 49152-65535. A rule
// about answers to port 25 doesn't concern them. A client with another port may get an answer that
// ordinary clients don't: see allReplies.
var clientPorts = Numbers(32768, 65535)

const (
	assumedPorts = "a client's port is one of 32768-65535"
	// assumedOwnPorts is about protocols whose clients may send from a port of their own.
	assumedOwnPorts = "a client's port is one of 1024-65535 where protocols over UDP have clients " +
		"that choose among all of these, or send from a port of their own: DNS, SIP, RADIUS and others"
	unusualPort = "whether a client has a port below 32768 isn't known"
)

// clientReplies is the outcome of the answer to some clients.
type clientReplies struct {
	sources Ranges
	reply   *Reply
	sum     replySum
	// assumed lists the assumptions made on its way.
	assumed []string
}

// replySum is equal for equal replies. A question may come to tens of thousands of them, each with
// dozens of unknowns, so their whole contents aren't kept for comparison.
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

// to is the reply as the one that some clients get.
func (r *Reply) to(clients Ranges, assumed []string) clientReplies {
	return clientReplies{clients, r, r.sum(), assumed}
}

// answered reports whether the question's protocol has answers.
func (q Question) answered() bool { return q.Protocol.HasPorts() || q.Protocol == firewall.Ping }

// replies returns the outcome of the answers to a flow that got through. It is nil if the question
// doesn't ask for it.
func (w *walk) replies(f flow, o Outcome) []clientReplies {
	if !w.q.answered() || w.in != nil && w.in.Loopback || w.picker != nil ||
		w.q.Answers == NoAnswers || w.q.Answers == OwnAnswers && o != Delivered {
		return nil
	}
	r, start := w.replyWalk(f, o)
	type key struct {
		family       address.Family
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
	k.first.unusual = false
	if !r.reply.keepsMark(r) {
		k.first.mark = Bits{}
	}
	// A remembered result counts with its original cost, and isn't used if that exceeds the budget.
	// So a question's answer doesn't depend on earlier questions.
	left := max(w.limit-w.work, 0)
	known, ok := w.e.recall(k).(knownReplies)
	if !ok || known.work > left {
		r.limit, r.most = left, w.most
		known = knownReplies{all: r.allReplies(start), work: r.work, ranges: r.spent.ranges}
		if !r.tooFar {
			w.e.rememberReplies(k, known)
		}
	}
	w.work += known.work
	w.spendRanges(known.ranges)
	all := known.all
	var out []clientReplies
	for _, x := range all {
		if x.sources = x.sources.Intersect(f.sources); !x.sources.Empty() {
			out = append(out, x)
		}
	}
	return out
}

// knownReplies are remembered answers with their original cost.
type knownReplies struct {
	all          []clientReplies
	work, ranges int
}

// maxRemembered is the most ranges of clients that are remembered, of 32 bytes each.
const maxRemembered = 1 << 20

// rememberReplies keeps answers if there is room.
func (e *Evaluator) rememberReplies(key any, known knownReplies) {
	n := rangeCount(known.all)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.memory[key] == nil && len(e.memory) < maxMemory && e.replies+n <= maxRemembered {
		e.memory[key] = known
		e.replies += n
	}
}

func rangeCount(list []clientReplies) (n int) {
	for _, r := range list {
		n += r.sources.Len()
	}
	return n
}

// allReplies returns the outcome of the answers to every client, assuming usual ports. If a rule
// that reads the port keeps the answer from such clients, it also checks whether other ports may
// get one.
func (w *walk) allReplies(start *packet) []clientReplies {
	w.runReply(start, AllSources(w.q.Family))
	out := w.collectReplies()
	if !w.reply.readsClient {
		return out
	}
	w.noteAssumption(assumedPorts)
	for i := range out {
		out[i].assumed = slices.Clone(w.assumed)
	}
	lost, sent := lostOrSent(out)
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
	w.runReply(&any, lost)
	_, unusual := lostOrSent(w.collectReplies())
	return markLikely(out, unusual.Intersect(lost))
}

// lostOrSent returns the clients whose answers may be lost, and those whose answers may get out.
func lostOrSent(list []clientReplies) (lost, sent Ranges) {
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

// markLikely turns lost answers to some clients into probably lost ones.
func markLikely(list []clientReplies, clients Ranges) []clientReplies {
	if clients.Empty() {
		return list
	}
	var out []clientReplies
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

// collectReplies returns the outcomes of the answers that a walk followed.
func (w *walk) collectReplies() []clientReplies {
	var out []clientReplies
	var beyond []Ranges
	at := map[replySum]int{}
	for _, e := range w.ended {
		r := &Reply{
			Lost:     !e.outcome.Passes(),
			Likely:   e.likely,
			By:       e.by,
			Unknowns: e.doubts.list(),
		}
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
