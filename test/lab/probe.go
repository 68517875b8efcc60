package lab

import (
	"net/netip"
	"time"
)

// defaultProbeRate is the packets a second of a Probe unless Rate sets it. Two cores keep up with
// it, so that no full queue loses packets.
const defaultProbeRate = 50000

// Question is a probe: a packet from one source to a port.
type Question struct {
	Source netip.Addr
	To     netip.AddrPort
	Over   Protocol // TCP unless set
}

func (q Question) protocol() Protocol {
	if q.Over == 0 {
		return TCP
	}
	return q.Over
}

// questionsFor returns a question to the same port for each source.
func questionsFor(sources []netip.Addr, to netip.AddrPort, over Protocol) []Question {
	questions := make([]Question, len(sources))
	for i, s := range sources {
		questions[i] = Question{Source: s, To: to, Over: over}
	}
	return questions
}

// Probe sends packets to a port from many spoofed sources, and returns the answer to each: Open,
// Refused or another refusal, or Dropped. It repeats the packet of a source without an answer, up
// to Attempts times. The answers must be routed to the node, as they are to Internet for every
// source that no other node has.
func (w *World) Probe(
	from *Node,
	sources []netip.Addr,
	to netip.AddrPort,
	opts ...Option,
) map[netip.Addr]Answer {
	w.t.Helper()
	answers := make(map[netip.Addr]Answer, len(sources))
	questions := questionsFor(sources, to, options(opts).protocol)
	for i, a := range w.ProbeEach(from, questions, opts...) {
		answers[sources[i]] = a
	}
	return answers
}

// ProbeEach is Probe for many ports at once, which saves the final wait of each Probe. The answers
// are in the order of the questions.
func (w *World) ProbeEach(from *Node, questions []Question, opts ...Option) []Answer {
	w.t.Helper()
	answers := make([]Answer, len(questions)) // Dropped until an answer comes
	if len(questions) == 0 {
		return answers
	}
	o := options(opts)
	if o.rate == 0 {
		o.rate = defaultProbeRate
	}
	w.PinNeighbours()
	p, err := from.newProber(questions, o)
	if err != nil {
		w.t.Fatalf("probing from %s: %v", from.Name, err)
		return answers
	}
	defer p.finish()
	for range o.attempts {
		first, port, pace := p.count.Load(), nextPort(), newPace(o.rate)
		for i, q := range questions {
			if answers[i] != Dropped {
				continue
			}
			pace.wait()
			if ok, err := p.send(i, port); !ok {
				w.t.Fatalf("probing %v from %s, source %v: %v", q.To, from.Name, q.Source, err)
				return answers
			}
		}
		p.settleRound(first)
		for n := first; n < p.count.Load(); n++ {
			r := p.record(n)
			if a := Answer(r.answer.Load()); a != Dropped {
				answers[r.question.Load()] = a
			}
		}
	}
	return answers
}

// settleTime is how long no answer must come before the round is over.
const settleTime = 100 * time.Millisecond

// settleRound waits until all probes from first on are answered, or no more answers come.
func (p *prober) settleRound(first uint32) {
	begin := time.Now()
	for {
		now := time.Now()
		quiet := min(now.Sub(begin), now.Sub(p.start)-time.Duration(p.last.Load()))
		if quiet > settleTime || p.allAnswered(first) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (p *prober) allAnswered(first uint32) bool {
	for n := first; n < p.count.Load(); n++ {
		if Answer(p.record(n).answer.Load()) == Dropped {
			return false
		}
	}
	return true
}
