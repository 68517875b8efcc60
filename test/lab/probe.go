package lab

import (
	"net/netip"
	"time"
)

// probeRate is the packets a second of a Probe unless Rate says otherwise: what two cores keep up
// with, so that nothing is lost to a full queue.
const probeRate = 50000

// Question asks a port from one source.
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

// ask asks the same port from each source.
func ask(sources []netip.Addr, to netip.AddrPort, over Protocol) []Question {
	questions := make([]Question, len(sources))
	for i, s := range sources {
		questions[i] = Question{Source: s, To: to, Over: over}
	}
	return questions
}

// Probe asks a port from each of many spoofed sources and says what became of each: Open, Refused
// or another refusal, or Dropped. A source that is not answered is asked again, Attempts times in
// all. The answers must be routed back to the node, as they are to Internet for every source that no other node holds.
func (w *World) Probe(from *Node, sources []netip.Addr, to netip.AddrPort, opts ...Option) map[netip.Addr]Answer {
	w.t.Helper()
	answers := make(map[netip.Addr]Answer, len(sources))
	for i, a := range w.ProbeEach(from, ask(sources, to, options(opts).protocol), opts...) {
		answers[sources[i]] = a
	}
	return answers
}

// ProbeEach is Probe for many ports at once, which saves waiting for each that nothing more comes. Its answers are in the
// order of the questions.
func (w *World) ProbeEach(from *Node, questions []Question, opts ...Option) []Answer {
	w.t.Helper()
	answers := make([]Answer, len(questions)) // Dropped until something comes
	if len(questions) == 0 {
		return answers
	}
	o := options(opts)
	if o.rate == 0 {
		o.rate = probeRate
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

// settle is how long no answer must have come for none to be on its way.
const settle = 100 * time.Millisecond

// settleRound waits until every probe from the given one on is answered, or no more answers come.
func (p *prober) settleRound(first uint32) {
	begin := time.Now()
	for {
		now := time.Now()
		quiet := min(now.Sub(begin), now.Sub(p.start)-time.Duration(p.last.Load()))
		if quiet > settle || p.allAnswered(first) {
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
